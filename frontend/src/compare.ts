// Two circuits side by side on one layout, with what they share and what only one has.

import { type Circuit, makeCircuit, place, title } from "./circuit";
import { type Data, parseData } from "./data";
import { bdi, clear, h, s } from "./dom";
import { type Layout, type Placed, arrange, curve, neighbour } from "./layout";
import { background, describe, edgePath, edgeWidth, nodeMark, palette } from "./marks";
import { type Pair, merge } from "./merging";
import { namesBeside } from "./names";
import { FIRST_EDGES, FIRST_NODES } from "./state";
import { count, percent, plain, signed, visible } from "./words";

const ROWS = 30; // of the table, and as many more with each click
const WORDS = ["here", "there"] as const;

let other: Circuit | null = null;
let trouble = "";

export function compareView(circuit: Circuit, again: () => void): HTMLElement {
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
  if (other) box.append(...comparison(circuit, other));
  return box;
}

// The data block of a report, or the JSON itself. Nothing of the file is run.
function dataIn(text: string): string {
  if (!text.trimStart().startsWith("<")) return text;
  // No `<` stands in the data; and a parser would want to apply the file's style.
  const block = / type="application\/json" id="data">([^<]*)</.exec(text);
  if (!block) throw new Error("This file holds no report's data.");
  return block[1];
}

function comparison(a: Circuit, b: Circuit): HTMLElement[] {
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
    h("thead", {}, h("tr", {}, h("td", {}), h("th", { scope: "col" }, "here: ", bdi(visible(a.data.title))), h("th", { scope: "col" }, "there: ", bdi(visible(b.data.title))))),
    h(
      "tbody",
      {},
      row("Faithfulness", ({ report }) => (report ? `${plain(report.faithfulness)} (${plain(report.faithfulness_low)} to ${plain(report.faithfulness_high)})` : "not measured")),
      row("Share that goes with error nodes", ({ report }) => (report && report.error_share === null ? "not defined" : percent(report?.error_share ?? null))),
      row("Replacement score", ({ scores }) => plain(scores?.replacement ?? null)),
      row("Linear effect by features alone", ({ scores }) => percent(scores?.features_share ?? null)),
      row("Nodes", ({ pruning }) => count(pruning.members)),
      row("Edges", ({ edges }) => count(edges.source.length)),
      row("Estimator", ({ settings }) => String(settings.estimator ?? "").replaceAll("_", " ")),
      row("Linearization", ({ settings }) => String(settings.linearization ?? "")),
    ),
  );
  const words = `${count(shared.length)} nodes are in both, ${percent(union ? shared.length / union : 0)} of all that are in either; ${count(sharedEdges)} edges, ${percent(allEdges ? sharedEdges / allEdges : 0)}.`;
  const alien = a.data.model === b.data.model ? null : h("p", { class: "trouble" }, `The other run is of the model ${visible(b.data.model)}: the same number is another feature there.`);
  return [figures, ...[alien].filter((found) => found !== null), h("p", {}, words), ...pictures(a, b)];
}

// Both pictures have one layout, so a node stands at one place in both.
function pictures(a: Circuit, b: Circuit): HTMLElement[] {
  const pair = merge(a, b, FIRST_NODES);
  const wide = Math.max(320, Math.min(760, (document.querySelector(".view")?.clientWidth ?? 1300) / 2 - 50));
  const layout = arrange(pair.both, pair.both.data.nodes.id.keys(), { width: wide, height: 640 });
  const status = h("p", { class: "compared", role: "status" }, "Point at a node, or use the arrow keys, to see it in both; x goes to the other picture.");
  const drawn = WORDS.map((_, which) => draw(pair, which, layout, wide));
  const marks = drawn.map((one) => one.marks);
  const light = (node: number | null) => {
    for (const side of marks) side.forEach((mark, other) => mark.classList.toggle("picked", other === node));
    if (node !== null) status.textContent = sentence(pair, node);
  };
  const focus = (which: number, node: number) => {
    marks[which].forEach((mark, other) => mark.firstElementChild?.setAttribute("tabindex", other === node ? "0" : "-1"));
    (marks[which].get(node)?.firstElementChild as SVGElement | undefined)?.focus();
  };
  drawn.forEach(({ picture }, which) => {
    const nodeOf = (event: Event) => {
      const found = (event.target as Element).closest?.("[data-shared]")?.getAttribute("data-shared");
      return found === null || found === undefined ? null : Number(found);
    };
    picture.addEventListener("pointerover", (event) => light(nodeOf(event)));
    picture.addEventListener("focusin", (event) => light(nodeOf(event)));
    picture.addEventListener("keydown", (event) => {
      const node = nodeOf(event);
      if (node === null || event.altKey || event.ctrlKey || event.metaKey) return;
      let [side, next] = [which, null as number | null];
      if (event.key === "x") [side, next] = [1 - which, marks[1 - which].has(node) ? node : null];
      else if (event.key.startsWith("Arrow")) next = neighbour(only(layout, marks[which]), node, event.key);
      else return;
      event.preventDefault();
      if (next !== null) focus(side, next);
      else if (event.key === "x") status.textContent = `${sentence(pair, node)} The other picture does not hold it.`;
    });
  });
  const figureOf = (which: number) => h("figure", {}, h("figcaption", {}, h("strong", {}, `${WORDS[which]}: `), bdi(visible(pair.sides[which].own.data.title))), drawn[which].picture);
  return [
    h("div", { class: "side-by-side" }, figureOf(0), figureOf(1)),
    status,
    h(
      "p",
      { class: "legend" },
      h("span", { class: "flag", "aria-hidden": "true" }),
      "a node that only this circuit holds: heavy outline and a flag",
      h("span", { class: "diamond", "aria-hidden": "true" }, "\u25c6"),
      "an edge that only it holds",
      h("span", { class: "quiet" }, `dotted: held by the other alone. The strongest ${FIRST_NODES} nodes and ${FIRST_EDGES} edges of each; width: |effect|, on one scale.`),
    ),
    h("h3", {}, "Nodes and edges of both"),
    differences(a, b),
  ];
}

