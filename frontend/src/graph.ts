// The graph: token by layer, edges on canvas below, nodes in SVG above, one picture to move about.

import { select } from "d3-selection";
import { type D3ZoomEvent, type ZoomTransform, zoom, zoomIdentity } from "d3-zoom";
import { type Circuit, place, title } from "./circuit";
import { bdi, clear, h, s } from "./dom";
import { Edges, Ink, type Scene } from "./ink";
import { type Layout, arrange, neighbour } from "./layout";
import { background, describe, nodeMark, palette } from "./marks";
import { namesBeside } from "./names";
import { Picker } from "./picking";
import { type Store, shownEdges, shownNodes } from "./state";
import { interval, signed } from "./words";

const LIT = 80; // edges of one node that are lit up
const MOVING = 600; // edges up to which all is drawn anew while the picture is moved

export class GraphView {
  readonly element: HTMLElement;
  private stage = h("div", { class: "stage" });
  private back = s("svg", { class: "layer back", "aria-hidden": "true" });
  private front = s("svg", { class: "layer front", role: "group", "aria-label": "Nodes of the circuit. Arrow keys move between nodes, Enter opens one." });
  private under = s("g");
  private world = s("g");
  // Copies of the marks that are lit up, so that one stroke dims all the others.
  private above = s("svg", { class: "layer above", "aria-hidden": "true" });
  private bright = s("g");
  private names = s("g", { class: "names", "aria-hidden": "true" });
  private ink = new Edges();
  private lit = new Ink(h("canvas", { class: "layer", "aria-hidden": "true" }));
  private tip = h("div", { class: "tip", "aria-hidden": "true" });
  private behaviour = zoom<HTMLElement, unknown>().scaleExtent([0.15, 8]);
  private transform: ZoomTransform = zoomIdentity;
  private layout!: Layout;
  private shown = new Set<number>();
  private edges: number[] = [];
  private picker: Picker | null = null;
  private marks = new Map<number, SVGGElement>();
  private current: number | null = null;
  private hovered: number | null = null;
  private settle = 0;
  private largest = 1;
  private touched = false; // the reader has moved the picture

  constructor(
    readonly circuit: Circuit,
    readonly store: Store,
    readonly open: (node: number, focus: boolean) => void,
  ) {
    this.back.append(this.under);
    this.front.append(this.world, this.names);
    this.above.append(this.bright);
    this.stage.append(this.back, this.ink.bed.canvas, this.ink.top.canvas, this.lit.canvas, this.front, this.above, this.tip);
    this.element = this.stage;
    const effects = circuit.data.edges.effect;
    for (const value of effects) this.largest = Math.max(this.largest === 1 ? 0 : this.largest, Math.abs(value ?? 0));
    this.largest ||= 1;
    this.behaviour
      .filter((event: Event) => !("touches" in event) || (event as TouchEvent).touches.length > 1)
      .on("zoom", (event: D3ZoomEvent<HTMLElement, unknown>) => this.moved(event));
    select(this.stage as HTMLElement).call(this.behaviour).on("dblclick.zoom", null);
    this.stage.addEventListener("pointermove", (event) => this.pointed(event));
    this.stage.addEventListener("pointerleave", () => this.light(null));
    this.stage.addEventListener("click", (event) => this.clicked(event));
    this.stage.addEventListener("keydown", (event) => this.keyed(event));
    this.front.addEventListener("focusin", (event) => this.focused(event));
    this.front.addEventListener("focusout", () => this.light(null));
    new ResizeObserver(() => this.resize()).observe(this.stage);
    store.listen((changed) => {
      if (["pins", "groups", "theme", "view"].some((key) => changed.has(key as "pins"))) this.update();
      else if (["nodes", "edges", "node", "edge"].some((key) => changed.has(key as "nodes"))) this.update(false);
    });
  }

