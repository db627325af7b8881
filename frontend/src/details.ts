// What is known about one node or one edge: ranked edges, parts, and a feature's dashboard.

import { type Circuit, fullName, headsOf, labelOf, number, place, title } from "./circuit";
import type { Label, Look, TokenScore } from "./data";
import { bar, bdi, h } from "./dom";
import { lookView } from "./looks";
import { histogramPlot } from "./plots";
import type { Store } from "./state";
import { count, interval, percent, plain, shownToken, signed, visible } from "./words";

const LISTED = 12;

export interface Actions {
  pin(node: number): void;
  group(node: number): void;
  close(): void;
}

export function nodeDetails(circuit: Circuit, store: Store, node: number, actions: Actions): HTMLElement[] {
  const { nodes } = circuit.data;
  const label = labelOf(circuit, node);
  const kind = nodes.kind[node];
  const pinned = store.state.pins.includes(node);
  return [
    heading(title(circuit, node), kind === "feature" ? "feature" : kind === "error" ? "error node" : kind, actions),
    h("p", { class: "quiet where" }, bdi(place(circuit, node)), label ? h("span", { class: "tag" }, madeBy(label)) : null),
    kind === "metric"
      ? null
      : h(
          "div",
          { class: "row-of-buttons" },
          h("button", { type: "button", "aria-pressed": String(pinned), click: () => actions.pin(node) }, pinned ? "Unpin" : "Pin", h("kbd", {}, "p")),
          h("button", { type: "button", click: () => actions.group(node) }, "Group\u2026", h("kbd", {}, "g")),
        ),
    figures([
      ["Effect", `${signed(nodes.effect[node])} logits`, interval(nodes.low[node], nodes.high[node]) && `95%: ${interval(nodes.low[node], nodes.high[node])}`],
      [kind === "metric" ? "Clean" : kind === "feature" ? (hasSigns(circuit, node) ? "Activation, clean, with its sign" : "Activation, clean") : "Norm, clean", plain(nodes.activation[node], 3), `baseline ${plain(nodes.baseline[node], 3)}`],
      nodes.left_out[node] === null
        ? null
        : ["Not in any edge", `${signed(nodes.left_out[node])} logits`, "of the effect goes through nodes to which no edges were computed"],
    ]),
    edgeList(circuit, store, "Into this node", circuit.into[node], circuit.data.edges.source),
    edgeList(circuit, store, "Out of this node", circuit.outOf[node], circuit.data.edges.target),
    ...(kind === "feature" ? dashboard(circuit, node, label) : []),
    kind === "error"
      ? h("p", { class: "note" }, "An error node is what the dictionary leaves out at this place. What it carries has no interpretation.")
      : null,
  ].filter((found): found is HTMLElement => found !== null);
}

function hasSigns(circuit: Circuit, node: number): boolean {
  return circuit.data.rows[circuit.data.nodes.row[node]].has_signs;
}

export function edgeDetails(circuit: Circuit, store: Store, edge: number, actions: Actions): HTMLElement[] {
  const { edges, parts } = circuit.data;
  const [source, target] = [edges.source[edge], edges.target[edge]];
  const rows = circuit.partsOf[edge];
  const whole = edges.effect[edge] ?? 0;
  const looks = looksOf(circuit, rows.slice(0, 4).map((row) => parts.names[parts.part[row]]));
  const end = (word: string, node: number) =>
    h("p", { class: "end" }, h("span", { class: "quiet" }, word), h("button", { type: "button", class: "link", click: () => store.set({ node, edge: null }) }, bdi(fullName(circuit, node))));
  return [
    heading("Edge", "", actions),
    end("from", source),
    end("to", target),
    figures([
      ["Effect", `${signed(edges.effect[edge])} logits`, interval(edges.low[edge], edges.high[edge]) && `95%: ${interval(edges.low[edge], edges.high[edge])}`],
      edges.direct[edge] === null ? null : ["Linear weight", plain(edges.direct[edge], 3), "change of the target's activation per unit of the source's"],
    ]),
    h("h3", {}, "What carries it"),
    rows.length ? partTable(circuit, rows, whole) : h("p", { class: "note" }, "Components were not told apart for this edge."),
    ...looks.map((look) => lookView(circuit, store, look)),
  ];
}

function heading(text: string, kind: string, actions: Actions): HTMLElement {
  return h(
    "header",
    { class: "panel-head" },
    h("h2", { tabindex: -1, class: "panel-title" }, bdi(text), kind ? h("span", { class: "kind" }, kind) : null),
    h("button", { type: "button", class: "icon", "aria-label": "Close details", click: () => actions.close() }, "\u00d7"),
  );
}

type Figure = [string, string, string] | null;