function only(layout: Layout, marks: Map<number, SVGGElement>): Layout {
  return { ...layout, placed: layout.placed.filter((box) => marks.has(box.node)) };
}

function sentence({ both, sides }: Pair, node: number): string {
  const effects = sides.map((side, which) => `${WORDS[which]} ${side.has[node] ? `${signed(side.circuit.data.nodes.effect[node])} logits` : "not in it"}`);
  return `${title(both, node)} (${place(both, node)}): ${effects.join(", ")}.`;
}

function draw(pair: Pair, which: number, layout: Layout, wide: number): { picture: SVGSVGElement; marks: Map<number, SVGGElement> } {
  const colours = palette();
  const [side, other] = [pair.sides[which], pair.sides[1 - which]];
  const name = `${WORDS[which]}: ${visible(side.own.data.title)}`;
  const picture = s("svg", { viewBox: `0 0 ${layout.width} ${layout.height}`, role: "group", "aria-label": `The circuit ${name}. Arrow keys move between nodes, x to the same node in the other picture.` }, background(layout, colours));
  const strongest = [...side.edges].slice(0, FIRST_EDGES);
  const largest = Math.max(1e-9, ...pair.sides.map((found) => Math.abs(found.edges.values().next().value ?? 0)));
  const alone: SVGElement[] = [];
  for (const [key, value] of strongest.reverse()) {
    const [a, b] = key.split(" ").map((node) => layout.at.get(Number(node)) as Placed);
    const share = Math.abs(value) / largest;
    const stroke = value < 0 ? colours.neg : colours.pos;
    const single = !other.edges.has(key);
    picture.append(s("path", { d: edgePath(a, b), class: single ? "alone" : "shared", fill: "none", stroke, "stroke-width": edgeWidth(share), "stroke-opacity": 0.25 + 0.5 * Math.sqrt(share), "stroke-dasharray": value < 0 ? "6 4" : null }));
    if (single) {
      const [x0, y0, , , , , x1, y1] = curve(a, b);
      const [x, y, r] = [(x0 + x1) / 2, (y0 + y1) / 2, 2.6 + 2 * share];
      alone.push(s("path", { class: "diamond", d: `M${x} ${y - r}L${x + r} ${y}L${x} ${y + r}L${x - r} ${y}Z`, fill: colours.accent, stroke: colours.ground, "stroke-width": 0.6 }));
    }
  }
  picture.append(...alone);
  const marks = new Map<number, SVGGElement>();
  const first = layout.placed.find((box) => box.node === pair.both.metric && side.has[box.node]) ?? layout.placed.find((box) => side.has[box.node]);
  for (const box of layout.placed) {
    if (!side.has[box.node]) {
      picture.append(s("rect", { class: "ghost", x: box.x, y: box.y, width: box.w, height: box.h, rx: 4, fill: "none", stroke: colours.quiet, "stroke-dasharray": "1.5 3" }));
      continue;
    }
    const single = !other.has[box.node];
    const mark = nodeMark(side.circuit, box, colours, layout.boxes, { pinned: single });
    mark.removeAttribute("data-node");
    mark.setAttribute("data-shared", String(box.node));
    if (single) mark.append(s("path", { class: "flag", d: `M${box.w - 7} 0H${box.w + 2}V9Z`, fill: colours.accent }));
    const frame = mark.firstElementChild as SVGElement;
    frame.setAttribute("role", "button");
    frame.setAttribute("tabindex", box === first ? "0" : "-1");
    frame.setAttribute("aria-label", `${describe(side.circuit, box.node)}, ${single ? "only" : "in both,"} ${WORDS[which]}`);
    mark.querySelectorAll("text").forEach((text) => text.setAttribute("aria-hidden", "true"));
    picture.append(mark);
    marks.set(box.node, mark);
  }
  const scale = Math.min(wide / layout.width, 1.15);
  if (!layout.boxes) picture.append(s("g", { class: "names", "aria-hidden": "true" }, ...namesBeside(side.circuit, layout, scale, (box) => side.has[box.node])));
  return { picture, marks };
}

