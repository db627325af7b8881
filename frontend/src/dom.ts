// Elements, made without any HTML from strings: all text goes in as text.

type Child = Node | string | null | false;
type Handler = (event: Event) => void;
type Attrs = Record<string, string | number | boolean | null | undefined | Handler>;

function fill<E extends Element>(element: E, attrs: Attrs, children: Child[]): E {
  for (const [name, value] of Object.entries(attrs)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, String(value));
    }
  }
  for (const child of children) if (child !== null && child !== false) element.append(child);
  return element;
}

export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attrs: Attrs = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  return fill(document.createElement(tag), attrs, children);
}

export function s<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attrs: Attrs = {},
  ...children: Child[]
): SVGElementTagNameMap[K] {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attrs, children);
}

// Text from a model or a file, kept from turning the text around it.
export function bdi(text: string, attrs: Attrs = {}): HTMLElement {
  return h("bdi", attrs, text);
}

// A length as part of a whole; lengths are set by code, as the page's policy forbids style in markup.
export function bar(share: number, sign: number, label = ""): HTMLElement {
  const inner = h("span", { class: sign < 0 ? "bar-fill against" : "bar-fill" });
  inner.style.width = `${Math.min(100, Math.max(1.5, Math.abs(share) * 100))}%`;
  return h("span", { class: "bar", "aria-hidden": label ? null : "true" }, inner);
}

export function clear(element: Element): void {
  element.replaceChildren();
}
