// Groups of nodes, by hand or suggested, and the circuit drawn between groups.

import { Graph, layout } from "@dagrejs/dagre";
import { type Circuit, title } from "./circuit";
import { h, s } from "./dom";
import { type Palette, edgeWidth, fitted, label, palette } from "./marks";
import type { Store } from "./state";
import { shownNodes } from "./state";
import { signed, visible } from "./words";

const SINGLES = 12; // nodes without a group that are drawn by themselves

const size = (circuit: Circuit, node: number) => Math.abs(circuit.data.nodes.effect[node] ?? 0);

interface Box {
  name: string;
  nodes: number[];
  group: boolean;
  effect: number;
}

// Groups, and beside them tokens, the metric, pinned nodes and the strongest of the others.
function boxesOf(circuit: Circuit, store: Store): Box[] {
  const { state } = store;
  const { kind, effect } = circuit.data.nodes;
  const sum = (nodes: number[]) => nodes.reduce((whole, node) => whole + (effect[node] ?? 0), 0);
  const boxes: Box[] = state.groups.map((group) => ({ name: group.name, nodes: group.nodes, group: true, effect: sum(group.nodes) }));
  const grouped = new Set(state.groups.flatMap((group) => group.nodes));
  const free = [...shownNodes(circuit, state)].filter((node) => !grouped.has(node));
  const always = free.filter((node) => kind[node] === "token" || kind[node] === "metric" || state.pins.includes(node));
  const others = free.filter((node) => !always.includes(node)).sort((a, b) => size(circuit, b) - size(circuit, a));
  // The more groups there are, the fewer nodes by themselves.
  const room = Math.max(3, SINGLES - 2 * state.groups.length);
  for (const node of [...always, ...others.slice(0, room)]) boxes.push({ name: title(circuit, node), nodes: [node], group: false, effect: effect[node] ?? 0 });
  return boxes;
}

export function groupDrawing(circuit: Circuit, store: Store, colours: Palette): SVGSVGElement {
  const boxes = boxesOf(circuit, store);
  const home = new Map(boxes.flatMap((box, index) => box.nodes.map((node) => [node, index] as const)));
  const links = new Map<string, number>();
  const { source, target, effect } = circuit.data.edges;
  for (let edge = 0; edge < source.length; edge++) {
    const [a, b] = [home.get(source[edge]), home.get(target[edge])];
    if (a !== undefined && b !== undefined && a !== b) links.set(`${a} ${b}`, (links.get(`${a} ${b}`) ?? 0) + (effect[edge] ?? 0));
  }
  const strongest = [...links].sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).slice(0, 3 * boxes.length);
  const graph = new Graph();
  graph.setGraph({ rankdir: "BT", nodesep: 18, ranksep: 64, marginx: 16, marginy: 16 });
  graph.setDefaultEdgeLabel(() => ({}));
  boxes.forEach((box, index) => graph.setNode(String(index), { width: box.group ? 172 : 124, height: box.group ? 46 : 30 }));
  for (const [key] of strongest) {
    const [a, b] = key.split(" ");
    graph.setEdge(a, b, {});
  }
  layout(graph);
  const about = graph.graph() as { width?: number; height?: number };
  const [width, height] = [Math.max(200, about.width ?? 0), Math.max(100, about.height ?? 0)];
  const picture = s("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "group-picture" });
  picture.append(s("title", {}, `${visible(circuit.data.title)}: groups`), s("rect", { width, height, fill: colours.ground }));
  const largest = Math.max(...strongest.map(([, value]) => Math.abs(value)), 1e-9);
  for (const [key, value] of [...strongest].reverse()) {
    const [a, b] = key.split(" ");
    const { points } = graph.edge(a, b) as { points: { x: number; y: number }[] };
    const path = s("path", {
      d: smooth(points), fill: "none", stroke: value < 0 ? colours.neg : colours.pos, "stroke-width": edgeWidth(Math.abs(value) / largest),
      "stroke-opacity": 0.3 + 0.5 * Math.sqrt(Math.abs(value) / largest), "stroke-dasharray": value < 0 ? "6 4" : null,
    }); // prettier-ignore
    path.append(s("title", {}, `${boxes[Number(a)].name} to ${boxes[Number(b)].name}: ${signed(value)}`));
    picture.append(path);
  }
  boxes.forEach((box, index) => {
    const { x, y, width: w, height: high } = graph.node(String(index)) as { x: number; y: number; width: number; height: number };
    const g = s("g", { transform: `translate(${x - w / 2} ${y - high / 2})`, "data-box": index, class: "node" });
    const stroke = box.effect < 0 ? colours.neg : colours.pos;
    g.append(s("rect", { width: w, height: high, rx: box.group ? 9 : 5, fill: box.group ? colours.panel : box.effect < 0 ? colours["neg-soft"] : colours["pos-soft"], stroke, "stroke-width": box.group ? 2 : 1, "stroke-dasharray": box.effect < 0 ? "4 2.5" : null }));
    g.append(label(w / 2, box.group ? 19 : high / 2 + 4, fitted(box.name, w - 16, 12, 600), { fill: colours.ink, "text-anchor": "middle", "font-size": 12, "font-weight": box.group ? 600 : 450 }));
    if (box.group) g.append(label(w / 2, 36, `${box.nodes.length} nodes, together ${signed(box.effect)}`, { fill: colours.quiet, "text-anchor": "middle", "font-size": 11 }));
    picture.append(g);
  });
  return picture;
}

