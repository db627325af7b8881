// Small plots beside the figures that they show.

import type { Agreement, Report } from "./data";
import { h, s } from "./dom";
import { plain } from "./words";

const WIDTH = 320;
const HEIGHT = 132;
const EDGE = { left: 34, right: 8, top: 8, bottom: 24 };

function scale(from: number, to: number, low: number, high: number): (value: number) => number {
  return (value) => low + ((value - from) / (to - from || 1)) * (high - low);
}

function ticks(from: number, to: number): number[] {
  const rough = (to - from) / 3 || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((times) => times * power).find((found) => found >= rough) ?? rough;
  const found: number[] = [];
  for (let value = Math.ceil(from / step) * step; value <= to + 1e-9; value += step) found.push(Math.round(value * 1e9) / 1e9);
  return found;
}

function frame(title: string, x: (value: number) => number, y: (value: number) => number, xTicks: number[], yTicks: number[], xName: string): SVGSVGElement {
  const plot = s("svg", { class: "plot", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title });
  for (const value of yTicks) {
    plot.append(s("line", { x1: EDGE.left, x2: WIDTH - EDGE.right, y1: y(value), y2: y(value), class: "grid" }), s("text", { x: EDGE.left - 5, y: y(value) + 3.5, class: "tick end" }, String(value).replace("-", "\u2212")));
  }
  for (const value of xTicks) plot.append(s("text", { x: x(value), y: HEIGHT - 11, class: "tick middle" }, String(value).replace("-", "\u2212")));
  plot.append(s("text", { x: WIDTH - EDGE.right, y: HEIGHT - 1, class: "tick end" }, xName));
  return plot;
}

// Faithfulness on a line from 0 to 1, with its interval, and random circuits beside it.
export function faithfulnessBar(report: Report): HTMLElement {
  const { faithfulness, faithfulness_low: low, faithfulness_high: high, random } = report;
  const at = (value: number) => 12 + Math.max(0, Math.min(1.1, value)) * 250;
  const plot = s("svg", { class: "strip", viewBox: "0 0 316 18", role: "img", "aria-label": `Faithfulness ${plain(faithfulness)} between 0, nothing kept, and 1, the whole model; random circuits ${plain(random.median)}` });
  plot.append(s("line", { x1: at(0), x2: at(1), y1: 9, y2: 9, class: "axis" }), s("line", { x1: at(1), x2: at(1), y1: 4, y2: 14, class: "axis" }), s("line", { x1: at(0), x2: at(0), y1: 4, y2: 14, class: "axis" }));
  plot.append(s("text", { x: at(0) - 5, y: 13, class: "tick end" }, "0"), s("text", { x: at(1) + 5, y: 13, class: "tick" }, "1"));
  if (low !== null && high !== null) plot.append(s("line", { x1: at(low), x2: at(high), y1: 9, y2: 9, class: "range" }));
  if (random.median !== null) plot.append(s("path", { d: `M${at(random.median) - 4} 5l8 8m0 -8l-8 8`, class: "random" }));
  if (faithfulness !== null) plot.append(s("circle", { cx: at(faithfulness), cy: 9, r: 5, class: "point" }));
  return h("div", {}, plot);
}

