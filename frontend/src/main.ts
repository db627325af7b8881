// The page: header, answer, the chosen view, and details of what is chosen in it.

import { answer } from "./answer";
import { makeCircuit, title } from "./circuit";
import { compareView } from "./compare";
import { type Data, parseData } from "./data";
import { edgeDetails, nodeDetails } from "./details";
import { groupDialog, helpDialog } from "./dialogs";
import { bdi, clear, h } from "./dom";
import { csv, drawing, save, savePng, svgText } from "./download";
import { GraphView } from "./graph";
import { groupDrawing, groupView } from "./groups";
import { palette } from "./marks";
import { searchBox } from "./search";
import { type Change, Store, type View } from "./state";
import { tableView } from "./table";
import { count, plain, visible } from "./words";

const VIEWS: [View, string][] = [
  ["graph", "Graph"],
  ["groups", "Groups"],
  ["table", "Table"],
  ["compare", "Compare"],
];

function start(): void {
  const app = document.getElementById("app") as HTMLElement;
  const text = document.getElementById("data")?.textContent ?? "";
  let data: Data;
  try {
    data = parseData(text);
  } catch (error) {
    app.append(h("p", { class: "trouble", role: "alert" }, error instanceof Error ? error.message : String(error)));
    return;
  }
  const circuit = makeCircuit(data);
  const store = new Store(circuit);
  const fileName = (data.task?.name ?? data.title).replace(/[^\w.-]+/g, "-").slice(0, 60) || "circuit";

  const graph = new GraphView(circuit, store, (node, focus) => {
    store.set({ node, edge: null });
    if (focus) panel.querySelector<HTMLElement>("h2")?.focus();
  });
  const tabs = h("nav", { class: "tabs", "aria-label": "Views" }, ...VIEWS.map(([view, name]) => h("button", { type: "button", "data-view": view, click: () => show(view) }, name)));
  // On a narrow screen the view lies below the answer.
  function show(view: View): void {
    store.set({ view });
    if (matchMedia("(max-width: 860px)").matches) stage.scrollIntoView();
  }
  const search = searchBox(circuit, store.state.query, (query) => store.set({ query }), (node) => {
    store.set({ node, edge: null, ...(store.state.view === "table" ? {} : { view: "graph" as const }) });
    graph.reveal(node);
    panel.querySelector<HTMLElement>("h2")?.focus();
  }); // prettier-ignore
  const theme = h("button", { type: "button", class: "icon", id: "theme", click: () => switchTheme() });
  const picture = () => (store.state.view === "groups" ? groupDrawing(circuit, store, palette()) : drawing(circuit, graph.picture, store.state));
  const download = h(
    "details",
    { class: "menu" },
    h("summary", {}, "Save"),
    h(
      "div",
      { class: "menu-list" },
      ...(
        [
          ["Picture as SVG", () => save(`${fileName}.svg`, "image/svg+xml", svgText(picture()))],
          ["Picture as PNG", () => void savePng(`${fileName}.png`, picture())],
          ["Data as JSON", () => save(`${fileName}.json`, "application/json", JSON.stringify(data))],
          ["Nodes as CSV", () => save(`${fileName}-nodes.csv`, "text/csv", csv(circuit, "nodes"))],
          ["Edges as CSV", () => save(`${fileName}-edges.csv`, "text/csv", csv(circuit, "edges"))],
        ] as [string, () => void][]
      ).map(([name, act]) => h("button", { type: "button", click: () => (act(), (download.open = false)) }, name)),
    ),
  );
  const help = h("button", { type: "button", class: "icon", "aria-label": "Keys", click: () => ask(helpDialog()) }, "?");
  const skip = h("button", { type: "button", class: "skip", click: () => (store.set({ view: "graph" }), graph.focus()) }, "To the graph");
  const header = h("header", { class: "top" }, skip, h("h1", {}, bdi(visible(data.title))), tabs, search, download, theme, help);

  const controls = controlsOf();
  const stage = h("div", { class: "view", id: "view" });
  const story = h("div", { class: "story" }, ...answer(circuit, store));
  const panel = h("aside", { class: "panel", "aria-label": "Details" });
  const main = h("main", {}, story, stage, panel);
  app.append(header, main);

  const actions = {
    pin(node: number) {
      const { pins } = store.state;
      store.set({ pins: pins.includes(node) ? pins.filter((other) => other !== node) : [...pins, node] });
    },
    group(node: number) {
      const { groups } = store.state;
      const name = title(circuit, node);
      ask(
        groupDialog(name, groups, (chosen) => {
          const left = groups.map((group) => ({ ...group, nodes: group.nodes.filter((other) => other !== node) }));
          const into = left.find((group) => group.name === chosen);
          if (into) into.nodes.push(node);
          else if (chosen) left.push({ name: chosen, nodes: [node], suggested: false });
          store.set({ groups: left.filter((group) => group.nodes.length) });
        }),
      );
    },
    close() {
      const back = store.state.node;
      store.set({ node: null, edge: null });
      if (store.state.view === "graph") graph.focus(back);
    },
  };

  function ask(dialog: HTMLDialogElement): void {
    const before = document.activeElement as HTMLElement | null;
    document.body.append(dialog);
    dialog.showModal();
    dialog.addEventListener("close", () => (before?.isConnected ? before.focus() : graph.focus()));
  }

  // Sliders for how much is drawn; a step is finer where little is.
  function controlsOf() {
    const slider = (key: "nodes" | "edges", name: string, most: number) => {
      const steps = 100;
      const out = h("output", { for: `range-${key}` });
      const toCount = (value: number) => (most <= steps ? value : Math.round(most ** (value / steps)) - (value === 0 ? 1 : 0));
      const toValue = (found: number) => (most <= steps ? found : found <= 0 ? 0 : Math.round((Math.log(found) / Math.log(most)) * steps));
      const field = h("input", { type: "range", id: `range-${key}`, min: 0, max: Math.min(most, steps), value: toValue(store.state[key]) });
      field.addEventListener("input", () => store.set({ [key]: Math.min(most, toCount(Number(field.value))) }));
      const state = () => store.state[key];
      const show = () => {
        if (toCount(Number(field.value)) !== store.state[key]) field.value = String(toValue(store.state[key]));
        const drawn = key === "edges" ? graph.counts().edges : store.state.nodes;
        const last = key === "edges" ? graph.picture.edges.at(-1) : circuit.members[state() - 1];
        const least = last === undefined ? undefined : Math.abs((key === "edges" ? data.edges : data.nodes).effect[last] ?? 0);
        out.textContent = `${count(drawn)} of ${count(most)}${least !== undefined ? `, |effect| \u2265 ${plain(least, least < 0.1 ? 3 : 2)}` : ""}`;
        field.setAttribute("aria-valuetext", out.textContent);
      };
      return { element: h("label", { class: "slider", for: `range-${key}` }, h("span", {}, name), field, out), show };
    };
    const nodes = slider("nodes", "Nodes", circuit.members.length);
    const edges = slider("edges", "Edges", circuit.data.edges.source.length);
    const zooms = h(
      "div",
      { class: "zooms" },
      h("button", { type: "button", class: "icon", "aria-label": "Zoom out", click: () => graph.scale(1 / 1.3) }, "\u2212"),
      h("button", { type: "button", class: "icon", "aria-label": "Zoom in", click: () => graph.scale(1.3) }, "+"),
      h("button", { type: "button", click: () => graph.fit() }, "All"),
    );
    const legend = h(
      "p",
      { class: "legend" },
      h("span", { class: "sample pos", "aria-hidden": "true" }), "\u25b2 supports the answer",
      h("span", { class: "sample neg", "aria-hidden": "true" }), "\u25bd works against it",
      h("span", { class: "quiet" }, "width: |effect|; six-sided: error node; round: token"),
    ); // prettier-ignore
    return { element: h("div", { class: "controls" }, nodes.element, edges.element, zooms, legend), show: () => (nodes.show(), edges.show()) };
  }

  function switchTheme(): void {
    const next = { auto: "light", light: "dark", dark: "auto" } as const;
    store.set({ theme: next[store.state.theme] });
  }

  function applyTheme(): void {
    const { theme: chosen } = store.state;
    if (chosen === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = chosen;
    theme.textContent = { auto: "\u25d0", light: "\u2600", dark: "\u263e" }[chosen];
    theme.setAttribute("aria-label", `Colours: ${chosen === "auto" ? "as the system" : chosen}; switch`);
  }

  function showView(): void {
    const { view } = store.state;
    tabs.querySelectorAll("button").forEach((button) => {
      if (button.dataset.view === view) button.setAttribute("aria-current", "page");
      else button.removeAttribute("aria-current");
    });
    stage.className = `view view-${view}`;
    main.classList.toggle("wide-view", view === "compare");
    clear(stage);
    if (view === "graph") {
      stage.append(graph.element, controls.element);
      graph.update();
      controls.show();
    } else if (view === "groups") stage.append(groupView(circuit, store));
    else if (view === "table") stage.append(tableView(circuit, store));
    else stage.append(compareView(circuit, showView));
  }

  function showPanel(): void {
    const { node, edge } = store.state;
    const open = node !== null || edge !== null;
    panel.hidden = !open;
    main.classList.toggle("with-panel", open);
    if (node !== null) panel.replaceChildren(...nodeDetails(circuit, store, node, actions));
    else if (edge !== null) panel.replaceChildren(...edgeDetails(circuit, store, edge, actions));
    panel.scrollTop = 0;
  }

  function update(changed: Set<Change>): void {
    if (changed.has("theme")) applyTheme();
    if (changed.has("node") || changed.has("edge")) showPanel();
    else if (changed.has("pins") || changed.has("groups")) {
      const held = panel.contains(document.activeElement) ? (document.activeElement as HTMLElement).textContent : null;
      showPanel();
      if (held !== null) (panel.querySelector<HTMLElement>("[aria-pressed]") ?? panel.querySelector<HTMLElement>("h2"))?.focus();
    }
    const { view } = store.state;
    if (changed.has("view") || changed.has("theme")) showView();
    else if (view === "table" && ["query", "table", "sort"].some((key) => changed.has(key as Change))) {
      const sorted = (document.activeElement as HTMLElement | null)?.dataset.sort;
      showView();
      if (sorted) stage.querySelector<HTMLElement>(`[data-sort="${sorted}"]`)?.focus();
    } else if (view === "groups" && ["groups", "nodes", "pins"].some((key) => changed.has(key as Change))) showView();
    if (view === "graph") controls.show();
  }

  store.listen(update);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => showView());
  document.addEventListener("keydown", (event) => {
    const target = event.target as HTMLElement;
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.key === "Escape") {
      if (download.open) download.open = false;
      else actions.close();
      return;
    }
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) return;
    const marked = target.closest?.("[data-node]")?.getAttribute("data-node");
    const node = marked ? Number(marked) : store.state.node;
    const acts: Record<string, () => void> = {
      "/": () => document.getElementById("search")?.focus(),
      "?": () => ask(helpDialog()),
      p: () => node !== null && node !== circuit.metric && actions.pin(node),
      g: () => node !== null && node !== circuit.metric && actions.group(node),
      "+": () => graph.scale(1.3),
      "-": () => graph.scale(1 / 1.3),
      "0": () => graph.fit(),
      ...Object.fromEntries(VIEWS.map(([view], place) => [String(place + 1), () => store.set({ view })])),
    };
    const act = acts[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });

  applyTheme();
  showPanel();
  showView();
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
}

start();
