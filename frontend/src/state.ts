// What the reader has chosen, kept in the address's fragment so that a view can be sent on.

import { type Circuit, byStrength } from "./circuit";

export type View = "graph" | "groups" | "table" | "compare";
export type Theme = "auto" | "light" | "dark";

export interface Group {
  name: string;
  nodes: number[];
  suggested: boolean;
}

export interface State {
  view: View;
  node: number | null;
  edge: number | null;
  nodes: number; // features and error nodes that may be shown, strongest first
  edges: number; // edges that may be drawn, strongest first
  pins: number[];
  groups: Group[];
  theme: Theme;
  query: string;
  table: "nodes" | "edges";
  sort: string; // a column, with a minus sign for largest first
}

export const FIRST_EDGES = 300;
export const FIRST_NODES = 80;

export type Change = keyof State;

export class Store {
  state: State;
  private listeners: ((changed: Set<Change>) => void)[] = [];

  constructor(readonly circuit: Circuit) {
    this.state = this.initial();
    Object.assign(this.state, this.read(location.hash));
    addEventListener("hashchange", () => {
      if (location.hash !== this.fragment()) this.set({ ...this.initial(), ...this.read(location.hash) });
    });
  }

  set(patch: Partial<State>): void {
    const changed = new Set<Change>();
    for (const key of Object.keys(patch) as Change[]) {
      if (this.state[key] !== patch[key]) changed.add(key);
    }
    if (!changed.size) return;
    this.state = { ...this.state, ...patch };
    try {
      history.replaceState(null, "", this.fragment() || location.pathname + location.search);
    } catch {
      // A page inside a page may have no address of its own.
    }
    for (const listener of this.listeners) listener(changed);
  }

  listen(listener: (changed: Set<Change>) => void): void {
    this.listeners.push(listener);
  }

  private initial(): State {
    return {
      view: "graph",
      node: null,
      edge: null,
      nodes: Math.min(FIRST_NODES, this.circuit.members.length),
      edges: Math.min(FIRST_EDGES, this.circuit.data.edges.source.length),
      pins: [],
      groups: [],
      theme: "auto",
      query: "",
      table: "nodes",
      sort: "-size",
    };
  }

  fragment(): string {
    const { state } = this;
    const first = this.initial();
    const ids = this.circuit.data.nodes.id;
    const { source, target } = this.circuit.data.edges;
    const entries = new URLSearchParams();
    for (const key of ["view", "nodes", "edges", "theme", "query", "table", "sort"] as const) {
      if (state[key] !== first[key]) entries.set(key, String(state[key]));
    }
    if (state.node !== null) entries.set("node", ids[state.node]);
    if (state.edge !== null) {
      entries.set("from", ids[source[state.edge]]);
      entries.set("to", ids[target[state.edge]]);
    }
    for (const pin of state.pins) entries.append("pin", ids[pin]);
    for (const group of state.groups) {
      const value = [group.suggested ? "~" : "", group.name, ...group.nodes.map((node) => ids[node])];
      entries.append("group", JSON.stringify(value));
    }
    const text = entries.toString();
    return text && `#${text}`;
  }

  private read(hash: string): Partial<State> {
    const entries = new URLSearchParams(hash.slice(1));
    const found: Partial<State> = {};
    const oneOf = <T extends string>(name: string, values: readonly T[]): T | undefined =>
      values.find((value) => value === entries.get(name));
    const whole = (name: string, most: number): number | undefined => {
      const value = Number(entries.get(name) ?? "x");
      return Number.isInteger(value) && value >= 0 ? Math.min(value, most) : undefined;
    };
    const put = <K extends Change>(key: K, value: State[K] | undefined) => {
      if (value !== undefined) found[key] = value;
    };
    const node = (id: string | null) => (id === null ? undefined : this.circuit.byId.get(id));
    put("view", oneOf("view", ["graph", "groups", "table", "compare"]));
    put("theme", oneOf("theme", ["auto", "light", "dark"]));
    put("table", oneOf("table", ["nodes", "edges"]));
    put("nodes", whole("nodes", this.circuit.members.length));
    put("edges", whole("edges", this.circuit.data.edges.source.length));
    put("query", entries.get("query") ?? undefined);
    put("sort", entries.get("sort") ?? undefined);
    put("node", node(entries.get("node")));
    const [from, to] = [node(entries.get("from")), node(entries.get("to"))];
    if (from !== undefined && to !== undefined) {
      put(
        "edge",
        this.circuit.outOf[from].find((edge) => this.circuit.data.edges.target[edge] === to),
      );
    }
    const known = (ids: unknown[]) =>
      ids.map((id) => node(String(id))).filter((found): found is number => found !== undefined);
    put("pins", known(entries.getAll("pin")));
    put("groups", entries.getAll("group").flatMap((text) => readGroup(text, known)));
    return found;
  }
}

function readGroup(text: string, known: (ids: unknown[]) => number[]): Group[] {
  try {
    const value: unknown = JSON.parse(text);
    if (!Array.isArray(value) || value.length < 3) return [];
    const [mark, name, ...ids] = value;
    const nodes = known(ids);
    return nodes.length ? [{ name: String(name), nodes, suggested: mark === "~" }] : [];
  } catch {
    return [];
  }
}

// The nodes that are shown: the strongest, every token, the metric, and what was picked.
export function shownNodes(circuit: Circuit, state: State): Set<number> {
  const { kind } = circuit.data.nodes;
  const shown = new Set(circuit.members.slice(0, state.nodes));
  kind.forEach((name, node) => {
    if (name === "token" || name === "metric") shown.add(node);
  });
  for (const node of state.pins) shown.add(node);
  if (state.node !== null) shown.add(state.node);
  if (state.edge !== null) {
    shown.add(circuit.data.edges.source[state.edge]);
    shown.add(circuit.data.edges.target[state.edge]);
  }
  return shown;
}

const orders = new WeakMap<Circuit, number[]>();

// The edges that are drawn, strongest first: the strongest between nodes that are shown.
export function shownEdges(circuit: Circuit, state: State, nodes: Set<number>): number[] {
  const { source, target, effect } = circuit.data.edges;
  let order = orders.get(circuit);
  if (!order) orders.set(circuit, (order = byStrength(effect)));
  const found: number[] = [];
  for (const edge of order) {
    if (found.length >= state.edges) break;
    if (nodes.has(source[edge]) && nodes.has(target[edge])) found.push(edge);
  }
  return found;
}