function smooth(points: { x: number; y: number }[]): string {
  const [first, ...rest] = points;
  let d = `M${first.x} ${first.y}`;
  for (let place = 0; place < rest.length - 1; place++) {
    const [a, b] = [rest[place], rest[place + 1]];
    d += `Q${a.x} ${a.y} ${(a.x + b.x) / 2} ${(a.y + b.y) / 2}`;
  }
  const last = rest[rest.length - 1];
  return `${d}L${last.x} ${last.y}`;
}

export function groupView(circuit: Circuit, store: Store): HTMLElement {
  const { groups } = store.state;
  const list = h("ol", { class: "group-list" });
  groups.forEach((group, index) => {
    const name = h("input", { value: group.name, "aria-label": `Name of group ${index + 1}`, maxlength: 80, dir: "auto" });
    name.addEventListener("change", () => store.set({ groups: groups.map((other) => (other === group ? { ...group, name: name.value || group.name, suggested: false } : other)) }));
    list.append(
      h(
        "li",
        {},
        h("span", { class: "badge", "aria-hidden": "true" }, String(index + 1)),
        name,
        h("span", { class: "quiet" }, `${group.nodes.length} nodes${group.suggested ? ", suggested" : ""}`),
        h("button", { type: "button", class: "icon", "aria-label": `Dissolve group ${index + 1}`, click: () => store.set({ groups: groups.filter((other) => other !== group) }) }, "\u00d7"),
      ),
    );
  });
  const propose = () => {
    // What the figure shows, as far as it is shown here and in no group of the reader's own.
    const own = groups.filter((group) => !group.suggested);
    const taken = new Set(own.flatMap((group) => group.nodes));
    const shown = shownNodes(circuit, store.state);
    const suggested = circuit.data.groups.map(({ name, nodes }) => ({ name, nodes: nodes.filter((node) => shown.has(node) && !taken.has(node)), suggested: true }));
    store.set({ groups: [...own, ...suggested.filter(({ nodes }) => nodes.length > 1)] });
  };
  const picture = groupDrawing(circuit, store, palette());
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", `The circuit drawn between ${groups.length} groups and the strongest other nodes; the list beside it and the tables hold the same.`);
  return h(
    "div",
    { class: "groups" },
    h(
      "aside",
      {},
      h("div", { class: "row-of-buttons" }, h("button", { type: "button", class: "primary", click: propose }, "Suggest groups"), h("button", { type: "button", disabled: !groups.length, click: () => store.set({ groups: [] }) }, "Dissolve all")),
      h("p", { class: "note" }, "Suggested are features at one token whose edges come from and go to the same nodes in like proportion. By hand: choose a node in the graph and press g."),
      list,
    ),
    h("div", { class: "scroll group-stage", tabindex: 0, role: "group", "aria-label": "Picture of the groups" }, picture),
  );
}