export function curvePlot(report: Report, size: number): HTMLElement {
  const rows = report.curve.filter((row) => row.faithfulness !== null);
  const values = rows.flatMap((row) => [row.faithfulness, row.faithfulness_low, row.faithfulness_high, row.faithfulness_without_errors]).filter((value): value is number => value !== null);
  const [from, to] = [Math.min(0, ...values), Math.max(1, ...values)];
  const last = rows[rows.length - 1].nodes;
  const x = scale(0, Math.log2(1 + last), EDGE.left, WIDTH - EDGE.right);
  const across = (nodes: number) => x(Math.log2(1 + nodes));
  const y = scale(from, to, HEIGHT - EDGE.bottom, EDGE.top);
  const sizes = rows.map((row) => row.nodes).filter((nodes, place) => place === 0 || place === rows.length - 1 || Math.abs(across(nodes) - across(last)) > 26);
  const spread: number[] = [];
  for (const nodes of sizes) if (!spread.length || across(nodes) - across(spread[spread.length - 1]) > 26) spread.push(nodes);
  const plot = frame("Faithfulness over the number of nodes kept", across, y, spread, ticks(from, to), "nodes kept");
  const line = (key: "faithfulness" | "faithfulness_without_errors") => rows.filter((row) => row[key] !== null).map((row, place) => `${place ? "L" : "M"}${across(row.nodes).toFixed(1)} ${y(row[key] as number).toFixed(1)}`).join("");
  const sure = rows.filter((row) => row.faithfulness_low !== null && row.faithfulness_high !== null);
  if (sure.length > 1) {
    const up = sure.map((row) => `${across(row.nodes).toFixed(1)},${y(row.faithfulness_high as number).toFixed(1)}`);
    const down = sure.map((row) => `${across(row.nodes).toFixed(1)},${y(row.faithfulness_low as number).toFixed(1)}`).reverse();
    plot.append(s("polygon", { points: [...up, ...down].join(" "), class: "area" }));
  }
  plot.append(s("line", { x1: across(size), x2: across(size), y1: EDGE.top, y2: HEIGHT - EDGE.bottom, class: "here" }));
  plot.append(s("path", { d: line("faithfulness_without_errors"), class: "line dashed" }), s("path", { d: line("faithfulness"), class: "line" }));
  for (const row of rows) plot.append(s("circle", { cx: across(row.nodes), cy: y(row.faithfulness as number), r: 2.6, class: "point" }));
  return h("figure", {}, plot, h("figcaption", { class: "note" }, `Faithfulness of the strongest nodes, by how many are kept (95% band; dashed: error nodes at baseline). The upright line is this circuit, ${size} nodes.`));
}

export function calibrationPlot(found: Agreement): HTMLElement {
  const pairs = found.estimated.map((value, place) => [value, found.measured[place]]);
  const values = [...found.estimated, ...found.measured];
  if (!values.length) return h("p", { class: "note" }, "The measured sample is not in this file.");
  const [from, to] = [Math.min(0, ...values), Math.max(0, ...values)];
  const x = scale(from, to, EDGE.left, WIDTH - EDGE.right);
  const y = scale(from, to, HEIGHT - EDGE.bottom, EDGE.top);
  const plot = frame("Estimated against measured effects of nodes", x, y, ticks(from, to), ticks(from, to), "estimated");
  plot.append(s("line", { x1: x(from), y1: y(from), x2: x(to), y2: y(to), class: "axis" }));
  for (const [estimated, measured] of pairs) plot.append(s("circle", { cx: x(estimated), cy: y(measured), r: 2.2, class: "dot" }));
  const { pearson, spearman } = found;
  return h("figure", {}, plot, h("figcaption", { class: "note" }, `Effects of ${found.sample} nodes, estimated and measured by intervention, in logits. Pearson ${plain(pearson)}, Spearman ${plain(spearman)}; the line is equality.`));
}

export function histogramPlot(found: { edges: number[]; counts: number[] }): SVGSVGElement {
  const { edges, counts } = found;
  const [from, to] = [edges[0], edges[edges.length - 1]];
  const most = Math.max(...counts, 1);
  const x = scale(from, to, EDGE.left, WIDTH - EDGE.right);
  const y = scale(0, most, HEIGHT - EDGE.bottom, EDGE.top);
  const plot = frame("Histogram of activations", x, y, ticks(from, to), ticks(0, most), "activation");
  counts.forEach((value, bin) => {
    const [left, right] = [x(edges[bin]), x(edges[bin + 1])];
    plot.append(s("rect", { x: left + 0.5, width: Math.max(0.5, right - left - 1), y: y(value), height: y(0) - y(value), class: "point" }));
  });
  return plot;
}