  // Draws what has changed, and the nodes in any case if they look otherwise.
  update(marks = true): void {
    if (!this.stage.isConnected || !this.stage.clientWidth) return;
    const { circuit, store } = this;
    const before = this.shown;
    this.shown = shownNodes(circuit, store.state);
    const edges = shownEdges(circuit, store.state, this.shown);
    if (edges.length !== this.edges.length || edges.some((edge, place) => edge !== this.edges[place])) {
      this.edges = edges;
      this.picker = null;
    }
    const same = this.layout && before.size === this.shown.size && [...before].every((node) => this.shown.has(node));
    if (!same) {
      this.layout = arrange(circuit, this.shown, this.room());
      this.picker = null;
      if (!this.touched) this.fit(false);
    }
    if (marks || !same) this.drawNodes();
    this.pick();
    this.drawEdges();
    // Made ready while nothing else is asked for, not when the mouse first moves.
    later(() => this.pickerNow());
  }

  counts(): { nodes: number; edges: number } {
    return { nodes: this.shown.size, edges: this.edges.length };
  }

  fit(byReader = true): void {
    if (byReader) this.touched = false;
    const { width, height } = this.room();
    const k = this.layout.fit;
    const x = (width - this.layout.width * k) / 2;
    const y = Math.max(0, (height - this.layout.height * k) / 2);
    this.quiet = true;
    select(this.stage as HTMLElement).call(this.behaviour.transform, zoomIdentity.translate(x, y).scale(k));
    this.quiet = false;
  }

  scale(factor: number): void {
    select(this.stage as HTMLElement).call(this.behaviour.scaleBy, factor);
  }

  focus(node: number | null = this.store.state.node ?? this.current ?? this.circuit.metric): void {
    if (node === null) return;
    this.current = node;
    this.marks.forEach((mark, other) => frameOf(mark).setAttribute("tabindex", other === node ? "0" : "-1"));
    const mark = this.marks.get(node);
    if (mark) frameOf(mark).focus();
  }

  get picture(): { layout: Layout; edges: number[]; largest: number } {
    if (!this.layout) {
      // The page was opened at another view.
      this.shown = shownNodes(this.circuit, this.store.state);
      this.edges = shownEdges(this.circuit, this.store.state, this.shown);
      this.layout = arrange(this.circuit, this.shown, { width: 1040, height: 760 });
    }
    return { layout: this.layout, edges: this.edges, largest: this.largest };
  }

  private quiet = false;

  private room(): { width: number; height: number } {
    return { width: this.stage.clientWidth, height: this.stage.clientHeight };
  }

  private resize(): void {
    const { width, height } = this.room();
    if (!width) return;
    this.ink.resize(width, height);
    this.lit.resize(width, height);
    if (this.layout && !this.touched) {
      this.layout = arrange(this.circuit, this.shown, { width, height });
      this.picker = null;
      this.fit(false);
    }
    this.update();
  }

  private drawNodes(): void {
    const colours = palette();
    const { state } = this.store;
    const hadFocus = this.front.contains(document.activeElement);
    clear(this.under);
    clear(this.world);
    this.marks.clear();
    this.under.append(background(this.layout, colours));
    if (this.current === null || !this.layout.at.has(this.current)) this.current = this.circuit.metric;
    for (const box of this.layout.placed) {
      const group = state.groups.findIndex((found) => found.nodes.includes(box.node));
      const flags = { pinned: state.pins.includes(box.node), group: group < 0 ? null : group + 1 };
      const mark = nodeMark(this.circuit, box, colours, this.layout.boxes, flags);
      // The frame is the button, so that a shortened text beside it is no part of its name.
      const frame = frameOf(mark);
      frame.setAttribute("role", "button");
      frame.setAttribute("tabindex", box.node === this.current ? "0" : "-1");
      frame.setAttribute("aria-label", `${describe(this.circuit, box.node)}${flags.pinned ? ", pinned" : ""}`);
      mark.querySelectorAll("text").forEach((text) => text.setAttribute("aria-hidden", "true"));
      this.world.append(mark);
      this.marks.set(box.node, mark);
    }
    if (hadFocus) this.focus(this.current);
    this.drawNames();
  }

