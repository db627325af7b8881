// Small plots beside the figures that they show.

import type { Agreement, Degrees, Report } from "./data";
import { h, s } from "./dom";
import { count, interval, percent, plain, signed } from "./words";

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
  return h(
    "figure",
    {},
    plot,
    h("figcaption", { class: "note" }, `Faithfulness of the strongest nodes, by how many are kept (95% band; dashed: error nodes at baseline). The upright line is this circuit, ${size} nodes.`),
    twin(
      "Faithfulness by nodes kept",
      ["nodes", "faithfulness", "95%", "no errors"],
      report.curve.map((row) => [count(row.nodes), plain(row.faithfulness), interval(row.faithfulness_low, row.faithfulness_high, plain), plain(row.faithfulness_without_errors)]),
    ),
  );
}

// The same figures for readers who do not see the plot.
function twin(caption: string, heads: string[], rows: string[][]): HTMLElement {
  const cell = (text: string) => h("td", { class: "number" }, text);
  return h(
    "details",
    { class: "twin" },
    h("summary", {}, "As a table"),
    h(
      "table",
      { class: "parts" },
      h("caption", { class: "hidden" }, caption),
      h("thead", {}, h("tr", {}, ...heads.map((name, place) => h("th", { scope: "col", class: place ? "number" : null }, name)))),
      h("tbody", {}, ...rows.map(([first, ...rest]) => h("tr", {}, h("th", { scope: "row" }, first), ...rest.map(cell)))),
    ),
  );
}

function hatching(): SVGElement {
  const lines = s("pattern", { id: "hatch", width: 4, height: 4, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, s("line", { x1: 1, x2: 1, y1: 0, y2: 4, class: "hatch" }));
  return s("defs", {}, lines);
}

// What paths that pass so many components give to the metric, bar by bar; signs by shape too.
export function degreePlot(found: Degrees): HTMLElement {
  const rows = found.degrees;
  const ends = rows.flatMap((row) => [row.effect, row.effect_low, row.effect_high]).filter((value): value is number => value !== null);
  const [from, to] = [Math.min(0, found.constant, ...ends), Math.max(0, found.constant, ...ends)];
  const x = scale(-0.5, rows.length + 0.7, EDGE.left, WIDTH - EDGE.right);
  const y = scale(from, to, HEIGHT - EDGE.bottom, EDGE.top);
  const every = Math.ceil(rows.length / 12);
  const named = rows.map((row) => row.degree).filter((degree) => degree % every === 0);
  const plot = frame("The metric by degree, in logits", x, y, named, ticks(from, to), "");
  plot.append(hatching());
  const half = Math.min(11, (0.36 * (WIDTH - EDGE.left - EDGE.right)) / rows.length);
  const bar = (at: number, value: number, low: number | null, high: number | null) => {
    const [top, bottom] = [Math.min(y(0), y(value)), Math.max(y(0), y(value))];
    if (signed(value) !== "0") plot.append(s("rect", { x: x(at) - half, width: 2 * half, y: top, height: Math.max(0.6, bottom - top), class: value < 0 ? "column against" : "column" }));
    if (low !== null && high !== null) plot.append(s("line", { x1: x(at), x2: x(at), y1: y(low), y2: y(high), class: "whisker" }));
  };
  for (const row of rows) bar(row.degree, row.effect, row.effect_low, row.effect_high);
  bar(rows.length + 0.2, found.constant, null, null);
  plot.append(s("text", { x: WIDTH - EDGE.right, y: HEIGHT - 11, class: "tick end" }, "const."));
  plot.append(s("line", { x1: EDGE.left, x2: WIDTH - EDGE.right, y1: y(0), y2: y(0), class: "axis" }));
  return h(
    "figure",
    {},
    plot,
    h(
      "figcaption",
      { class: "note" },
      `Logits of the metric by how many attention layers and MLPs a path passes; mean over ${count(found.prompts)} clean training prompts, with 95% intervals; hatched: against the answer. With the constant (biases of the readout) they add up to ${signed(found.value)}. ${found.note}`,
    ),
    twin(
      "The metric by degree",
      ["degree", "paths", "logits", "95%", "|share|"],
      [
        ...rows.map((row) => [String(row.degree), count(row.paths), signed(row.effect), interval(row.effect_low, row.effect_high), percent(row.share)]),
        ["constant", "", signed(found.constant), "", ""],
        ["all", count(rows.reduce((sum, row) => sum + row.paths, 0)), signed(found.value), "", ""],
      ],
    ),
  );
}

export function calibrationPlot(found: Agreement): HTMLElement {
  const { estimated = [], measured = [] } = found;
  const pairs = estimated.map((value, place) => [value, measured[place]]);
  const values = [...estimated, ...measured];
  if (!values.length) return h("p", { class: "note" }, "The measured sample is not in this file.");
  const [from, to] = [Math.min(0, ...values), Math.max(0, ...values)];
  const x = scale(from, to, EDGE.left, WIDTH - EDGE.right);
  const y = scale(from, to, HEIGHT - EDGE.bottom, EDGE.top);
  const plot = frame("Estimated against measured effects of nodes", x, y, ticks(from, to), ticks(from, to), "estimated");
  plot.append(s("line", { x1: x(from), y1: y(from), x2: x(to), y2: y(to), class: "axis" }));
  for (const [across, up] of pairs) plot.append(s("circle", { cx: x(across), cy: y(up), r: 2.2, class: "dot" }));
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
