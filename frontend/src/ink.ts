// Edges on canvas, some dozens or some ten thousands. The strongest are drawn at once, on a canvas of
// their own; the others into a picture that is not shown before it is whole, a few milliseconds of
// every frame. While the reader moves it the picture is moved as it is, and drawn anew afterwards.

import type { Circuit } from "./circuit";
import { type Layout, curve } from "./layout";
import { type Palette, edgeWidth } from "./marks";

const STEPS = 7; // widths told apart
const AT_ONCE = 300;
const BUDGET = 8; // milliseconds of a frame
const LOT = 100; // edges between two looks at the clock
const DASH = [6, 4];

export interface Zoom {
  k: number;
  x: number;
  y: number;
}

// What is drawn; edges strongest first.
export interface Scene {
  circuit: Circuit;
  layout: Layout;
  edges: number[];
  colours: Palette;
  largest: number;
  bold?: boolean; // weak edges too are to be seen well
}

// A canvas that is drawn in one go.
export class Ink {
  readonly context: CanvasRenderingContext2D;
  private soon = 0;
  private wanted: Zoom | null = null; // asked for, and drawn with the next picture
  private drawn: Zoom = { k: 1, x: 0, y: 0 };

  constructor(readonly canvas: HTMLCanvasElement) {
    this.context = canvas.getContext("2d") as CanvasRenderingContext2D;
  }

  // Whether the size is another one now, and the canvas empty.
  resize(width: number, height: number): boolean {
    const ratio = Math.min(2, devicePixelRatio || 1);
    const [w, h] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
    if (this.canvas.width === w && this.canvas.height === h) return false;
    this.canvas.width = w;
    this.canvas.height = h;
    return true;
  }

  clear(): void {
    cancelAnimationFrame(this.soon);
    wipe(this.context);
  }

  draw(scene: Scene, zoom: Zoom, done: () => void = () => undefined): void {
    cancelAnimationFrame(this.soon);
    this.wanted = zoom;
    // Not more than once a picture, however often it is asked for.
    this.soon = requestAnimationFrame(() => {
      wipe(this.context);
      aim(this.context, zoom, this.ratio);
      stroke(this.context, scene, 0, scene.edges.length);
      this.at(zoom);
      done();
    });
  }

  // Shows what was drawn where it is now.
  move(zoom: Zoom): void {
    this.wanted = null;
    const scale = zoom.k / this.drawn.k;
    this.canvas.style.transform = `translate(${zoom.x - this.drawn.x * scale}px, ${zoom.y - this.drawn.y * scale}px) scale(${scale})`;
  }

  isAt(zoom: Zoom): boolean {
    return this.wanted?.k === zoom.k && this.wanted.x === zoom.x && this.wanted.y === zoom.y;
  }

  at(zoom: Zoom): void {
    this.drawn = { k: zoom.k, x: zoom.x, y: zoom.y };
    this.canvas.style.transform = "";
  }

  get ratio(): number {
    return this.canvas.width / (this.canvas.clientWidth || this.canvas.width);
  }
}

// All edges: the strongest above, the others below.
export class Edges {
  readonly top = new Ink(sheet());
  readonly bed = new Ink(sheet());
  private buffer = document.createElement("canvas");
  // The clock is only told the truth by a canvas that is drawn when asked for.
  private context = this.buffer.getContext("2d", { willReadFrequently: true }) as CanvasRenderingContext2D;
  private next = 0;
  private shown: Scene | null = null;

  resize(width: number, height: number): void {
    if (this.top.resize(width, height)) this.shown = null;
    this.bed.resize(width, height);
  }

  draw(scene: Scene, zoom: Zoom): void {
    if (this.shown && same(this.shown, scene) && this.top.isAt(zoom)) return;
    cancelAnimationFrame(this.next);
    if (this.shown?.edges !== scene.edges || this.shown.layout !== scene.layout) this.bed.clear();
    else this.bed.move(zoom);
    this.shown = scene;
    const rest = scene.edges.slice(AT_ONCE);
    this.top.draw({ ...scene, edges: scene.edges.slice(0, AT_ONCE) }, zoom, () => {
      performance.mark("edges-begun");
      if (rest.length) this.begin({ ...scene, edges: rest }, zoom);
      else {
        this.bed.clear();
        performance.mark("edges-drawn");
      }
    });
  }

  move(zoom: Zoom): void {
    cancelAnimationFrame(this.next);
    this.top.move(zoom);
    this.bed.move(zoom);
  }

  private begin(scene: Scene, zoom: Zoom): void {
    this.buffer.width = this.bed.canvas.width;
    this.buffer.height = this.bed.canvas.height;
    aim(this.context, zoom, this.bed.ratio);
    let left = scene.edges.length;
    const some = () => {
      const start = performance.now();
      while (left > 0 && performance.now() - start < BUDGET) {
        const from = Math.max(0, left - LOT);
        stroke(this.context, scene, from, left);
        this.context.getImageData(0, 0, 1, 1);
        left = from;
      }
      if (left > 0) this.next = requestAnimationFrame(some);
      else {
        this.bed.clear();
        this.bed.context.drawImage(this.buffer, 0, 0);
        this.bed.at(zoom);
        performance.mark("edges-drawn");
      }
    };
    this.next = requestAnimationFrame(some);
  }
}

function same(a: Scene, b: Scene): boolean {
  return a.edges === b.edges && a.layout === b.layout && Object.values(a.colours).join() === Object.values(b.colours).join();
}

function sheet(): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.className = "layer edges";
  canvas.setAttribute("aria-hidden", "true");
  return canvas;
}

function wipe(context: CanvasRenderingContext2D): void {
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, context.canvas.width, context.canvas.height);
}

function aim(context: CanvasRenderingContext2D, zoom: Zoom, ratio: number): void {
  context.setTransform(zoom.k * ratio, 0, 0, zoom.k * ratio, zoom.x * ratio, zoom.y * ratio);
}

// Edges of like width and sign are one stroke, weaker ones below.
function stroke(context: CanvasRenderingContext2D, scene: Scene, from: number, to: number): void {
  const { circuit, layout, edges, colours, largest } = scene;
  const { source, target, effect } = circuit.data.edges;
  const strokes = new Map<number, Path2D>();
  for (let place = to - 1; place >= from; place--) {
    const edge = edges[place];
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
  for (const [key, path] of [...strokes].sort((a, b) => a[0] - b[0])) {
    const share = Math.floor(key / 2) / STEPS;
    context.globalAlpha = scene.bold ? 0.6 + 0.26 * Math.sqrt(share) : 0.26 + 0.6 * Math.sqrt(share);
    context.lineWidth = edgeWidth(share);
    context.strokeStyle = key % 2 ? colours.neg : colours.pos;
    context.setLineDash(key % 2 ? DASH : []);
    context.stroke(path);
  }
}