  private pick(): void {
    const { node, edge } = this.store.state;
    const { source, target } = this.circuit.data.edges;
    const picked = new Set([node, ...(edge === null ? [] : [source[edge], target[edge]])]);
    this.marks.forEach((mark, other) => mark.classList.toggle("picked", picked.has(other)));
  }

  // In large graphs, names of the strongest nodes where there is room for them.
  private drawNames(): void {
    clear(this.names);
    if (this.layout.boxes) return;
    this.names.append(...namesBeside(this.circuit, this.layout, this.transform.k));
  }

  private scene(edges: number[]): Scene {
    return { circuit: this.circuit, layout: this.layout, edges, colours: palette(), largest: this.largest };
  }

  private drawEdges(): void {
    this.ink.draw(this.scene(this.edges), this.transform);
    this.light(this.hovered, true);
  }

  private moved(event: D3ZoomEvent<HTMLElement, unknown>): void {
    this.transform = event.transform;
    const value = event.transform.toString();
    this.under.setAttribute("transform", value);
    this.world.setAttribute("transform", value);
    this.names.setAttribute("transform", value);
    this.bright.setAttribute("transform", value);
    if (!this.quiet) this.touched = true;
    if (!this.layout) return;
    const live = this.edges.length <= MOVING;
    if (live) this.drawEdges();
    else {
      this.ink.move(this.transform);
      this.lit.move(this.transform);
      this.showTip(this.hovered);
    }
    clearTimeout(this.settle);
    this.settle = window.setTimeout(() => {
      this.drawNames();
      if (!live) this.drawEdges();
    }, 120);
  }

  // Lights up a node with its edges, or the edge that was picked; the rest steps back.
  light(node: number | null, again = false): void {
    if (node === this.hovered && !again) return;
    this.hovered = node;
    const { state } = this.store;
    const { source, target } = this.circuit.data.edges;
    const picked = node ?? state.node;
    const near = new Set<number>();
    let edges: number[] = [];
    if (picked !== null && this.layout.at.has(picked)) {
      near.add(picked);
      edges = [...this.circuit.into[picked].slice(0, LIT), ...this.circuit.outOf[picked].slice(0, LIT)].filter(
        (edge) => this.shown.has(source[edge]) && this.shown.has(target[edge]),
      );
    } else if (state.edge !== null) {
      edges = [state.edge];
    }
    for (const edge of edges) near.add(source[edge]).add(target[edge]);
    this.stage.classList.toggle("dimmed", near.size > 0);
    clear(this.bright);
    for (const other of near) {
      const mark = this.marks.get(other);
      if (mark) this.bright.append(brightCopy(mark, other === node));
    }
    if (edges.length) {
      const { effect } = this.circuit.data.edges;
      edges.sort((a, b) => Math.abs(effect[b] ?? 0) - Math.abs(effect[a] ?? 0));
      this.lit.draw({ ...this.scene(edges), bold: true }, this.transform);
    } else this.lit.clear();
    this.showTip(node);
  }

  private showTip(node: number | null): void {
    const box = node === null ? undefined : this.layout.at.get(node);
    this.tip.hidden = !box;
    if (!box || node === null) return;
    const { nodes, edges } = this.circuit.data;
    const around = nodes.low[node] === null ? "" : ` (${interval(nodes.low[node], nodes.high[node])})`;
    const first = (list: number[], end: number[], word: string) =>
      list.length > 0 && h("p", {}, `${word} `, bdi(title(this.circuit, end[list[0]])), ` ${signed(edges.effect[list[0]])}`);
    this.tip.replaceChildren(
      h("p", { class: "tip-title" }, bdi(title(this.circuit, node))),
      h("p", { class: "quiet" }, bdi(place(this.circuit, node))),
      h("p", {}, `effect ${signed(nodes.effect[node])} logits${around}`),
      ...[first(this.circuit.into[node], edges.source, "strongest in:"), first(this.circuit.outOf[node], edges.target, "strongest out:")].filter((found) => found !== false),
    );
    const { k, x, y } = this.transform;
    const { width, height } = this.room();
    const left = Math.min(Math.max(4, (box.x + box.w / 2) * k + x - 120), width - 252);
    const below = (box.y + box.h) * k + y + 8;
    const size = this.tip.offsetHeight;
    this.tip.style.left = `${left}px`;
    this.tip.style.top = `${below + size > height ? box.y * k + y - size - 8 : below}px`;
  }

