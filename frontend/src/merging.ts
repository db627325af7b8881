// Two circuits on one ground: a node that both hold is one number, and has one place.

import { type Circuit, makeCircuit } from "./circuit";
import type { Data } from "./data";

export interface Side {
  circuit: Circuit; // with the numbers of both; effects are its own, 0 for nodes that it lacks
  own: Circuit;
  has: boolean[]; // by number
  edges: Map<string, number>; // effect by `source target`, strongest first
}

export interface Pair {
  both: Circuit; // for the places; of two effects the larger one
  sides: [Side, Side];
}

// Features and error nodes that either circuit shows, and all tokens and metrics.
export function merge(a: Circuit, b: Circuit, most: number): Pair {
  const ids = new Set<string>();
  for (const found of [a, b]) {
    const { id, kind } = found.data.nodes;
    for (const node of found.members.slice(0, most)) ids.add(id[node]);
    id.forEach((name, node) => (kind[node] === "token" || kind[node] === "metric") && ids.add(name));
  }
  const rows = inOrder(a.data.rows, b.data.rows, (row) => row.site);
  const units = inOrder(a.data.units, b.data.units, (unit) => unit.name);
  const rowOf = new Map(rows.map((row, place) => [row.site, place]));
  const unitOf = new Map(units.map((unit, place) => [unit.name, place]));
  const all = [...ids];
  const from = (id: string, choose: (data: Data, node: number) => number | null, none: number | null = null) => {
    const [here, there] = [a.byId.get(id), b.byId.get(id)];
    return here !== undefined ? choose(a.data, here) : there !== undefined ? choose(b.data, there) : none;
  };
  const nodesOf = (effect: (id: string) => number): Data["nodes"] => ({
    id: all,
    kind: all.map((id) => (a.byId.has(id) ? a : b).data.nodes.kind[(a.byId.get(id) ?? b.byId.get(id)) as number]),
    row: all.map((id) => from(id, (data, node) => rowOf.get(data.rows[data.nodes.row[node]].site) ?? 0) as number),
    unit: all.map((id) => from(id, (data, node) => unitOf.get(data.units[data.nodes.unit[node]].name) ?? 0) as number),
    feature: all.map((id) => from(id, (data, node) => data.nodes.feature[node])),
    label: all.map((id) => from(id, (data, node) => {
      const label = data.nodes.label[node];
      return label === null ? null : label + (data === a.data ? 0 : a.data.labels.length);
    })), // prettier-ignore
    effect: all.map(effect),
    low: [], high: [], activation: [], baseline: [], left_out: [],
  }); // prettier-ignore
  const effectIn = (found: Circuit) => (id: string) => {
    const node = found.byId.get(id);
    return node === undefined ? 0 : (found.data.nodes.effect[node] ?? 0);
  };
  const circuitOf = (own: Circuit, effect: (id: string) => number) =>
    makeCircuit({
      ...own.data, rows, units, labels: [...a.data.labels, ...b.data.labels], groups: [], nodes: nodesOf(effect),
      edges: { source: [], target: [], effect: [], direct: [], low: [], high: [] },
      parts: { names: [], degrees: [], edge: [], part: [], effect: [], value: [], key: [], query: [] },
    }); // prettier-ignore
  const both = circuitOf(a, (id) => Math.max(Math.abs(effectIn(a)(id)), Math.abs(effectIn(b)(id))));
  const side = (own: Circuit): Side => ({ circuit: circuitOf(own, effectIn(own)), own, has: all.map((id) => own.byId.has(id)), edges: edgesOf(own, both) });
  return { both, sides: [side(a), side(b)] };
}

function edgesOf(own: Circuit, both: Circuit): Map<string, number> {
  const { edges, nodes } = own.data;
  const found: [string, number][] = [];
  edges.source.forEach((source, edge) => {
    const [from, to] = [both.byId.get(nodes.id[source]), both.byId.get(nodes.id[edges.target[edge]])];
    if (from !== undefined && to !== undefined) found.push([`${from} ${to}`, edges.effect[edge] ?? 0]);
  });
  return new Map(found.sort((x, y) => Math.abs(y[1]) - Math.abs(x[1])));
}

// The first list, with what only the second has behind its forerunner there.
function inOrder<T>(first: T[], second: T[], key: (item: T) => string): T[] {
  const found = [...first];
  let at = -1;
  for (const item of second) {
    const place = found.findIndex((other) => key(other) === key(item));
    if (place < 0) found.splice(++at, 0, item);
    else at = place;
  }
  return found;
}
