// Where nodes stand: tokens of the prompt from left to right, computation upwards.
// A cell holds the nodes of one row and one column in a small grid. Nodes are boxes with a label
// while these can be read, and marks without one in larger graphs.

import type { Circuit } from "./circuit";
import { visible } from "./words";

export interface Placed {
  node: number;
  x: number; // left
  y: number; // top
  w: number;
  h: number;
}

export interface Band {
  name: string;
  from: number;
  to: number;
}

export interface Layout {
  boxes: boolean;
  placed: Placed[];
  at: Map<number, Placed>;
  rows: Band[];
  columns: Band[];
  width: number;
  height: number;
  fit: number;
}

interface Sizes {
  w: number;
  h: number;
  gapX: number;
  gapY: number;
  column: number;
  row: number;
}

const BOX: Sizes = { w: 122, h: 23, gapX: 7, gapY: 6, column: 34, row: 42 };
const MARK: Sizes = { w: 13, h: 13, gapX: 9, gapY: 9, column: 46, row: 46 };
const LEFT = 104; // room for the names of rows
const PAD = 10;
const ASIDE = 74; // room for names at the right of marks
const BOTTOM = 30; // room for the names of columns
const READABLE = 0.66;
const WIDEST = 1.15;

export function arrange(
  circuit: Circuit,
  shown: Iterable<number>,
  room: { width: number; height: number },
): Layout {
  const nodes = [...shown];
  const boxes = best(circuit, nodes, BOX, room);
  return boxes.fit >= READABLE || nodes.length <= 40 ? boxes : best(circuit, nodes, MARK, room);
}

function best(
  circuit: Circuit,
  nodes: number[],
  sizes: Sizes,
  room: { width: number; height: number },
): Layout {
  const cells = new Map<string, number[]>();
  const { row, unit, effect } = circuit.data.nodes;
  for (const node of [...nodes].sort((a, b) => Math.abs(effect[b] ?? 0) - Math.abs(effect[a] ?? 0))) {
    const key = `${row[node]} ${unit[node]}`;
    const found = cells.get(key);
    if (found) found.push(node);
    else cells.set(key, [node]);
  }
  const most = Math.max(1, ...[...cells.values()].map((found) => found.length));
  let chosen: Layout | null = null;
  for (let across = 1; across <= Math.min(most, 24); across++) {
    const layout = grid(circuit, cells, sizes, across, room);
    if (!chosen || layout.fit > chosen.fit + 1e-9) chosen = layout;
  }
  return chosen as Layout;
}

function grid(
  circuit: Circuit,
  cells: Map<string, number[]>,
  sizes: Sizes,
  across: number,
  room: { width: number; height: number },
): Layout {
  const wide = new Map<number, number>(); // boxes side by side, by column
  const deep = new Map<number, number>(); // boxes one below the other, by row
  for (const [key, found] of cells) {
    const [row, unit] = key.split(" ").map(Number);
    wide.set(unit, Math.max(wide.get(unit) ?? 1, Math.min(across, found.length)));
    deep.set(row, Math.max(deep.get(row) ?? 1, Math.ceil(found.length / across)));
  }
  const columns = new Map<number, Band>();
  let x = LEFT;
  for (const unit of [...wide.keys()].sort((a, b) => a - b)) {
    const size = span(wide.get(unit) as number, sizes.w, sizes.gapX);
    const width = Math.max(size, sizes === BOX ? 0 : 58);
    columns.set(unit, { name: visible(circuit.data.units[unit].name), from: x, to: x + width });
    x += width + sizes.column;
  }
  const rows = new Map<number, Band>();
  let y = PAD;
  for (const row of [...deep.keys()].sort((a, b) => b - a)) {
    const size = span(deep.get(row) as number, sizes.h, sizes.gapY);
    rows.set(row, { name: circuit.data.rows[row].name, from: y, to: y + size });
    y += size + sizes.row;
  }
  const placed: Placed[] = [];
  for (const [key, found] of cells) {
    const [row, unit] = key.split(" ").map(Number);
    const band = rows.get(row) as Band;
    const column = columns.get(unit) as Band;
    const lines = Math.ceil(found.length / across);
    const perLine = Math.ceil(found.length / lines);
    found.forEach((node, place) => {
      const line = Math.floor(place / perLine);
      const inLine = Math.min(perLine, found.length - line * perLine);
      const left = (column.from + column.to - span(inLine, sizes.w, sizes.gapX)) / 2;
      const top = (band.from + band.to - span(lines, sizes.h, sizes.gapY)) / 2;
      placed.push({
        node,
        x: left + (place % perLine) * (sizes.w + sizes.gapX),
        y: top + line * (sizes.h + sizes.gapY),
        w: sizes.w,
        h: sizes.h,
      });
    });
  }
  const width = x - sizes.column + (sizes === BOX ? PAD : ASIDE);
  const height = y - sizes.row + BOTTOM;
  const fit = Math.min(WIDEST, room.width / width, room.height / height);
  // What room is left goes between rows and columns.
  const spare = (space: number, used: number, gaps: number, most: number) => Math.max(0, Math.min(most, (space / fit - used) / Math.max(1, gaps)));
  const down = spare(room.height, height, rows.size - 1, sizes.row);
  const right = spare(room.width, width, columns.size - 1, 2 * sizes.column);
  const rowPlace = new Map([...rows.keys()].map((row, place) => [row, place]));
  const columnPlace = new Map([...columns.keys()].map((unit, place) => [unit, place]));
  const { row: rowOf, unit: unitOf } = circuit.data.nodes;
  for (const box of placed) {
    box.x += right * (columnPlace.get(unitOf[box.node]) as number);
    box.y += down * (rowPlace.get(rowOf[box.node]) as number);
  }
  const moved = (bands: Map<number, Band>, by: number) => [...bands.values()].map((band, place) => ({ ...band, from: band.from + by * place, to: band.to + by * place }));
  return {
    boxes: sizes === BOX,
    placed,
    at: new Map(placed.map((box) => [box.node, box])),
    rows: moved(rows, down),
    columns: moved(columns, right),
    width: width + right * (columns.size - 1),
    height: height + down * (rows.size - 1),
    fit,
  };
}

function span(count: number, size: number, gap: number): number {
  return count * (size + gap) - gap;
}

// A step with an arrow key: the nearest node that lies in that direction.
export function neighbour(layout: Layout, node: number, key: string): number | null {
  const from = layout.at.get(node);
  if (!from) return layout.placed[0]?.node ?? null;
  const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[
    key
  ] as [number, number];
  let found: number | null = null;
  let nearest = Infinity;
  for (const to of layout.placed) {
    const x = to.x + to.w / 2 - from.x - from.w / 2;
    const y = to.y + to.h / 2 - from.y - from.h / 2;
    const along = x * dx + y * dy;
    const aside = Math.abs(x * dy) + Math.abs(y * dx);
    // Left and right keep to the line; up and down go to the next line, wherever its nodes are.
    const cost = dx !== 0 ? along + 20 * aside : 20 * along + aside;
    if (along > 2 && cost < nearest && (dx === 0 || aside < from.h * 3)) {
      nearest = cost;
      found = to.node;
    }
  }
  return found;
}

// From the upper edge of the source to the lower edge of the target.
export function curve(a: Placed, b: Placed): [number, number, number, number, number, number, number, number] {
  const [x0, y0] = [a.x + a.w / 2, a.y];
  const [x1, y1] = [b.x + b.w / 2, b.y + b.h];
  const bend = Math.max(18, Math.abs(y0 - y1) * 0.45);
  return [x0, y0, x0, y0 - bend, x1, y1 + bend, x1, y1];
}
