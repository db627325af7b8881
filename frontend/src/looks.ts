// Why a head looks where it looks: its attention at one query, and the pairs of terms behind it.

import type { Circuit } from "./circuit";
import type { Look } from "./data";
import { bar, bdi, h } from "./dom";
import type { Store } from "./state";
import { percent, shownToken, signed, visible } from "./words";

export function lookView(circuit: Circuit, store: Store, look: Look): HTMLElement {
  const keys = h("p", { class: "context", dir: "auto" });
  look.keys.forEach((key, place) => {
    const piece = h("span", { class: place === look.key ? "peak" : null, title: percent(key.pattern) }, visible(key.token));
    piece.style.setProperty("--heat", String(Math.round(key.pattern * 100) / 100));
    keys.append(piece);
  });
  const target = look.keys[look.key];
  const largest = Math.max(...look.pairs.map((pair) => Math.abs(pair.contrast)), 1e-9);
  const rows = look.pairs.map((pair) =>
    h(
      "li",
      {},
      h("span", {}, term(circuit, store, look, pair.query_term), h("span", { class: "quiet" }, " asks, "), term(circuit, store, look, pair.key_term), h("span", { class: "quiet" }, " answers")),
      h("span", { class: "number" }, signed(pair.contrast)),
      bar(pair.contrast / largest, pair.contrast),
    ),
  );
  const name = `L${look.layer}.H${look.head}`;
  return h(
    "details",
    { class: "look" },
    h(
      "summary",
      {},
      h("code", {}, name),
      ` looks from `,
      bdi(shownToken(look.query_token)),
      " to ",
      bdi(shownToken(target?.token ?? "")),
      h("span", { class: "quiet" }, ` ${percent(target?.pattern ?? null)} of its attention`),
    ),
    keys,
    h("ol", { class: "pairs" }, ...rows),
    h(
      "p",
      { class: "note" },
      `Pairs of terms of the stream, at the example prompt: what each adds to the score of this key, less its mean over all keys. The strongest ${look.pairs.length} of ${look.n_pairs}. The head carries ${percent(look.carries)} of what all components carry.`,
    ),
  );
}

// A feature of the circuit can be opened; other terms are words.
function term(circuit: Circuit, store: Store, look: Look, name: string): HTMLElement {
  const feature = /^feature (\d+)$/.exec(name);
  if (!feature) return h("span", { class: "term" }, name);
  const { labels, nodes } = circuit.data;
  const label = labels.findIndex((found) => found.site === look.site && found.feature === Number(feature[1]));
  const words = `f${feature[1]}`;
  const node = label < 0 ? -1 : nodes.label.indexOf(label);
  if (node < 0) return h("span", { class: "term" }, words);
  return h("button", { type: "button", class: "link", click: () => store.set({ node, edge: null }) }, words, " ", bdi(visible(labels[label].text)));
}
