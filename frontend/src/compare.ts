// Two circuits side by side, with what they share and what only one has.

import { type Circuit, makeCircuit, title } from "./circuit";
import { type Data, parseData } from "./data";
import { bdi, h, s } from "./dom";
import { arrange } from "./layout";
import { background, describe, edgePath, edgeWidth, nodeMark, palette } from "./marks";
import { FIRST_EDGES, FIRST_NODES, type Store, shownEdges, shownNodes } from "./state";
import { count, percent, plain, signed, visible } from "./words";

let other: Circuit | null = null;
let trouble = "";

export function compareView(circuit: Circuit, store: Store, again: () => void): HTMLElement {
  const input = h("input", { type: "file", accept: ".html,.json,application/json,text/html", id: "other", class: "file" });
  input.addEventListener("change", () => {
    const file = input.files?.[0];
    if (!file) return;
    void file.text().then((text) => {
      try {
        other = makeCircuit(parseData(dataIn(text)));
        trouble = "";
      } catch (error) {
        other = null;
        trouble = error instanceof Error ? error.message : String(error);
      }
      again();
    });
  });
  const box = h(
    "div",
    { class: "compare" },
    h("div", { class: "pick" }, h("label", { for: "other" }, "Compare with another run: open its report.html, or the JSON saved from it."), input, trouble ? h("p", { class: "trouble", role: "alert" }, trouble) : null),
  );
  if (other) box.append(...comparison(circuit, other, store));
  return box;
}

// The data block of a report, or the JSON itself. Nothing of the file is run.
function dataIn(text: string): string {
  if (!text.trimStart().startsWith("<")) return text;
  const block = new DOMParser().parseFromString(text, "text/html").getElementById("data");
  if (!block) throw new Error("This file holds no report's data.");
  return block.textContent ?? "";
}

function comparison(a: Circuit, b: Circuit, store: Store): HTMLElement[] {
  const shared = a.members.filter((node) => b.byId.has(a.data.nodes.id[node]));
  const union = a.members.length + b.members.length - shared.length;
  const edgeKeys = (found: Circuit) => found.data.edges.source.map((source, edge) => `${found.data.nodes.id[source]}\n${found.data.nodes.id[found.data.edges.target[edge]]}`);
  const edgesOfA = new Set(edgeKeys(a));
  const sharedEdges = edgeKeys(b).filter((key) => edgesOfA.has(key)).length;
  const allEdges = a.data.edges.source.length + b.data.edges.source.length - sharedEdges;
  const row = (name: string, show: (data: Data) => string) => h("tr", {}, h("th", { scope: "row" }, name), h("td", { class: "number" }, show(a.data)), h("td", { class: "number" }, show(b.data)));
  const figures = h(
    "table",
    { class: "figures-table" },
    h("thead", {}, h("tr", {}, h("td", {}), h("th", { scope: "col" }, bdi(visible(a.data.title))), h("th", { scope: "col" }, bdi(visible(b.data.title))))),
    h(
      "tbody",
      {},
      row("Faithfulness", ({ report }) => (report ? `${plain(report.faithfulness)} (${plain(report.faithfulness_low)} to ${plain(report.faithfulness_high)})` : "not measured")),
      row("Share that goes with error nodes", ({ report }) => percent(report?.error_share ?? null)),
      row("Nodes", ({ pruning }) => count(pruning.members)),
      row("Edges", ({ edges }) => count(edges.source.length)),
      row("Estimator", ({ settings }) => String(settings.estimator ?? "").replaceAll("_", " ")),
      row("Linearization", ({ settings }) => String(settings.linearization ?? "")),
    ),
  );
  const words = `${count(shared.length)} nodes are in both, ${percent(union ? shared.length / union : 0)} of all that are in either; ${count(sharedEdges)} edges, ${percent(allEdges ? sharedEdges / allEdges : 0)}. Nodes in one circuit alone have a heavy outline.`;
  return [
    figures,
    h("p", {}, words),
    h("div", { class: "side-by-side" }, half(a, b, store), half(b, a, store)),
    h("h3", {}, "Largest differences in effect"),
    differences(a, b),
  ];
}

function half(circuit: Circuit, from: Circuit, store: Store): HTMLElement {
  const state = { ...store.state, nodes: Math.min(FIRST_NODES, circuit.members.length), edges: FIRST_EDGES, pins: [], node: null, edge: null };
  const shown = shownNodes(circuit, state);
  const layout = arrange(circuit, shown, { width: 620, height: 620 });
  const colours = palette();
  const picture = s("svg", { viewBox: `0 0 ${layout.width} ${layout.height}`, role: "img", "aria-label": `The circuit ${visible(circuit.data.title)}` }, background(layout, colours));
  const { source, target, effect } = circuit.data.edges;
  const edges = shownEdges(circuit, state, shown);
  const largest = Math.abs(effect[edges[0]] ?? 1) || 1;
  for (const edge of edges.reverse()) {
    const [a, b] = [layout.at.get(source[edge]), layout.at.get(target[edge])];
    if (!a || !b) continue;
    const value = effect[edge] ?? 0;
    const share = Math.abs(value) / largest;
    picture.append(s("path", { d: edgePath(a, b), fill: "none", stroke: value < 0 ? colours.neg : colours.pos, "stroke-width": edgeWidth(share), "stroke-opacity": 0.25 + 0.5 * Math.sqrt(share), "stroke-dasharray": value < 0 ? "6 4" : null }));
  }
  for (const box of layout.placed) {
    const mark = nodeMark(circuit, box, colours, layout.boxes, { pinned: !from.byId.has(circuit.data.nodes.id[box.node]) });
    mark.append(s("title", {}, describe(circuit, box.node)));
    picture.append(mark);
  }
  return h("figure", {}, h("figcaption", {}, bdi(visible(circuit.data.title))), picture);
}

function differences(a: Circuit, b: Circuit): HTMLElement {
  const ids = new Set([...a.members.map((node) => a.data.nodes.id[node]), ...b.members.map((node) => b.data.nodes.id[node])]);
  const effect = (circuit: Circuit, id: string) => {
    const node = circuit.byId.get(id);
    return node === undefined ? null : circuit.data.nodes.effect[node];
  };
  const rows = [...ids].map((id) => ({ id, a: effect(a, id), b: effect(b, id) })).sort((x, y) => Math.abs((y.a ?? 0) - (y.b ?? 0)) - Math.abs((x.a ?? 0) - (x.b ?? 0)));
  const name = (id: string) => {
    const found = a.byId.has(id) ? a : b;
    return title(found, found.byId.get(id) as number);
  };
  const shown = (value: number | null) => (value === null ? "not in it" : signed(value));
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": "Differences" },
    h(
      "table",
      { class: "wide" },
      h("thead", {}, h("tr", {}, ...["Label", "Node", "here", "there", "difference"].map((word, place) => h("th", { scope: "col", class: place > 1 ? "number" : null }, word)))),
      h("tbody", {}, ...rows.slice(0, 30).map((row) => h("tr", {}, h("th", { scope: "row" }, bdi(name(row.id))), h("td", {}, bdi(row.id)), h("td", { class: "number" }, shown(row.a)), h("td", { class: "number" }, shown(row.b)), h("td", { class: "number" }, signed((row.b ?? 0) - (row.a ?? 0)))))),
    ),
  );
}
