// Names beside marks, the strongest nodes first, as far as there is room.

import { type Circuit, shortTitle } from "./circuit";
import type { Layout, Placed } from "./layout";
import { fitted, label, palette, textWidth } from "./marks";

const MOST = 150;

// `k` is the size at which the picture is seen; `named` leaves out marks that are only outlines.
export function namesBeside(circuit: Circuit, layout: Layout, k: number, named: (box: Placed) => boolean = () => true): SVGTextElement[] {
  const colours = palette();
  const size = 11 / k;
  const taken = layout.placed.map((box) => [box.x - 1, box.y, box.x + box.w + 1, box.y + box.h]);
  const { effect } = circuit.data.nodes;
  const order = layout.placed.filter(named).sort((a, b) => Math.abs(effect[b.node] ?? 0) - Math.abs(effect[a.node] ?? 0));
  const found: SVGTextElement[] = [];
  for (const box of order.slice(0, MOST)) {
    const text = fitted(shortTitle(circuit, box.node), 130, 11);
    const w = textWidth(text, 11) / k + 2;
    const spots = [
      [box.x + box.w + 3, box.y + box.h / 2 - size / 2],
      [box.x - 3 - w, box.y + box.h / 2 - size / 2],
      [box.x + box.w / 2 - w / 2, box.y - size - 3],
    ];
    const free = spots.find(([x, y]) => taken.every(([a, b, c, d]) => x + w < a || x > c || y + size < b || y > d) && x > 100 && x + w < layout.width);
    if (!free) continue;
    const [x, y] = free;
    taken.push([x, y, x + w, y + size]);
    found.push(
      label(x, y + size * 0.85, text, {
        "font-size": size, fill: colours.ink, stroke: colours.ground, "stroke-width": 3 / k,
        "paint-order": "stroke", "stroke-linejoin": "round",
      }),
    ); // prettier-ignore
  }
  return found;
}
