// What the reader takes along: the picture as SVG or PNG, the data as JSON, tables as CSV.

import { type Circuit, title } from "./circuit";
import { s } from "./dom";
import type { Layout } from "./layout";
import { background, edgePath, edgeWidth, fitted, label, nodeMark, palette } from "./marks";
import type { State } from "./state";
import { plain, signed, visible } from "./words";

const HEAD = 58;
const FOOT = 24;

export interface Picture {
  layout: Layout;
  edges: number[];
  largest: number;
}

// The picture with its title and figures, complete in itself.
export function drawing(circuit: Circuit, picture: Picture, state: State): SVGSVGElement {
  const { layout, edges, largest } = picture;
  const colours = palette();
  const width = Math.max(640, layout.width);
  const height = layout.height + HEAD + FOOT;
  const root = s("svg", { xmlns: "http://www.w3.org/2000/svg", viewBox: `0 0 ${width} ${height}`, width, height });
  const { data } = circuit;
  root.append(s("title", {}, visible(data.title)), s("rect", { width, height, fill: colours.ground }));
  root.append(label(12, 24, fitted(visible(data.title), width - 24, 17, 600), { "font-size": 17, "font-weight": 600, fill: colours.ink }));
  root.append(label(12, 44, fitted(summary(circuit, picture), width - 24, 12), { "font-size": 12, fill: colours.quiet }));
  const world = s("g", { transform: `translate(0 ${HEAD})` }, background(layout, colours));
  for (const edge of [...edges].reverse()) {
    const [a, b] = [layout.at.get(data.edges.source[edge]), layout.at.get(data.edges.target[edge])];
    if (!a || !b) continue;
    const value = data.edges.effect[edge] ?? 0;
    const share = Math.abs(value) / largest;
    world.append(
      s("path", {
        d: edgePath(a, b), fill: "none", stroke: value < 0 ? colours.neg : colours.pos, "stroke-width": edgeWidth(share).toFixed(2),
        "stroke-opacity": (0.26 + 0.6 * Math.sqrt(share)).toFixed(2), "stroke-dasharray": value < 0 ? "6 4" : null,
      }),
    ); // prettier-ignore
  }
  for (const box of layout.placed) {
    const group = state.groups.findIndex((found) => found.nodes.includes(box.node));
    const mark = nodeMark(circuit, box, colours, layout.boxes, { pinned: state.pins.includes(box.node), group: group < 0 ? null : group + 1 });
    mark.append(s("title", {}, `${title(circuit, box.node)}: ${signed(data.nodes.effect[box.node])}`));
    world.append(mark);
  }
  root.append(world);
  const legend = "Solid and \u25b2: supports the answer. Dashed and \u25bd: works against it. Width: |effect|. Six-sided: error node. Round: token.";
  root.append(label(12, height - 8, fitted(legend, width - 24, 11), { "font-size": 11, fill: colours.quiet }));
  return root;
}

function summary(circuit: Circuit, { layout, edges }: Picture): string {
  const { report, pruning, edges: all } = circuit.data;
  const sure = report ? `Faithfulness ${plain(report.faithfulness)} (95%: ${plain(report.faithfulness_low)} to ${plain(report.faithfulness_high)})` : "Not validated";
  const members = layout.placed.filter((box) => ["feature", "error"].includes(circuit.data.nodes.kind[box.node])).length;
  return `${sure}. Shown: ${members} of ${pruning.members} nodes, ${edges.length} of ${all.source.length} edges.`;
}

export function svgText(element: SVGSVGElement): string {
  return new XMLSerializer().serializeToString(element);
}

export function save(name: string, type: string, content: BlobPart): void {
  const url = URL.createObjectURL(new Blob([content], { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

export async function savePng(name: string, element: SVGSVGElement): Promise<void> {
  const [width, height] = [element.width.baseVal.value, element.height.baseVal.value];
  const url = URL.createObjectURL(new Blob([svgText(element)], { type: "image/svg+xml" }));
  const image = new Image();
  image.src = url;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(width * 2);
  canvas.height = Math.round(height * 2);
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  URL.revokeObjectURL(url);
  const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done, "image/png"));
  if (blob) save(name, "image/png", blob);
}

// One row a node or edge, in the columns of the run's tables.
export function csv(circuit: Circuit, which: "nodes" | "edges"): string {
  const { nodes, edges, units, rows } = circuit.data;
  const table: (string | number | null)[][] =
    which === "nodes"
      ? [
          ["node", "label", "kind", "site", "span", "token", "feature", "activation", "baseline", "effect", "effect_low", "effect_high", "left_out"],
          ...nodes.id.map((id, node) => [
            id, title(circuit, node), nodes.kind[node], rows[nodes.row[node]].site, units[nodes.unit[node]].name, units[nodes.unit[node]].token, nodes.feature[node],
            nodes.activation[node], nodes.baseline[node], nodes.effect[node], nodes.low[node], nodes.high[node], nodes.left_out[node],
          ]),
        ] // prettier-ignore
      : [
          ["source", "target", "effect", "direct", "effect_low", "effect_high"],
          ...edges.source.map((source, edge) => [nodes.id[source], nodes.id[edges.target[edge]], edges.effect[edge], edges.direct[edge], edges.low[edge], edges.high[edge]]),
        ];
  return `${table.map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;
}

// Quoted where need be; text that a spreadsheet would take for a formula gets an apostrophe.
function cell(value: string | number | null): string {
  if (value === null) return "";
  if (typeof value === "number") return String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
