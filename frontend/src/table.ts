// Nodes and edges as tables: everything the picture shows, for readers who do not see it.

import { type Circuit, number, place, title } from "./circuit";
import { bdi, h } from "./dom";
import { matches } from "./search";
import type { Store } from "./state";
import { count, interval, plain, signed, visible } from "./words";

const PAGE = 150;

interface Column {
  key: string;
  name: string;
  number: boolean;
  value: (row: number) => string | number;
  cell?: (row: number) => Node | string;
}

export function tableView(circuit: Circuit, store: Store): HTMLElement {
  const { state } = store;
  const isNodes = state.table === "nodes";
  const columns = isNodes ? nodeColumns(circuit) : edgeColumns(circuit);
  const all = Array.from({ length: isNodes ? circuit.size : circuit.data.edges.source.length }, (_, row) => row);
  const wanted = matches(circuit, state.query);
  const { source, target } = circuit.data.edges;
  const rows = state.query ? all.filter((row) => (isNodes ? wanted.has(row) : wanted.has(source[row]) || wanted.has(target[row]))) : all;
  const down = state.sort.startsWith("-");
  const column = columns.find((found) => found.key === state.sort.replace(/^-/, "")) ?? columns[columns.length - 1];
  const values = new Map(rows.map((row) => [row, column.value(row)]));
  rows.sort((a, b) => compare(values.get(a) as string, values.get(b) as string) * (down ? -1 : 1) || a - b);
  const body = h("tbody", {});
  const show = (most: number) => {
    for (const row of rows.slice(body.childElementCount, most)) body.append(tableRow(columns, row, () => store.set(isNodes ? { node: row, edge: null } : { edge: row, node: null })));
    more.hidden = most >= rows.length;
    more.textContent = `Show ${Math.min(PAGE, rows.length - most)} more`;
  };
  const more = h("button", { type: "button", class: "more", click: () => show(body.childElementCount + PAGE) });
  show(PAGE);
  const heads = columns.map((found) => {
    const sorted = found.key === column.key;
    const next = sorted && !down ? `-${found.key}` : sorted ? found.key : found.number ? `-${found.key}` : found.key;
    return h(
      "th",
      { scope: "col", class: found.number ? "number" : null, "aria-sort": sorted ? (down ? "descending" : "ascending") : null },
      h("button", { type: "button", "data-sort": found.key, click: () => store.set({ sort: next }) }, found.name, h("span", { "aria-hidden": "true", class: "sorted" }, sorted ? (down ? " \u25be" : " \u25b4") : "")),
    );
  });
  const which = (table: "nodes" | "edges", total: number) =>
    h("button", { type: "button", "aria-pressed": String(state.table === table), click: () => store.set({ table, sort: "-size" }) }, `${table === "nodes" ? "Nodes" : "Edges"} ${count(total)}`);
  return h(
    "div",
    { class: "tables" },
    h("div", { class: "row-of-buttons" }, which("nodes", circuit.size), which("edges", source.length), h("span", { class: "quiet", role: "status" }, state.query ? `${count(rows.length)} rows match` : "")),
    h(
      "div",
      { class: "scroll", tabindex: 0, role: "region", "aria-label": isNodes ? "Table of nodes" : "Table of edges" },
      h("table", { class: "wide" }, h("caption", {}, isNodes ? "Nodes of the circuit; effects in logits" : "Edges of the circuit; effects in logits"), h("thead", {}, h("tr", {}, ...heads)), body),
      more,
    ),
  );
}

function tableRow(columns: Column[], row: number, open: () => void): HTMLElement {
  const cells = columns.map((column, place) => {
    const content = column.cell ? column.cell(row) : String(column.value(row));
    if (place === 0) return h("th", { scope: "row" }, h("button", { type: "button", class: "link", click: open }, content));
    return h("td", { class: column.number ? "number" : null }, content);
  });
  return h("tr", {}, ...cells);
}

function compare(a: string | number, b: string | number): number {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b));
}

const size = (value: number | null) => Math.abs(value ?? 0);

function nodeColumns(circuit: Circuit): Column[] {
  const { nodes, units, rows } = circuit.data;
  return [
    { key: "label", name: "Label", number: false, value: (row) => title(circuit, row), cell: (row) => bdi(title(circuit, row)) },
    { key: "kind", name: "Kind", number: false, value: (row) => number(circuit, row) },
    { key: "layer", name: "Site", number: false, value: (row) => nodes.row[row], cell: (row) => rows[nodes.row[row]].name },
    { key: "token", name: "At", number: false, value: (row) => nodes.unit[row], cell: (row) => bdi(visible(units[nodes.unit[row]].name)) },
    { key: "activation", name: "Clean", number: true, value: (row) => nodes.activation[row] ?? 0, cell: (row) => plain(nodes.activation[row], 3) },
    { key: "baseline", name: "Baseline", number: true, value: (row) => nodes.baseline[row] ?? 0, cell: (row) => plain(nodes.baseline[row], 3) },
    { key: "effect", name: "Effect", number: true, value: (row) => nodes.effect[row] ?? 0, cell: (row) => signed(nodes.effect[row]) },
    { key: "interval", name: "95%", number: true, value: (row) => nodes.low[row] ?? 0, cell: (row) => interval(nodes.low[row], nodes.high[row]) },
    { key: "size", name: "|Effect|", number: true, value: (row) => size(nodes.effect[row]), cell: (row) => plain(size(nodes.effect[row]), 3) },
  ];
}

function edgeColumns(circuit: Circuit): Column[] {
  const { edges, parts } = circuit.data;
  const name = (node: number) => `${title(circuit, node)}, ${place(circuit, node)}`;
  const main = (row: number) => {
    const part = circuit.partsOf[row][0];
    return part === undefined ? "" : parts.names[parts.part[part]];
  };
  return [
    { key: "from", name: "From", number: false, value: (row) => name(edges.source[row]), cell: (row) => bdi(name(edges.source[row])) },
    { key: "to", name: "To", number: false, value: (row) => name(edges.target[row]), cell: (row) => bdi(name(edges.target[row])) },
    { key: "through", name: "Mostly through", number: false, value: main },
    { key: "direct", name: "Linear weight", number: true, value: (row) => edges.direct[row] ?? 0, cell: (row) => plain(edges.direct[row], 3) },
    { key: "effect", name: "Effect", number: true, value: (row) => edges.effect[row] ?? 0, cell: (row) => signed(edges.effect[row]) },
    { key: "interval", name: "95%", number: true, value: (row) => edges.low[row] ?? 0, cell: (row) => interval(edges.low[row], edges.high[row]) },
    { key: "size", name: "|Effect|", number: true, value: (row) => size(edges.effect[row]), cell: (row) => plain(size(edges.effect[row]), 3) },
  ];
}
