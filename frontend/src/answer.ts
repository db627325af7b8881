// The answer, before any click: what was asked, what was found, how sure, and by which ways.

import { carriers } from "./carriers";
import { type Circuit, edgeBetween, title } from "./circuit";
import type { Path } from "./data";
import { bdi, h } from "./dom";
import { lookView } from "./looks";
import { calibrationPlot, curvePlot, degreePlot, faithfulnessBar } from "./plots";
import type { Store } from "./state";
import { count, percent, plain, shownToken, signed, visible } from "./words";

const FIRST_PATHS = 4;

export function answer(circuit: Circuit, store: Store): HTMLElement[] {
  return [
    asked(circuit),
    sureness(circuit),
    strongestPaths(circuit, store),
    whyHeads(circuit, store),
    carriers(circuit),
    byDegree(circuit),
    figuresOf(circuit),
    dictionaries(circuit),
    limits(circuit),
    made(circuit),
  ].filter((found): found is HTMLElement => found !== null);
}

function asked(circuit: Circuit): HTMLElement {
  const { task, metric_clean, metric_baseline, model } = circuit.data;
  const box = h("section", { class: "asked" });
  if (!task) {
    box.append(h("p", { class: "lead" }, "Which features of ", bdi(model), " carry a behaviour, on prompts without a named task."));
  } else {
    const { clean, corrupted, answer, wrong } = task.example;
    box.append(
      h("p", { class: "lead" }, bdi(visible(task.description))),
      pair("clean", clean, answer, false),
      pair("corrupted", corrupted, wrong, true),
    );
  }
  box.append(
    h("p", { class: "note" }, `Metric: logit of the answer minus that of the wrong answer; ${signed(metric_clean)} on clean prompts, ${signed(metric_baseline)} with every node at its baseline.`),
  );
  return box;
}

function pair(kind: string, prompt: string, tokens: string[], wrong: boolean): HTMLElement {
  const row = h("span", {}, h("q", { dir: "auto" }, visible(prompt)), h("span", { "aria-hidden": "true" }, " \u2192\u00a0"));
  tokens.forEach((token, index) => {
    if (index) row.append(" or ");
    row.append(h("strong", { class: wrong ? "answer wrong" : "answer" }, bdi(shownToken(token))));
  });
  return h("p", { class: "prompt" }, h("span", { class: "prompt-kind" }, kind), row);
}

function sureness(circuit: Circuit): HTMLElement {
  const { report, pruning } = circuit.data;
  const box = h("section", { class: "sure" });
  const list = h("dl", { class: "key-figures" });
  const row = (name: string, value: string, words: string, extra: Node | null = null) =>
    list.append(h("div", {}, h("dt", {}, name), h("dd", {}, h("strong", {}, value), words ? h("span", { class: "quiet" }, words) : null, extra)));
  if (!report) {
    row("Faithfulness", "not measured", "this circuit was not validated");
  } else {
    const { faithfulness_low: low, faithfulness_high: high } = report;
    row(
      "Faithfulness",
      plain(report.faithfulness),
      `${low === null ? "" : `95%: ${plain(low)} to ${plain(high)}; `}random circuits ${plain(report.random.median)}`,
      faithfulnessBar(report),
    );
    const share = report.error_share;
    const of = share === null ? "faithfulness is near 0, or its interval reaches 0" : "of that goes with them";
    row(
      "Error nodes",
      share === null ? "not defined" : percent(share),
      `${of} (${pruning.errors} of ${pruning.members} nodes); ${plain(report.faithfulness_without_errors)} without`,
    );
  }
  const { scores } = circuit.data;
  if (scores) {
    const [part, whole] = [scores.by_features, scores.tokens];
    row(
      "By features",
      scores.features_share === null ? "not defined" : percent(scores.features_share),
      `of the tokens' linear effect, through no error node${part === null || whole === null ? "" : `: ${signed(part)} of ${signed(whole)}`}; by size ${plain(scores.replacement)} (replacement score), of nodes' inputs ${plain(scores.completeness)} (completeness score)`,
    );
  }
  const calibration = report?.calibration ?? null;
  row(
    "Calibration",
    calibration ? plain(calibration.nodes.spearman) : "not measured",
    calibration ? `Spearman, estimated with measured; edges ${plain(calibration.edges.spearman)}` : "how well estimates follow measured effects is not known",
  );
  row(
    "Kept",
    `${count(pruning.members)} of ${count(pruning.candidates)}`,
    `nodes${pruning.node_share === null ? "" : `, ${percent(pruning.node_share)} of the summed |effect|`}; ${count(pruning.edges)}${pruning.graph_edges === null ? "" : ` of ${count(pruning.graph_edges)}`} edges${pruning.edge_share === null ? "" : `, ${percent(pruning.edge_share)}`}`,
  );
  box.append(list);
  if (scores && report) box.append(h("p", { class: "note" }, scores.note));
  return box;
}

