// How nodes and edges are drawn: shape tells the kind, and sign is told by shape as well as colour.

import { type Circuit, fullName, number, shortTitle } from "./circuit";
import { s } from "./dom";
import { type Layout, type Placed, curve } from "./layout";
import { signed } from "./words";

export const SANS = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif';
const NAMES = [
  "ground", "panel", "ink", "quiet", "faint", "line", "pos", "neg", "pos-soft", "neg-soft", "plain-soft", "accent",
] as const; // prettier-ignore
export type Palette = Record<(typeof NAMES)[number], string>;

export function palette(): Palette {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(NAMES.map((name) => [name, style.getPropertyValue(`--${name}`).trim()])) as Palette;
}

let measuring: CanvasRenderingContext2D | null = null;
const widths = new Map<string, number>();

export function textWidth(text: string, size: number, weight = 400): number {
  const key = `${size} ${weight} ${text}`;
  let found = widths.get(key);
  if (found === undefined) {
    measuring ??= document.createElement("canvas").getContext("2d");
    if (!measuring) return text.length * size * 0.55;
    measuring.font = `${weight} ${size}px ${SANS}`;
    widths.set(key, (found = measuring.measureText(text).width));
  }
  return found;
}

export function fitted(text: string, room: number, size: number, weight = 400): string {
  if (textWidth(text, size, weight) <= room) return text;
  const chars = [...text];
  let [low, high] = [0, chars.length];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (textWidth(`${chars.slice(0, middle).join("")}\u2026`, size, weight) <= room) low = middle;
    else high = middle - 1;
  }
  return `${chars.slice(0, low).join("").trimEnd()}\u2026`;
}

export function label(x: number, y: number, text: string, attrs: Record<string, string | number> = {}): SVGTextElement {
  return s("text", { x, y, "font-family": SANS, "font-size": 11.5, "unicode-bidi": "isolate", ...attrs }, text);
}

// Upwards and filled for what supports the answer, downwards and open for what works against it.
function signMark(x: number, y: number, positive: boolean, colours: Palette): SVGElement {
  const d = positive ? `M${x} ${y + 3.2}L${x + 4} ${y - 3.8}L${x + 8} ${y + 3.2}Z` : `M${x} ${y - 3.2}L${x + 4} ${y + 3.8}L${x + 8} ${y - 3.2}Z`;
  return s("path", positive ? { d, fill: colours.pos } : { d, fill: "none", stroke: colours.neg, "stroke-width": 1.3 });
}

function outline(kind: string, w: number, h: number): string {
  const r = kind === "token" ? h / 2 : Math.min(4, h / 3);
  if (kind === "error") {
    const cut = Math.min(9, w / 3.2);
    return `M${cut} 0H${w - cut}L${w} ${h / 2}L${w - cut} ${h}H${cut}L0 ${h / 2}Z`;
  }
  return `M${r} 0H${w - r}A${r} ${r} 0 0 1 ${w} ${r}V${h - r}A${r} ${r} 0 0 1 ${w - r} ${h}H${r}A${r} ${r} 0 0 1 0 ${h - r}V${r}A${r} ${r} 0 0 1 ${r} 0Z`;
}

export interface Flags {
  pinned?: boolean;
  group?: number | null; // number of its group, from 1
}

export function nodeMark(circuit: Circuit, box: Placed, colours: Palette, boxes: boolean, flags: Flags = {}): SVGGElement {
  const { nodes } = circuit.data;
  const kind = nodes.kind[box.node];
  const positive = (nodes.effect[box.node] ?? 0) >= 0;
  const isMember = kind === "feature" || kind === "error";
  const soft = kind === "error" ? colours["plain-soft"] : positive ? colours["pos-soft"] : colours["neg-soft"];
  const fill = kind === "metric" ? colours.ink : kind === "token" ? colours.panel : soft;
  const edge = kind === "metric" ? colours.ink : positive ? colours.pos : colours.neg;
  const g = s("g", { transform: `translate(${box.x} ${box.y})`, class: "node", "data-node": box.node });
  const strong = flags.pinned ? 2.2 : 1;
  const frame = s("path", { d: outline(kind, box.w, box.h), fill, stroke: edge, "stroke-width": strong });
  if (!positive && kind !== "metric") frame.setAttribute("stroke-dasharray", "3.5 2");
  g.append(frame);
  if (boxes) {
    const start = isMember ? 22 : 10;
    const room = box.w - start - (flags.group ? 22 : 9);
    const text = fitted(shortTitle(circuit, box.node), room, 11.5, kind === "metric" ? 600 : 450);
    if (isMember) g.append(signMark(kind === "error" ? 11 : 8, box.h / 2, positive, colours));
    const anchored = isMember ? { x: start } : { x: box.w / 2, anchor: "middle" };
    g.append(
      label(anchored.x, box.h / 2 + 4, text, {
        fill: kind === "metric" ? colours.panel : colours.ink,
        "text-anchor": isMember ? "start" : "middle",
        "font-weight": kind === "metric" ? 600 : 450,
      }),
    );
  } else if (isMember) {
    g.append(signMark(box.w / 2 - 4, box.h / 2, positive, colours));
  }
  if (flags.group) {
    const x = boxes ? box.w - 11 : box.w;
    const y = boxes ? box.h / 2 : 0;
    g.append(
      s("circle", { cx: x, cy: y, r: 6.5, fill: colours.accent }),
      label(x, y + 3.2, String(flags.group), { fill: colours.panel, "font-size": 9, "font-weight": 700, "text-anchor": "middle" }),
    );
  }
  return g;
}

export function background(layout: Layout, colours: Palette): SVGGElement {
  const g = s("g", { class: "background" });
  for (const row of layout.rows) {
    g.append(
      s("rect", { x: 4, y: row.from - 7, width: layout.width - 8, height: row.to - row.from + 14, rx: 7, fill: colours.faint }),
      label(14, (row.from + row.to) / 2 + 4, fitted(row.name, 84, 11), { fill: colours.quiet, "font-size": 11 }),
    );
  }
  for (const column of layout.columns) {
    const text = fitted(column.name, column.to - column.from + 24, 11.5, 600);
    g.append(
      label((column.from + column.to) / 2, layout.height - 6, text, { fill: colours.quiet, "text-anchor": "middle", "font-weight": 600 }),
    );
  }
  return g;
}

export function describe(circuit: Circuit, node: number): string {
  const { nodes } = circuit.data;
  const name = circuit.alike.has(node) ? `${number(circuit, node)} ${fullName(circuit, node)}` : fullName(circuit, node);
  return `${name}, effect ${signed(nodes.effect[node])} logits`;
}

// Width of an edge, from its share of the largest |effect|.
export function edgeWidth(share: number): number {
  return 0.7 + 5.8 * share;
}

export function edgePath(a: Placed, b: Placed): string {
  const [x0, y0, cx0, cy0, cx1, cy1, x1, y1] = curve(a, b).map((value) => Math.round(value * 100) / 100);
  return `M${x0} ${y0}C${cx0} ${cy0} ${cx1} ${cy1} ${x1} ${y1}`;
}
