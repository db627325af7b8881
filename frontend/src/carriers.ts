// What carries the circuit's edges: by component, and by how many components are passed.

import type { Circuit } from "./circuit";
import { bar, h } from "./dom";
import { percent } from "./words";

const LISTED = 8;

export function carriers(circuit: Circuit): HTMLElement | null {
  const { names, degrees, part, effect } = circuit.data.parts;
  if (!names.length) return null;
  const sizes = names.map(() => 0);
  part.forEach((name, row) => {
    sizes[name] += Math.abs(effect[row] ?? 0);
  });
  const whole = sizes.reduce((sum, size) => sum + size, 0) || 1;
  const byDegree = new Map<string, number>();
  degrees.forEach((degree, name) => {
    const key = names[name] === "threshold" ? "the target\u2019s threshold" : degree === null ? "not told apart" : degree === 0 ? "none: the residual stream" : degree === 1 ? "one" : String(degree);
    byDegree.set(key, (byDegree.get(key) ?? 0) + sizes[name]);
  });
  const degreesFound = [...byDegree].sort((a, b) => order(a[0]) - order(b[0]));
  const strongest = names.map((name, place) => [name, sizes[place]] as [string, number]).sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0]));
  return h(
    "section",
    {},
    h("h2", {}, "What carries the edges"),
    shares(strongest.slice(0, LISTED), whole, true),
    h("h3", {}, "By components passed"),
    shares(degreesFound, whole, false),
    h("p", { class: "note" }, `Shares of the summed |effect| of all parts of the circuit's edges${names.length > LISTED ? `; the strongest ${LISTED} of ${names.length} components` : ""}.`),
  );
}

const order = (name: string) => (name.startsWith("none") ? 0 : name === "one" ? 1 : Number(name) || Infinity);

function shares(rows: [string, number][], whole: number, code: boolean): HTMLElement {
  const largest = Math.max(...rows.map((row) => row[1])) || 1;
  return h("ol", { class: "shares" }, ...rows.map(([name, size]) => h("li", {}, code ? h("code", {}, name) : h("span", {}, name), h("span", { class: "number" }, percent(size / whole)), bar(size / largest, 1))));
}
