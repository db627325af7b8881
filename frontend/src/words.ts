// Numbers and text of unknown origin, as readers see them.

export function signed(value: number | null): string {
  if (value === null) return "\u2013";
  const size = Math.abs(value);
  if (size < 5e-4) return "0";
  const shown = size >= 10 ? size.toFixed(1) : size >= 0.095 ? size.toFixed(2) : size.toPrecision(1);
  return `${value < 0 ? "\u2212" : "+"}${shown}`;
}

export function plain(value: number | null, digits = 2): string {
  if (value === null) return "\u2013";
  const shown = Math.abs(value).toFixed(digits);
  return `${value < 0 && Number(shown) ? "\u2212" : ""}${shown}`;
}

export function percent(value: number | null, digits = 0): string {
  if (value === null) return "\u2013";
  const shown = (Math.abs(value) * 100).toFixed(digits);
  return `${value < 0 && Number(shown) ? "\u2212" : ""}${shown}%`;
}

export function count(value: number): string {
  return value.toLocaleString("en-US");
}

export function interval(low: number | null, high: number | null, show = signed): string {
  return low === null || high === null ? "" : `${show(low)} to ${show(high)}`;
}

const BREAKS: Record<string, string> = { "\n": "\u21b5", "\r": "\u21b5", "\t": "\u21e5" };
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/u;

export function visible(text: string): string {
  return [...text].map((char) => BREAKS[char] ?? (UNSEEN.test(char) ? "\ufffd" : char)).join("");
}

// A token as a label: without the space in front, with a sign for what cannot be seen.
export function shownToken(token: string): string {
  const shown = visible(token.startsWith(" ") ? token.slice(1) : token);
  if (!shown.trim()) return "\u2423".repeat(Math.max(1, token.length));
  return /[\p{L}\p{N}]/u.test(shown) ? shown : `\u2018${shown}\u2019`;
}
