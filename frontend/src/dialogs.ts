// The list of keys, and the question which group a node goes into.

import { h } from "./dom";
import type { Group } from "./state";

const KEYS: [string, string][] = [
  ["\u2190 \u2192 \u2191 \u2193", "move between nodes: along the prompt, and from layer to layer"],
  ["i, o", "follow the strongest edge into, or out of, the node"],
  ["Home", "to the metric"],
  ["Enter", "open the node\u2019s details"],
  ["Esc", "close details, search or a dialog"],
  ["/", "search"],
  ["p", "pin or unpin the node"],
  ["g", "put the node into a group"],
  ["x", "in a comparison: to the same node in the other picture"],
  ["1 2 3 4", "graph, groups, table, compare"],
  ["+ \u2212 0", "zoom in, zoom out, show all"],
  ["?", "this list"],
];

export function helpDialog(): HTMLDialogElement {
  const dialog = h(
    "dialog",
    { "aria-labelledby": "keys-title" },
    h("h2", { id: "keys-title" }, "Keys"),
    h("dl", { class: "keys" }, ...KEYS.map(([key, words]) => h("div", {}, h("dt", {}, ...key.split(" ").flatMap((part) => [h("kbd", {}, part.replace(",", "")), " "])), h("dd", {}, words)))),
    h("p", { class: "note" }, "The tables hold everything that the graph shows. A view is kept in the address: copy it to send it on."),
    h("form", { method: "dialog" }, h("button", { class: "primary" }, "Close")),
  );
  dialog.addEventListener("close", () => dialog.remove());
  return dialog;
}

export function groupDialog(name: string, groups: Group[], done: (group: string) => void): HTMLDialogElement {
  const field = h("input", { id: "group-name", list: "group-names", maxlength: 80, autocomplete: "off", dir: "auto" });
  const form = h(
    "form",
    { method: "dialog" },
    h("h2", { id: "group-title" }, "Group"),
    h("label", { for: "group-name" }, `Name of the group for \u201c${name}\u201d; an empty name takes it out of its group.`),
    field,
    h("datalist", { id: "group-names" }, ...groups.map((group) => h("option", { value: group.name }))),
    h("div", { class: "row-of-buttons" }, h("button", { value: "done", class: "primary" }, "Put"), h("button", { value: "cancel", type: "button", click: () => dialog.close("cancel") }, "Cancel")),
  );
  const dialog = h("dialog", { "aria-labelledby": "group-title" }, form);
  dialog.addEventListener("close", () => {
    if (dialog.returnValue === "done") done(field.value.trim());
    dialog.remove();
  });
  return dialog;
}