  private nodeOf(event: Event): number | null {
    const mark = (event.target as Element).closest?.("[data-node]");
    return mark ? Number(mark.getAttribute("data-node")) : null;
  }

  private pickerNow(): Picker {
    return (this.picker ??= new Picker(this.circuit, this.layout, this.edges));
  }

  private edgeOf(event: MouseEvent): number | null {
    const box = this.stage.getBoundingClientRect();
    const [x, y] = this.transform.invert([event.clientX - box.left, event.clientY - box.top]);
    return this.pickerNow().at(x, y, 6 / this.transform.k);
  }

  private pointed(event: PointerEvent): void {
    if (event.buttons || event.pointerType === "touch") return;
    const node = this.nodeOf(event);
    this.light(node);
    this.stage.classList.toggle("over-edge", node === null && this.edgeOf(event) !== null);
  }

  private clicked(event: MouseEvent): void {
    const node = this.nodeOf(event);
    if (node !== null) {
      this.current = node;
      this.open(node, false);
      return;
    }
    this.store.set({ edge: this.edgeOf(event), node: null });
  }

  private focused(event: Event): void {
    const node = this.nodeOf(event);
    if (node === null) return;
    this.current = node;
    this.light(node);
  }

  private keyed(event: KeyboardEvent): void {
    const node = this.nodeOf(event);
    if (node === null || event.altKey || event.ctrlKey || event.metaKey) return;
    const { source, target } = this.circuit.data.edges;
    let next: number | null = null;
    if (event.key.startsWith("Arrow")) next = neighbour(this.layout, node, event.key);
    else if (event.key === "i") next = this.follow(this.circuit.into[node], source);
    else if (event.key === "o") next = this.follow(this.circuit.outOf[node], target);
    else if (event.key === "Home") next = this.circuit.metric;
    else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.open(node, true);
      return;
    } else return;
    event.preventDefault();
    if (next !== null) {
      this.focus(next);
      this.reveal(next);
    }
  }

  private follow(edges: number[], ends: number[]): number | null {
    const edge = edges.find((found) => this.layout.at.has(ends[found]));
    return edge === undefined ? null : ends[edge];
  }

  // Moves the picture where a node would be out of sight.
  reveal(node: number): void {
    const box = this.layout.at.get(node);
    if (!box) return;
    const { width, height } = this.room();
    const [x, y] = this.transform.apply([box.x + box.w / 2, box.y + box.h / 2]);
    if (x > 20 && y > 20 && x < width - 20 && y < height - 20) return;
    select(this.stage as HTMLElement).call(this.behaviour.translateTo, box.x + box.w / 2, box.y + box.h / 2);
  }
}

function later(act: () => void): void {
  if ("requestIdleCallback" in window) requestIdleCallback(act);
  else setTimeout(act, 300);
}

// For the eye alone; the mark itself stays the button.
function brightCopy(mark: SVGGElement, pointed: boolean): SVGGElement {
  const copy = mark.cloneNode(true) as SVGGElement;
  const frame = frameOf(copy);
  for (const name of ["role", "tabindex", "aria-label"]) frame.removeAttribute(name);
  copy.removeAttribute("data-node");
  copy.classList.add("near", ...(pointed ? ["picked"] : []));
  copy.classList.toggle("focused", frameOf(mark).matches(":focus-visible"));
  return copy;
}

function frameOf(mark: SVGGElement): SVGElement {
  return mark.firstElementChild as SVGElement;
}
