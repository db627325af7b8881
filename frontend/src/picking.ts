// Which edge is under the mouse: points along the strongest edges, kept by squares of the picture.

import type { Circuit } from "./circuit";
import { type Layout, curve } from "./layout";

const MOST = 3000; // edges that can be picked, the strongest
const POINTS = 24; // along an edge
const SQUARE = 32;

export class Picker {
  private squares = new Map<number, number[]>(); // x, y and edge, one behind the other
  private across: number;

  constructor(circuit: Circuit, layout: Layout, edges: number[]) {
    this.across = Math.ceil(layout.width / SQUARE) + 1;
    const { source, target } = circuit.data.edges;
    for (const edge of edges.slice(0, MOST)) {
      const [a, b] = [layout.at.get(source[edge]), layout.at.get(target[edge])];
      if (!a || !b) continue;
      const [x0, y0, cx0, cy0, cx1, cy1, x1, y1] = curve(a, b);
      for (let step = 1; step < POINTS; step++) {
        const t = step / POINTS;
        const u = 1 - t;
        const [p, q, r, v] = [u * u * u, 3 * u * u * t, 3 * u * t * t, t * t * t];
        const x = p * x0 + q * cx0 + r * cx1 + v * x1;
        const y = p * y0 + q * cy0 + r * cy1 + v * y1;
        const key = this.key(Math.floor(x / SQUARE), Math.floor(y / SQUARE));
        const found = this.squares.get(key);
        if (found) found.push(x, y, edge);
        else this.squares.set(key, [x, y, edge]);
      }
    }
  }

  // The edge nearest to a point, within reach of it.
  at(x: number, y: number, reach: number): number | null {
    let found: number | null = null;
    let nearest = reach * reach;
    for (let i = Math.floor((x - reach) / SQUARE); i <= Math.floor((x + reach) / SQUARE); i++) {
      for (let j = Math.floor((y - reach) / SQUARE); j <= Math.floor((y + reach) / SQUARE); j++) {
        const points = this.squares.get(this.key(i, j)) ?? [];
        for (let place = 0; place < points.length; place += 3) {
          const distance = (points[place] - x) ** 2 + (points[place + 1] - y) ** 2;
          if (distance < nearest) [nearest, found] = [distance, points[place + 2]];
        }
      }
    }
    return found;
  }

  private key(i: number, j: number): number {
    return j * this.across + i;
  }
}
