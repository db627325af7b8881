// Edges on a canvas, some dozens or some ten thousands. Edges of like width and sign are one stroke.
// The strongest are drawn at once; the others follow underneath, a few thousand at a time.

import type { Circuit } from "./circuit";
import { type Layout, curve } from "./layout";
import { type Palette, edgeWidth } from "./marks";

const STEPS = 7; // widths told apart
const AT_ONCE = 2000;
const PAUSE = 60; // between two lots, so that the page can paint and answer
const DASH = [6, 4];

export interface Zoom {
  k: number;
  x: number;
  y: number;
}

export class Ink {
  private context: CanvasRenderingContext2D;
  private later = 0;
  private soon = 0;

  constructor(readonly canvas: HTMLCanvasElement) {
    this.context = canvas.getContext("2d") as CanvasRenderingContext2D;
  }

  resize(width: number, height: number): void {
    const ratio = Math.min(2, devicePixelRatio || 1);
    const [w, h] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
    if (this.canvas.width !== w || this.canvas.height !== h) {
      this.canvas.width = w;
      this.canvas.height = h;
    }
  }

  clear(): void {
    clearTimeout(this.later);
    cancelAnimationFrame(this.soon);
    this.context.setTransform(1, 0, 0, 1, 0, 0);
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
  }

  // Edges strongest first; `most` ends the drawing early, while the reader moves the picture.
  draw(circuit: Circuit, layout: Layout, edges: number[], zoom: Zoom, colours: Palette, largest: number, most = Infinity): void {
    this.clear();
    // Not more than once a picture, however often it is asked for.
    this.soon = requestAnimationFrame(() => this.start(circuit, layout, edges, zoom, colours, largest, most));
  }

  private start(circuit: Circuit, layout: Layout, edges: number[], zoom: Zoom, colours: Palette, largest: number, most: number): void {
    const ratio = this.canvas.width / (this.canvas.clientWidth || this.canvas.width);
    this.context.setTransform(zoom.k * ratio, 0, 0, zoom.k * ratio, zoom.x * ratio, zoom.y * ratio);
    this.context.globalCompositeOperation = "destination-over";
    const next = (from: number) => {
      this.some(circuit, layout, edges.slice(from, Math.min(most, from + AT_ONCE)), colours, largest);
      if (from + AT_ONCE < Math.min(most, edges.length)) this.later = window.setTimeout(() => next(from + AT_ONCE), PAUSE);
    };
    next(0);
  }

  private some(circuit: Circuit, layout: Layout, edges: number[], colours: Palette, largest: number): void {
    const { source, target, effect } = circuit.data.edges;
    const strokes = new Map<number, Path2D>();
    for (const edge of edges) {
      const [a, b] = [layout.at.get(source[edge]), layout.at.get(target[edge])];
      if (!a || !b) continue;
      const value = effect[edge] ?? 0;
      const step = Math.round((Math.abs(value) / largest) * STEPS);
      const key = 2 * step + (value < 0 ? 1 : 0);
      let path = strokes.get(key);
      if (!path) strokes.set(key, (path = new Path2D()));
      const [x0, y0, cx0, cy0, cx1, cy1, x1, y1] = curve(a, b);
      path.moveTo(x0, y0);
      path.bezierCurveTo(cx0, cy0, cx1, cy1, x1, y1);
    }
    const { context } = this;
    // "destination-over": what is drawn first lies on top.
    for (const [key, path] of [...strokes].sort((a, b) => b[0] - a[0])) {
      const share = Math.floor(key / 2) / STEPS;
      context.globalAlpha = 0.26 + 0.6 * Math.sqrt(share);
      context.lineWidth = edgeWidth(share);
      context.strokeStyle = key % 2 ? colours.neg : colours.pos;
      context.setLineDash(key % 2 ? DASH : []);
      context.stroke(path);
    }
  }
}

// The edge nearest to a point of the picture, within a few pixels.
export function edgeAt(circuit: Circuit, layout: Layout, edges: number[], x: number, y: number, reach: number): number | null {
  const { source, target } = circuit.data.edges;
  let found: number | null = null;
  let nearest = reach * reach;
  for (const edge of edges.slice(0, 3000)) {
    const [a, b] = [layout.at.get(source[edge]), layout.at.get(target[edge])];
    if (!a || !b) continue;
    const [x0, y0, cx0, cy0, cx1, cy1, x1, y1] = curve(a, b);
    if (x < Math.min(x0, x1) - reach || x > Math.max(x0, x1) + reach || y < y1 - reach || y > y0 + reach) continue;
    for (let step = 1; step < 24; step++) {
      const t = step / 24;
      const u = 1 - t;
      const [p, q, r, v] = [u * u * u, 3 * u * u * t, 3 * u * t * t, t * t * t];
      const dx = p * x0 + q * cx0 + r * cx1 + v * x1 - x;
      const dy = p * y0 + q * cy0 + r * cy1 + v * y1 - y;
      const distance = dx * dx + dy * dy;
      if (distance < nearest) [nearest, found] = [distance, edge];
    }
  }
  return found;
}
