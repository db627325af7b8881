// Search by label, token, layer, or number of a feature: every word must be found.

import { type Circuit, labelOf, place, title } from "./circuit";
import { bdi, h } from "./dom";
import { signed } from "./words";

const LISTED = 30;
const texts = new WeakMap<Circuit, string[]>();

function textsOf(circuit: Circuit): string[] {
  let found = texts.get(circuit);
  if (!found) {
    const { nodes, rows, units } = circuit.data;
    found = nodes.id.map((id, node) => {
      const label = labelOf(circuit, node);
      const tokens = label ? [...label.top_tokens, ...label.promoted].map((score) => score.token) : [];
      const unit = units[nodes.unit[node]];
      if (nodes.kind[node] === "metric") return "metric";
      return [title(circuit, node), id, rows[nodes.row[node]].name, `layer ${rows[nodes.row[node]].layer}`, nodes.kind[node], unit.name, unit.token, ...tokens].join(" ").toLowerCase();
    });
    texts.set(circuit, found);
  }
  return found;
}

export function matches(circuit: Circuit, query: string): Set<number> {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const found = new Set<number>();
  if (!words.length) return found;
  textsOf(circuit).forEach((text, node) => {
    if (words.every((word) => text.includes(word))) found.add(node);
  });
  return found;
}

// A field with a list of what was found; arrows choose, Enter opens, Escape leaves.
export function searchBox(circuit: Circuit, query: string, changed: (query: string) => void, open: (node: number) => void): HTMLElement {
  const list = h("ul", { id: "found", role: "listbox", "aria-label": "Nodes found", class: "found" });
  const status = h("span", { class: "hidden", role: "status" });
  const field = h("input", {
    type: "search", id: "search", placeholder: "Search label, token, layer", value: query, "aria-label": "Search nodes by label, token or layer",
    role: "combobox", "aria-expanded": "false", "aria-controls": "found", "aria-autocomplete": "list", autocomplete: "off", spellcheck: "false", dir: "auto",
  }); // prettier-ignore
  let nodes: number[] = [];
  let at = -1;
  list.hidden = true;
  const mark = () => {
    [...list.children].forEach((item, place) => item.setAttribute("aria-selected", String(place === at)));
    if (at >= 0) {
      field.setAttribute("aria-activedescendant", `found-${at}`);
      list.children[at].scrollIntoView({ block: "nearest" });
    } else field.removeAttribute("aria-activedescendant");
  };
  const close = () => {
    list.hidden = true;
    field.setAttribute("aria-expanded", "false");
  };
  const choose = (place: number) => {
    close();
    open(nodes[place]);
  };
  const look = () => {
    const all = [...matches(circuit, field.value)];
    nodes = all.slice(0, LISTED);
    at = nodes.length ? 0 : -1;
    list.replaceChildren(
      ...nodes.map((node, place_) =>
        h("li", { role: "option", id: `found-${place_}`, "aria-selected": "false", pointerdown: (event) => (event.preventDefault(), choose(place_)) }, bdi(title(circuit, node)), h("small", { class: "quiet" }, bdi(place(circuit, node))), h("span", { class: "number" }, signed(circuit.data.nodes.effect[node]))),
      ),
    );
    status.textContent = field.value ? `${all.length} nodes found` : "";
    const empty = field.value !== "" && !nodes.length;
    if (empty) list.append(h("li", { role: "option", "aria-selected": "false", "aria-disabled": "true", class: "quiet" }, "Nothing in this circuit matches."));
    list.hidden = !field.value;
    field.setAttribute("aria-expanded", String(!list.hidden));
    mark();
    changed(field.value);
  };
  field.addEventListener("input", look);
  field.addEventListener("focus", () => field.value && look());
  field.addEventListener("blur", close);
  field.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      at = Math.max(0, Math.min(nodes.length - 1, at + (event.key === "ArrowDown" ? 1 : -1)));
      mark();
    } else if (event.key === "Enter" && at >= 0 && nodes.length) {
      event.preventDefault();
      choose(at);
    } else if (event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation();
      if (!list.hidden) close();
      else field.blur();
    }
  });
  return h("div", { class: "search", role: "search" }, field, list, status);
}