interface Row {
  names: string[];
  here: number | null;
  there: number | null;
}

// Everything that either circuit holds, the largest difference first.
function differences(a: Circuit, b: Circuit): HTMLElement {
  const box = h("div", {});
  const show = (which: "nodes" | "edges", focus = false) => {
    const rows = which === "nodes" ? nodeRows(a, b) : edgeRows(a, b);
    const size = (row: Row) => Math.abs((row.here ?? 0) - (row.there ?? 0));
    rows.sort((x, y) => size(y) - size(x));
    const body = h("tbody", {});
    const more = h("button", { type: "button", class: "more", click: () => fill() });
    const fill = () => {
      const shown = body.childElementCount;
      body.append(...rows.slice(shown, shown + ROWS).map(tableRow));
      more.hidden = body.childElementCount >= rows.length;
      more.textContent = `Show ${Math.min(ROWS, rows.length - body.childElementCount)} more`;
    };
    fill();
    const button = (kind: "nodes" | "edges", name: string) => h("button", { type: "button", "aria-pressed": String(kind === which), click: () => show(kind, true) }, name);
    const heads = [...(which === "nodes" ? ["Label", "Node"] : ["From", "To"]), "held", "here", "there", "difference"];
    clear(box);
    box.append(
      h("div", { class: "row-of-buttons" }, button("nodes", "Nodes"), button("edges", "Edges"), h("span", { class: "quiet" }, `${count(rows.length)} rows, largest difference first; effects in logits`)),
      h(
        "div",
        { class: "scroll", tabindex: 0, role: "region", "aria-label": `Differences of ${which}` },
        h("table", { class: "wide" }, h("thead", {}, h("tr", {}, ...heads.map((word, column) => h("th", { scope: "col", class: column > 2 ? "number" : null }, word)))), body),
      ),
      more,
    );
    if (focus) box.querySelector<HTMLElement>("[aria-pressed=true]")?.focus();
  };
  show("nodes");
  return box;
}

function tableRow({ names, here, there }: Row): HTMLElement {
  const shown = (value: number | null) => h("td", { class: "number" }, value === null ? "\u2013" : signed(value));
  const held = here === null ? "\u25c7 only there" : there === null ? "\u25c6 only here" : "both";
  return h("tr", {}, h("th", { scope: "row" }, bdi(names[0])), h("td", {}, bdi(names[1])), h("td", {}, held), shown(here), shown(there), shown((there ?? 0) - (here ?? 0)));
}

function nodeRows(a: Circuit, b: Circuit): Row[] {
  const ids = new Set([a, b].flatMap((found) => found.members.map((node) => found.data.nodes.id[node])));
  const effect = (circuit: Circuit, id: string) => {
    const node = circuit.byId.get(id);
    return node === undefined ? null : circuit.data.nodes.effect[node];
  };
  return [...ids].map((id) => {
    const found = a.byId.has(id) ? a : b;
    return { names: [title(found, found.byId.get(id) as number), id], here: effect(a, id), there: effect(b, id) };
  });
}

function edgeRows(a: Circuit, b: Circuit): Row[] {
  const rows = new Map<string, Row>();
  [a, b].forEach((found, which) => {
    const { edges, nodes } = found.data;
    const name = (node: number) => (node === found.metric ? "metric" : `${title(found, node)}, ${place(found, node)}`);
    edges.source.forEach((source, edge) => {
      const target = edges.target[edge];
      const key = `${nodes.id[source]}\n${nodes.id[target]}`;
      const row = rows.get(key) ?? { names: [name(source), name(target)], here: null, there: null };
      row[WORDS[which]] = edges.effect[edge] ?? 0;
      rows.set(key, row);
    });
  });
  return [...rows.values()];
}