export function figures(rows: Figure[]): HTMLElement {
  const list = h("dl", { class: "figures" });
  for (const row of rows) {
    if (!row) continue;
    list.append(h("div", {}, h("dt", {}, row[0]), h("dd", {}, h("strong", {}, row[1]), row[2] ? h("span", { class: "quiet" }, row[2]) : null)));
  }
  return list;
}

function edgeList(circuit: Circuit, store: Store, words: string, list: number[], ends: number[]): HTMLElement {
  const { edges, parts } = circuit.data;
  const box = h("section", { class: "edge-list" }, h("h3", {}, words, h("span", { class: "quiet" }, ` ${count(list.length)}`)));
  if (!list.length) {
    box.append(h("p", { class: "note" }, "None in this circuit."));
    return box;
  }
  const largest = Math.abs(edges.effect[list[0]] ?? 0) || 1;
  const rows = h("ol", {});
  const show = (most: number) => {
    rows.replaceChildren(
      ...list.slice(0, most).map((edge) => {
        const value = edges.effect[edge] ?? 0;
        const main = circuit.partsOf[edge]
          .slice(0, 2)
          .map((part) => `${parts.names[parts.part[part]]} ${percent((parts.effect[part] ?? 0) / (value || 1))}`)
          .join(", ");
        return h(
          "li",
          {},
          h(
            "button",
            { type: "button", class: "edge-row", click: () => store.set({ edge, node: null }) },
            h("span", { class: "edge-name" }, bdi(title(circuit, ends[edge])), h("small", { class: "quiet" }, bdi(place(circuit, ends[edge])))),
            h("span", { class: "number" }, signed(value)),
            bar(value / largest, value),
            main ? h("small", { class: "quiet through" }, `through ${main}`) : null,
          ),
        );
      }),
    );
    more.hidden = most >= list.length;
    more.textContent = `Show ${Math.min(50, list.length - most)} more`;
    more.dataset.shown = String(most);
  };
  const more = h("button", { type: "button", class: "more", click: () => show(Number(more.dataset.shown) + 50) });
  show(LISTED);
  box.append(rows, more);
  return box;
}

function partTable(circuit: Circuit, rows: number[], whole: number): HTMLElement {
  const { parts } = circuit.data;
  const share = (value: number | null) => (value === null ? "" : percent(value / (whole || 1)));
  const heads = rows.some((row) => parts.value[row] !== null);
  const table = h("table", { class: "parts" });
  table.append(
    h("thead", {}, h("tr", {}, ...["component", "share", "", ...(heads ? ["value", "key", "query"] : [])].map((name) => (name ? h("th", { scope: "col" }, name) : h("td", {}))))),
    h(
      "tbody",
      {},
      ...rows.map((row) => {
        const effect = parts.effect[row] ?? 0;
        return h(
          "tr",
          {},
          h("th", { scope: "row" }, h("code", {}, parts.names[parts.part[row]])),
          h("td", { class: "number" }, share(effect)),
          h("td", {}, bar(effect / (Math.abs(whole) || 1), effect)),
          ...(heads ? [parts.value[row], parts.key[row], parts.query[row]].map((value) => h("td", { class: "number" }, share(value))) : []),
        );
      }),
    ),
  );
  const note = [
    "Shares of the edge's effect; all components together make 100%.",
    heads ? "A head passes on by its value (what it copies), or by its key or query (the source moves where it looks)." : "",
    rows.some((row) => parts.names[parts.part[row]] === "threshold") ? "threshold: the target goes off, or wakes up, when the source goes." : "",
  ];
  return h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Components of this edge" }, table, h("p", { class: "note" }, note.filter(Boolean).join(" ")));
}

export function looksOf(circuit: Circuit, names: string[]): Look[] {
  const wanted = names.flatMap(headsOf);
  return circuit.data.looks.filter((look) => wanted.some((head) => head.layer === look.layer && head.head === look.head));
}

function dashboard(circuit: Circuit, node: number, label: Label | null): HTMLElement[] {
  const head = h("h3", {}, `Feature ${circuit.data.nodes.feature[node]}`);
  if (!label) return [head, h("p", { class: "note" }, `Nothing is known of ${number(circuit, node)} beside its effects: it was not labelled.`)];
  const logits = label.promoted.length
    ? h("div", { class: "two" }, tokenList("Promotes", label.promoted, 1), tokenList("Suppresses", label.suppressed, -1))
    : h("p", { class: "note" }, "This dictionary does not write to the residual stream, so it has no direct effect on logits.");
  return [
    head,
    h("p", { class: "note" }, `Active on ${percent(label.density, 2)} of ${count(label.n_tokens)} tokens of text; ${count(label.examples)} examples found.`),
    label.top_tokens.length ? firesOn(label) : h("p", { class: "note" }, "No token on which it fires was found."),
    logits,
    h("h4", {}, "Strongest contexts"),
    ...(label.contexts.length ? label.contexts.map(context) : [h("p", { class: "note" }, "No contexts are in this run.")]),
    histogram(label),
    strengths(label),
    label.neighbours.length ? neighbours(label) : null,
    label.neuronpedia ? h("p", {}, h("a", { href: label.neuronpedia, rel: "noreferrer noopener", target: "_blank" }, "Its page on Neuronpedia")) : null,
  ].filter((part) => part !== null);
}

