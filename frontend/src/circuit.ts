// A circuit ready to be looked at: names of nodes, and the edges and parts that belong together.

import type { Data, Label } from "./data";
import { shownToken, visible } from "./words";

export interface Circuit {
  data: Data;
  size: number;
  metric: number;
  byId: Map<string, number>;
  into: number[][]; // edges by target, strongest first
  outOf: number[][];
  partsOf: number[][]; // parts by edge, strongest first
  members: number[]; // features and error nodes, strongest first
  alike: Set<number>; // nodes whose label another node at the same place has too
}

export function makeCircuit(data: Data): Circuit {
  const { nodes, edges, parts } = data;
  const size = nodes.id.length;
  const into: number[][] = Array.from({ length: size }, () => []);
  const outOf: number[][] = Array.from({ length: size }, () => []);
  const order = byStrength(edges.effect);
  for (const edge of order) {
    into[edges.target[edge]].push(edge);
    outOf[edges.source[edge]].push(edge);
  }
  const partsOf: number[][] = Array.from({ length: edges.source.length }, () => []);
  for (const part of byStrength(parts.effect)) partsOf[parts.edge[part]].push(part);
  const isMember = (node: number) => nodes.kind[node] === "feature" || nodes.kind[node] === "error";
  const circuit: Circuit = {
    data,
    size,
    metric: nodes.kind.indexOf("metric"),
    byId: new Map(nodes.id.map((id, node) => [id, node])),
    into,
    outOf,
    partsOf,
    members: byStrength(nodes.effect).filter(isMember),
    alike: new Set(),
  };
  const places = new Map<string, number[]>();
  for (const node of circuit.members) {
    const key = `${nodes.row[node]} ${nodes.unit[node]} ${title(circuit, node)}`;
    places.set(key, [...(places.get(key) ?? []), node]);
  }
  for (const same of places.values()) if (same.length > 1) same.forEach((node) => circuit.alike.add(node));
  return circuit;
}

// What is written on a node in pictures: told apart from others of the same label.
export function shortTitle(circuit: Circuit, node: number): string {
  const text = title(circuit, node);
  return circuit.alike.has(node) ? `${number(circuit, node)} ${text}` : text;
}

export function byStrength(values: (number | null)[]): number[] {
  const size = values.map((value) => Math.abs(value ?? 0));
  return values.map((_, index) => index).sort((a, b) => size[b] - size[a] || a - b);
}

export function labelOf(circuit: Circuit, node: number): Label | null {
  const label = circuit.data.nodes.label[node];
  return label === null ? null : circuit.data.labels[label];
}

// What is written on a node.
export function title(circuit: Circuit, node: number): string {
  const { nodes, units } = circuit.data;
  switch (nodes.kind[node]) {
    case "metric":
      return "metric";
    case "error":
      return "error";
    case "token":
      return shownToken(units[nodes.unit[node]].token);
    default: {
      const label = labelOf(circuit, node);
      return label === null ? number(circuit, node) : visible(label.text);
    }
  }
}

export function number(circuit: Circuit, node: number): string {
  const { nodes } = circuit.data;
  return nodes.kind[node] === "feature" ? `f${nodes.feature[node]}` : nodes.kind[node];
}

// Where a node is: `L2 resid_post f217 at name`.
export function place(circuit: Circuit, node: number): string {
  const { nodes, rows, units } = circuit.data;
  const unit = visible(units[nodes.unit[node]].name);
  switch (nodes.kind[node]) {
    case "metric":
      return "metric";
    case "token":
      return `token at ${unit}`;
    default:
      return `${rows[nodes.row[node]].name} ${number(circuit, node)} at ${unit}`;
  }
}

export function fullName(circuit: Circuit, node: number): string {
  const words = title(circuit, node);
  const where = place(circuit, node);
  return circuit.data.nodes.kind[node] === "feature" || circuit.data.nodes.kind[node] === "token"
    ? `${words} (${where})`
    : where;
}

export function edgeBetween(circuit: Circuit, source: number, target: number): number | null {
  const found = circuit.outOf[source]?.find((edge) => circuit.data.edges.target[edge] === target);
  return found ?? null;
}

// The head in a part's name, such as L2.H0 in `L2.H0>L2.MLP`.
export function headsOf(part: string): { layer: number; head: number }[] {
  return [...part.matchAll(/L(\d+)\.H(\d+)/g)].map((found) => ({
    layer: Number(found[1]),
    head: Number(found[2]),
  }));
}