function computedNote(circuit: Circuit): HTMLElement | null {
  const { edge_notes } = circuit.data;
  const computed = edge_notes.edge_nodes_share_of_effect;
  if (computed === null || computed === undefined || edge_notes.edge_nodes === null) return null;
  return h("p", { class: "note" }, `Edges were computed among ${count(edge_notes.edge_nodes)} nodes, which carry ${percent(computed)} of all nodes' |effect|.`);
}

function strongestPaths(circuit: Circuit, store: Store): HTMLElement {
  const { paths } = circuit.data;
  const box = h("section", { class: "paths" }, h("h2", {}, "Strongest paths"));
  if (!paths || !paths.paths.length) {
    box.append(h("p", { class: "note" }, "Paths were not looked for; the strongest edges into the metric are:"));
    const { edges } = circuit.data;
    box.append(
      h("ol", { class: "path-list" }, ...circuit.into[circuit.metric].slice(0, FIRST_PATHS).map((edge) =>
        h("li", {}, h("span", { class: "number" }, signed(edges.effect[edge])), h("span", { class: "steps" }, step(circuit, store, circuit.data.nodes.id[edges.source[edge]]), arrow(""), bdi("metric"))))), // prettier-ignore
    );
    return box;
  }
  const list = h("ol", { class: "path-list" });
  const show = (most: number) => {
    list.replaceChildren(...paths.paths.slice(0, most).map((path) => pathRow(circuit, store, path)));
    more.hidden = most >= paths.paths.length;
  };
  const more = h("button", { type: "button", class: "more", click: () => show(paths.paths.length) }, `Show all ${paths.paths.length}`);
  show(FIRST_PATHS);
  box.append(list, more, h("p", { class: "note" }, visible(paths.account)));
  return box;
}

function pathRow(circuit: Circuit, store: Store, path: Path): HTMLElement {
  const steps = h("span", { class: "steps" });
  path.nodes.forEach((id, place) => {
    if (place > 0) {
      const [from, to] = [circuit.byId.get(path.nodes[place - 1]), circuit.byId.get(id)];
      const edge = from === undefined || to === undefined ? null : edgeBetween(circuit, from, to);
      steps.append(arrow(path.parts[place - 1] ?? "", edge === null ? null : () => store.set({ view: "graph", edge, node: null })));
    }
    steps.append(step(circuit, store, id));
  });
  return h("li", {}, h("span", { class: "number" }, signed(path.effect), path.share === null ? null : h("small", {}, percent(path.share, 1))), steps);
}

function step(circuit: Circuit, store: Store, id: string): HTMLElement {
  const node = circuit.byId.get(id);
  if (node === undefined) return h("span", { class: "outside", title: "not in the circuit" }, bdi(visible(id)));
  return h("button", { type: "button", class: "link", title: id, click: () => store.set({ view: "graph", node, edge: null }) }, bdi(title(circuit, node)));
}

function arrow(part: string, click: (() => void) | null = null): HTMLElement {
  const words = part && part !== "residual" ? part : "";
  const content = [words ? "\u2013" : null, words ? h("code", {}, words) : null, h("span", { "aria-hidden": "true" }, "\u2192")];
  return click && words
    ? h("button", { type: "button", class: "via", "aria-label": `through ${part}: open this edge`, click }, ...content)
    : h("span", { class: "via" }, ...content);
}

function whyHeads(circuit: Circuit, store: Store): HTMLElement | null {
  const { looks, parts } = circuit.data;
  if (!looks.length && !parts.names.some((name) => name.includes(".H"))) return null;
  const box = h("section", {}, h("h2", {}, "Where heads look, and why"));
  if (!looks.length) {
    box.append(h("p", { class: "note" }, "Pairs of queries and keys are not in this file. Each edge says how much its heads carry by value, key and query."));
  }
  box.append(...looks.map((look) => lookView(circuit, store, look)));
  return box;
}