function madeBy(label: Label): string {
  return label.auto ? "automatic label" : `label by ${label.author ?? "a person"}${label.date ? `, ${label.date}` : ""}; automatic: ${label.auto_text ?? ""}`;
}

// Features of the same dictionary that write in nearly the same direction.
function neighbours(label: Label): HTMLElement {
  const list = label.neighbours.map((found) => `${found.feature} (${plain(found.cosine, 2)})`).join(", ");
  return h("p", { class: "note" }, `Nearest decoder directions (cosine): ${list}.`);
}

// A histogram of activations, where the run has one.
function histogram(label: Label): HTMLElement {
  if (!label.histogram?.counts.length) return h("p", { class: "note" }, "A histogram of its activations is not in this run.");
  return h("div", {}, h("h4", {}, "Activations"), histogramPlot(label.histogram));
}

// Contexts of every strength: whether the label holds for weak activations too.
function strengths(label: Label): HTMLElement | null {
  const groups = label.strengths ?? [];
  if (!groups.length) return null;
  const largest = Math.max(...groups.map((group) => group.high), 1e-9);
  const isSigned = groups.some((group) => group.contexts.some((found) => found.active.some(([, value]) => value < 0)));
  const names = ["Strongest quarter", "Second quarter", "Third quarter", "Weakest quarter"];
  return h(
    "section",
    { class: "strengths", "aria-label": "Contexts by strength" },
    h("h4", {}, "Contexts by strength"),
    h("p", { class: "note" }, `Quarters of the tokens of text on which it is active, by activation${isSigned ? " without its sign, negative ones in another colour" : ""}; the darker, the nearer to the largest.`),
    ...groups.map((group) =>
      h(
        "div",
        { class: "strength" },
        h(
          "h5",
          {},
          names[Math.round(4 * (1 - group.share_high))],
          h("span", { class: "quiet" }, `activation ${plain(group.low, 2)} to ${plain(group.high, 2)}`),
        ),
        h("ul", {}, ...group.contexts.map((found) => h("li", {}, shortContext(found, largest)))),
      ),
    ),
  );
}

function shortContext(found: { tokens: string[]; peak: number; active: [number, number][] }, largest: number): HTMLElement {
  const active = new Map(found.active);
  return heated(found.tokens, (place) => active.get(place) ?? 0, found.peak, largest);
}

function firesOn(label: Label): HTMLElement {
  const list = h("p", { class: "fires" }, h("span", { class: "quiet" }, "Fires on "));
  for (const found of label.top_tokens) list.append(h("span", { class: "token" }, bdi(shownToken(found.token)), h("small", {}, percent(found.score))), " ");
  return list;
}

function tokenList(words: string, tokens: TokenScore[], sign: number): HTMLElement {
  const largest = Math.abs(tokens[0]?.score ?? 0) || 1;
  return h(
    "div",
    {},
    h("h4", {}, words),
    h(
      "ol",
      { class: "tokens" },
      ...tokens.slice(0, 8).map((found) => h("li", {}, bdi(shownToken(found.token)), bar(found.score / largest, sign), h("span", { class: "number" }, plain(found.score)))),
    ),
  );
}

function context(found: Label["contexts"][number]): HTMLElement {
  const most = Math.max(...found.activations.map(Math.abs), 1e-9);
  const text = heated(found.tokens, (place) => found.activations[place] ?? 0, found.peak, most);
  const where = found.origin === "task" ? "in a prompt of the task" : "in text";
  return h("div", { class: "context-row" }, text, h("small", { class: "quiet" }, `${where}, at most ${plain(most, 2)}`));
}

// Tokens, the darker the more active; in another colour where the activation is negative.
function heated(tokens: string[], activation: (place: number) => number, peak: number, most: number): HTMLElement {
  const text = h("p", { class: "context", dir: "auto" });
  tokens.forEach((token, place) => {
    const value = activation(place);
    const share = Math.min(1, Math.abs(value) / most);
    const kinds = [place === peak ? "peak" : "", value < 0 ? "negative" : ""].filter(Boolean).join(" ");
    const piece = h("span", { class: kinds || null, title: share > 0 ? plain(value, 3) : null }, visible(place ? token : token.replace(/^ (?=.)/, "")));
    if (share > 0) piece.style.setProperty("--heat", String(Math.round(share * 100) / 100));
    text.append(piece);
  });
  return text;
}
