// The shape of the page's data: the same as `saecircuits/publication/page_shape.py`, where each
// field is explained. Tables are columns; nodes and edges are named by their row.

export type Num = number | null;

export interface Data {
  format: "saecircuits-page/1";
  title: string;
  model: string;
  task: null | {
    name: string;
    description: string;
    digest: string;
    train: number;
    test: number;
    example: { clean: string; corrupted: string; answer: string[]; wrong: string[] };
  };
  command: string | null;
  versions: Record<string, string>;
  settings: Record<string, unknown>;
  selection: Record<string, unknown>;
  metric_clean: Num;
  metric_baseline: Num;
  edge_notes: Record<string, Num>;
  pruning: {
    candidates: number;
    members: number;
    errors: number;
    node_share: Num;
    edges: number;
    graph_edges: Num;
    edge_share: Num;
  };
  limits: string[];
  rows: { site: string; name: string; layer: number }[];
  units: { name: string; token: string }[];
  nodes: {
    id: string[];
    kind: string[];
    row: number[];
    unit: number[];
    feature: Num[];
    label: Num[];
    effect: Num[];
    low: Num[];
    high: Num[];
    activation: Num[];
    baseline: Num[];
    left_out: Num[];
  };
  edges: { source: number[]; target: number[]; effect: Num[]; direct: Num[]; low: Num[]; high: Num[] };
  parts: {
    names: string[];
    degrees: Num[];
    edge: number[];
    part: number[];
    effect: Num[];
    value: Num[];
    key: Num[];
    query: Num[];
  };
  labels: Label[];
  paths: null | { paths: Path[]; account: string };
  looks: Look[];
  degrees?: null | Degrees; // not in pages of earlier versions
  report: null | Report;
  circuit_digest: string;
  tables: Record<string, string>;
}

export interface TokenScore {
  token: string;
  score: number;
}

export interface Label {
  site: string;
  feature: number;
  text: string;
  top_tokens: TokenScore[];
  contexts: { tokens: string[]; activations: number[]; peak: number; origin: string }[];
  promoted: TokenScore[];
  suppressed: TokenScore[];
  density: number;
  n_tokens: number;
  examples: number;
  auto: boolean;
  author: string | null;
  date: string | null;
  auto_text: string | null;
  // Activations above 0: how many lie between each two neighbouring edges.
  histogram: { edges: number[]; counts: number[] } | null;
  // The largest cosines between decoder rows of the dictionary.
  neighbours: { feature: number; cosine: number }[];
  neuronpedia: string | null;
  // Contexts by quarters of the active tokens, strongest first; not in pages of earlier versions.
  strengths?: { share_low: number; share_high: number; low: number; high: number; contexts: { tokens: string[]; peak: number; active: [number, number][] }[] }[];
}

export interface Path {
  effect: number;
  share: Num;
  nodes: string[];
  parts: string[];
}

export interface Look {
  layer: number;
  head: number;
  site: string;
  carries: number;
  query: number;
  query_token: string;
  key: number;
  keys: { token: string; pattern: number }[];
  pairs: { query_term: string; key_term: string; contrast: number; share: number }[];
  n_pairs: number;
}

// The metric by degree: paths that pass so many components.
export interface Degrees {
  operator: string;
  prompts: number;
  value: number;
  constant: number;
  degrees: { degree: number; paths: number; effect: number; effect_low: Num; effect_high: Num; share: number }[];
  note: string;
}

export interface Agreement {
  sample: number;
  pearson: Num;
  spearman: Num;
  spearman_low: Num;
  spearman_high: Num;
  sign_agreement: Num;
  estimated: number[];
  measured: number[];
}

export interface Report {
  baseline: string;
  prompts: number;
  faithfulness: Num;
  faithfulness_low: Num;
  faithfulness_high: Num;
  completeness: Num;
  faithfulness_without_errors: Num;
  all_features_without_errors: Num;
  error_share: Num;
  random: { count: number; median: Num; low: Num; high: Num };
  curve: {
    nodes: number;
    faithfulness: Num;
    faithfulness_low: Num;
    faithfulness_high: Num;
    faithfulness_without_errors: Num;
  }[];
  accuracy: Record<string, Num>;
  calibration: null | { nodes: Agreement; edges: Agreement; warnings: { text: string }[] };
}

export const FORMAT = "saecircuits-page/1";

export function parseData(text: string): Data {
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
  return found as Data;
}