function byDegree(circuit: Circuit): HTMLElement | null {
  const { degrees } = circuit.data;
  return degrees ? h("section", {}, h("h2", {}, "The model by degree"), degreePlot(degrees)) : null;
}

function figuresOf(circuit: Circuit): HTMLElement | null {
  const { report } = circuit.data;
  if (!report) return null;
  const box = h("section", {}, h("h2", {}, "How sure"));
  if (report.curve.length > 1) box.append(curvePlot(report, circuit.data.pruning.members));
  if (report.calibration) {
    box.append(calibrationPlot(report.calibration.nodes));
    box.append(...(report.calibration.warnings ?? []).map(({ text }) => h("p", { class: "warning" }, text)));
  }
  const rows: [string, string][] = [
    ["Completeness: everything but this circuit", plain(report.completeness)],
    ["All features, all error nodes at baseline", plain(report.all_features_without_errors)],
    [`${report.random.count} random circuits, 95% range`, `${plain(report.random.low)} to ${plain(report.random.high)}`],
    ["Right answer first, model", percent(report.accuracy.clean ?? null)],
    ["Right answer first, circuit", percent(report.accuracy.circuit ?? null)],
  ];
  rows.push(["Held-out prompts", count(report.prompts)]);
  box.append(h("dl", { class: "plain-figures" }, ...rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))));
  const note = computedNote(circuit);
  if (note) box.append(note);
  return box;
}

// How well the dictionaries describe the model, and whose features have signs.
function dictionaries(circuit: Circuit): HTMLElement | null {
  const { fit, rows } = circuit.data;
  const withSigns = rows.filter((row) => row.has_signs).map((row) => row.name);
  if (!fit.length && !withSigns.length) return null;
  const box = h("section", { class: "fit" }, h("h2", {}, "The dictionaries"));
  if (fit.length) {
    const cell = (value: number, stated: number | null, digits: number) =>
      h("td", { class: "number" }, plain(value, digits), stated === null ? null : h("small", { class: "quiet" }, ` (source: ${plain(stated, digits)})`));
    box.append(
      h(
        "table",
        { class: "figures-table" },
        h("caption", { class: "note" }, `How well they describe the model, on ${count(fit[0].tokens)} tokens of the training prompts.`),
        h("thead", {}, h("tr", {}, h("td", {}), ...["variance explained", "L0"].map((name) => h("th", { scope: "col" }, name)))),
        h(
          "tbody",
          {},
          ...fit.map((one) =>
            h("tr", {}, h("th", { scope: "row" }, bdi(one.name)), cell(one.variance_explained, one.stated_variance_explained, 3), cell(one.l0, one.stated_l0, 1)),
          ),
        ),
      ),
    );
  }
  if (withSigns.length) {
    const words = "have signs: they are active where they are not 0, and a negative one writes the opposite of its direction.";
    box.append(h("p", { class: "note" }, `Features of ${withSigns.join(", ")} ${words}`));
  }
  return box;
}

function limits(circuit: Circuit): HTMLElement {
  return h("details", { class: "fold" }, h("summary", {}, "What this does not show"), h("ul", {}, ...circuit.data.limits.map((point) => h("li", {}, visible(point)))));
}

function made(circuit: Circuit): HTMLElement {
  const { command, settings, selection, versions, circuit_digest } = circuit.data;
  const row = (name: string, value: unknown) => h("div", {}, h("dt", {}, name.replaceAll("_", " ")), h("dd", {}, bdi(typeof value === "string" ? visible(value) : JSON.stringify(value))));
  return h(
    "details",
    { class: "fold" },
    h("summary", {}, "How it was made"),
    command ? h("pre", { tabindex: 0 }, visible(command)) : null,
    h(
      "dl",
      { class: "plain-figures" },
      ...Object.entries(selection).map(([name, value]) => row(`chosen: ${name}`, value)),
      ...Object.entries(settings).map(([name, value]) => row(name, value)),
      ...Object.entries(versions).map(([name, value]) => row(name, value)),
      row("circuit", circuit_digest.slice(0, 16)),
    ),
  );
}
