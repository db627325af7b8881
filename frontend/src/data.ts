// The page's data, and whether a text holds them. Tables are columns; nodes and edges are named by
// their row. `page.ts` is made from the Python that writes them.

import type { PageData } from "./page";

export type {
  Agreement,
  DegreesRecord as Degrees,
  HeadLook as Look,
  PageData as Data,
  PageLabel as Label,
  PagePath as Path,
  PageReport as Report,
  TokenScore,
} from "./page";

export const FORMAT = "saecircuits-page/1";

export function parseData(text: string): PageData {
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch {
    throw new Error("This file is no JSON.");
  }
  const format = (found as { format?: unknown } | null)?.format;
  if (format !== FORMAT) {
    const shown = format === undefined ? "none" : String(format);
    throw new Error(`This file's format is ${shown}; a report of format ${FORMAT} was expected.`);
  }
  return found as PageData;
}
