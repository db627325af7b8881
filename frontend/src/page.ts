// Made by `npm run types` from saecircuits/publication/page_shape.py; change that.

/**
 * Everything on the page.
 *
 * Attributes:
 *     title: of the page.
 *     task: what was asked; None for a graph of prompts without a named task.
 *     metric_clean, metric_baseline: on the training prompts, in logits.
 *     edge_notes: figures about how the edges were computed; as in `AttributionGraph.summary`.
 *     scores: of the graph that the circuit was chosen from; None where they were not measured.
 *     limits: what the circuit does not show, in sentences.
 *     fit: of every dictionary, in forward order; empty for a run in which it was not measured.
 *     looks: why the heads that carry the strongest edges look where they look; empty where the
 *         model was not at hand.
 *     degrees: the metric by degree; None where the model was not at hand or is not covered.
 *     circuit_digest, tables: as in `circuit.json`: which circuit this page shows.
 */
export interface PageData {
  format: "saecircuits-page/1";
  title: string;
  model: string;
  task: TaskRecord | null;
  command: string | null;
  versions: Versions;
  settings: {
    [k: string]: unknown;
  };
  selection: {
    [k: string]: unknown;
  };
  metric_clean: number | null;
  metric_baseline: number | null;
  edge_notes: {
    [k: string]: number | null;
  };
  pruning: Pruning;
  scores: PageScores | null;
  limits: string[];
  fit: PageFit[];
  rows: PageRow[];
  units: PageUnit[];
  nodes: PageNodes;
  edges: PageEdges;
  parts: PageParts;
  groups: PageGroup[];
  labels: PageLabel[];
  paths: PagePaths | null;
  looks: HeadLook[];
  degrees: DegreesRecord | null;
  report: PageReport | null;
  circuit_digest: string;
  tables: {
    [k: string]: string;
  };
}
/**
 * What was asked.
 *
 * Attributes:
 *     digest: sha256 over the prompts of both halves.
 *     train, test: how many prompt pairs select the circuit, and how many judge it.
 *     example: the first training pair; `source` the task's file, None for a shipped one.
 */
export interface TaskRecord {
  name: string;
  description: string;
  digest: string;
  train: number;
  test: number;
  example: Example;
  source: string | null;
}
/**
 * One prompt pair, for readers; `answer` and `wrong` are tokens, leading spaces included.
 */
export interface Example {
  clean: string;
  corrupted: string;
  answer: string[];
  wrong: string[];
}
/**
 * The software that computed the run.
 */
export interface Versions {
  saecircuits: string;
  torch: string;
  transformer_lens: string;
  python: string;
}
/**
 * What was kept of what there was.
 *
 * Attributes:
 *     candidates: nodes that could have been kept; `members` were, `errors` of them error nodes.
 *     node_share: the members' part of the summed |effect| of all features and error nodes of the
 *         graph; None where the graph is not at hand.
 *     edges: of the circuit; `graph_edges` of the graph, of whose summed |effect| the circuit's
 *         edges are `edge_share`.
 */
export interface Pruning {
  candidates: number;
  members: number;
  errors: number;
  node_share: number | null;
  edges: number;
  graph_edges: number | null;
  edge_share: number | null;
}
/**
 * What goes by features and what by errors; `note` says how that is no share of ablation.
 */
export interface PageScores {
  replacement: number | null;
  replacement_low: number | null;
  replacement_high: number | null;
  completeness: number | null;
  completeness_low: number | null;
  completeness_high: number | null;
  tokens: number | null;
  by_features: number | null;
  features_share: number | null;
  features_share_low: number | null;
  features_share_high: number | null;
  note: string;
}
/**
 * How well one dictionary describes the model on a few training prompts; as `nodes.fit.Fit`.
 *
 * Attributes:
 *     name: of its site, such as `L2 resid_post`.
 *     stated_variance_explained, stated_l0: what its source says; None if it does not.
 */
export interface PageFit {
  name: string;
  variance_explained: number;
  l0: number;
  tokens: number;
  stated_variance_explained: number | null;
  stated_l0: number | null;
}
/**
 * A row of the picture: a spliced site, the tokens (lowest) or the metric (highest).
 *
 * Attributes:
 *     name: short, such as `L2 resid_post`.
 *     layer: the block; -1 for tokens.
 *     has_signs: True where activations of features may be negative.
 */
export interface PageRow {
  site: string;
  name: string;
  layer: number;
  has_signs: boolean;
}
/**
 * A column of the picture: a span or position of the prompt, and its commonest token.
 */
export interface PageUnit {
  name: string;
  token: string;
}
/**
 * The circuit's nodes, strongest first, the metric in front; one entry a node in each list.
 *
 * Numbers are columns of `AttributionGraph.nodes`; `edges.columns` says which.
 *
 * Attributes:
 *     row, unit: numbers of its row and column.
 *     label: number of its feature's label; None where there is none.
 */
export interface PageNodes {
  activation: (number | null)[];
  baseline: (number | null)[];
  effect: (number | null)[];
  low: (number | null)[];
  high: (number | null)[];
  left_out: (number | null)[];
  id: string[];
  kind: string[];
  row: number[];
  unit: number[];
  feature: (number | null)[];
  label: (number | null)[];
}
/**
 * The circuit's edges, strongest first; `source` and `target` are numbers of nodes.
 */
export interface PageEdges {
  effect: (number | null)[];
  direct: (number | null)[];
  low: (number | null)[];
  high: (number | null)[];
  source: number[];
  target: number[];
}
/**
 * What carries the edges: `edge` is the number of an edge, `part` that of a name in `names`.
 *
 * Attributes:
 *     degrees: how many components each of `names` passes; None where not all are told apart.
 */
export interface PageParts {
  effect: (number | null)[];
  value: (number | null)[];
  key: (number | null)[];
  query: (number | null)[];
  names: string[];
  degrees: (number | null)[];
  edge: number[];
  part: number[];
}
/**
 * Nodes that are suggested as one, as in the figure; `nodes` are numbers of nodes.
 */
export interface PageGroup {
  name: string;
  nodes: number[];
}
/**
 * A label, and what the feature's dashboard adds to it.
 *
 * Attributes:
 *     histogram, neighbours, neuronpedia: as in `OwnDashboard`; None, none and None where the run
 *         has no dashboard of the feature.
 *     strengths: contexts of each quarter of the active tokens, strongest first; none where the
 *         text is not shown.
 */
export interface PageLabel {
  site: string;
  feature: number;
  text: string;
  top_tokens: TokenScore[];
  contexts: FeatureContext[];
  promoted: TokenScore[];
  suppressed: TokenScore[];
  density: number;
  n_tokens: number;
  examples: number;
  auto: boolean;
  author: string | null;
  date: string | null;
  auto_text: string | null;
  histogram: Histogram | null;
  neighbours: Neighbour[];
  neuronpedia: string | null;
  strengths: PageStrength[];
}
/**
 * A token and a number about it.
 */
export interface TokenScore {
  token: string;
  score: number;
}
/**
 * Tokens around a strong activation.
 *
 * Attributes:
 *     tokens: as they are, spaces included.
 *     activations: of the feature at each token.
 *     peak: index of the token that was looked for.
 *     origin: `text`, or `task` for a prompt of the task.
 */
export interface FeatureContext {
  tokens: string[];
  activations: number[];
  peak: number;
  origin: "text" | "task";
}
/**
 * How many tokens of the text are active how strongly.
 *
 * Attributes:
 *     edges: ascending, one more than counts; the first is 0, or below it where features have
 *         signs, and 0 itself is not counted.
 */
export interface Histogram {
  edges: number[];
  counts: number[];
}
/**
 * A feature of the same dictionary and the cosine between the two decoder rows.
 */
export interface Neighbour {
  feature: number;
  cosine: number;
}
/**
 * Contexts of about one strength.
 *
 * Attributes:
 *     share_low, share_high: of the active tokens of the text by strength: 0.5 and 0.75 for those
 *         that are stronger than the weaker half and weaker than the strongest quarter.
 *     low, high: the activations at these two shares.
 */
export interface PageStrength {
  share_low: number;
  share_high: number;
  low: number;
  high: number;
  contexts: PageContext[];
}
/**
 * A few tokens around one activation.
 *
 * Attributes:
 *     peak: index of the token that was looked for.
 *     active: indices of the tokens on which the feature is active, and how strongly.
 */
export interface PageContext {
  tokens: string[];
  peak: number;
  active: [number, number][];
}
/**
 * The strongest paths through the graph, and in `account` what all others carry, in words.
 */
export interface PagePaths {
  paths: PagePath[];
  account: string;
}
/**
 * A path: ids of its nodes (some may be outside the circuit), and a part for every step.
 */
export interface PagePath {
  effect: number;
  share: number | null;
  nodes: string[];
  parts: string[];
}
/**
 * One head at one query of the example prompt.
 *
 * Attributes:
 *     site: hook of the dictionary whose features the terms are.
 *     carries: share of this head in the summed |effect| of the parts of the circuit's edges.
 *     query, key: tokens of the prompt, the first being 0; the key is the one most attended to.
 *     keys: every key that the query sees.
 *     pairs: the strongest pairs of terms by contrast, that is score at the key less the mean
 *         over all keys.
 *     n_pairs: how many pairs there are.
 */
export interface HeadLook {
  layer: number;
  head: number;
  site: string;
  carries: number;
  query: number;
  query_token: string;
  key: number;
  keys: SeenKey[];
  pairs: TermPair[];
  n_pairs: number;
}
/**
 * A key that the query sees: the token, and how much of the attention it gets.
 */
export interface SeenKey {
  token: string;
  pattern: number;
}
/**
 * A pair of terms and its part of the contrast; see `HeadScores.pairs`.
 */
export interface TermPair {
  query_term: string;
  key_term: string;
  contrast: number;
  share: number;
}
/**
 * The metric on clean training prompts by degree, means over prompts, in logits.
 *
 * Attributes:
 *     operator: what was expanded; see `MetricDegrees`.
 *     prompts: how many, the first of the training prompts.
 *     prompts_digest: of all training prompts, as in `circuit.json`.
 *     value: the metric on these prompts, before any soft-cap: the sum of `effect` and `constant`.
 *     note: what the figures are and are not, in words.
 */
export interface DegreesRecord {
  format: "saecircuits/1";
  operator: string;
  unit: "logits";
  prompts: number;
  prompts_digest: string;
  value: number;
  constant: number;
  degrees: DegreeRow[];
  note: string;
}
/**
 * Paths that pass `degree` components.
 *
 * Attributes:
 *     paths: how many there are, an attention layer being one component, as an MLP is.
 *     effect: what they give to the metric, mean over prompts, in logits.
 *     effect_low, effect_high: 95% bootstrap interval over prompts; None for a single one.
 *     share: of the sum over degrees of |effect| of each prompt, mean over prompts; the constant
 *         is no degree.
 */
export interface DegreeRow {
  degree: number;
  paths: number;
  effect: number;
  effect_low: number | null;
  effect_high: number | null;
  share: number;
}
/**
 * The figures of `ValidationReport` that the page shows, under the same names.
 */
export interface PageReport {
  baseline: string;
  prompts: number;
  faithfulness: number | null;
  faithfulness_low: number | null;
  faithfulness_high: number | null;
  completeness: number | null;
  faithfulness_without_errors: number | null;
  all_features_without_errors: number | null;
  error_share: number | null;
  random: RandomCircuits;
  curve: CurveRow[];
  accuracy: {
    [k: string]: number | null;
  };
  calibration: Calibration | null;
}
/**
 * Faithfulness of random circuits; `size` is left out where it is the circuit's own.
 */
export interface RandomCircuits {
  size?: number | null;
  count: number;
  median: number | null;
  low: number | null;
  high: number | null;
  values: number[];
}
/**
 * Faithfulness of the strongest `nodes` members of the ranking (of so many `edges`).
 */
export interface CurveRow {
  nodes: number;
  faithfulness: number | null;
  faithfulness_low: number | null;
  faithfulness_high: number | null;
  faithfulness_without_errors: number | null;
  edges?: number | null;
}
/**
 * Agreement for nodes and edges, and which of the two node effects was measured.
 */
export interface Calibration {
  against?: string | null;
  nodes: Agreement;
  edges: Agreement;
  warnings?: CalibrationWarning[];
}
/**
 * The same over the whole sample, with 95% intervals.
 */
export interface Agreement {
  sample: number;
  pearson: number | null;
  spearman: number | null;
  sign_agreement?: number | null;
  error?: number | null;
  pearson_low?: number | null;
  pearson_high?: number | null;
  spearman_low: number | null;
  spearman_high: number | null;
  sign_agreement_low?: number | null;
  sign_agreement_high?: number | null;
  estimated?: number[];
  measured?: number[];
  strata?: StratumAgreement[];
  layers?: LayerAgreement[];
}
/**
 * Members whose |effect| is at least this share of the largest, and in no stratum before.
 */
export interface StratumAgreement {
  sample: number;
  pearson: number | null;
  spearman: number | null;
  sign_agreement?: number | null;
  error?: number | null;
  least: number;
}
/**
 * Members of one layer; -1 for edges from tokens.
 */
export interface LayerAgreement {
  sample: number;
  pearson: number | null;
  spearman: number | null;
  sign_agreement?: number | null;
  error?: number | null;
  layer: number;
}
/**
 * A layer whose estimates do not follow what was measured, and what makes them miss.
 *
 * `cause` is the non-linearity that does most (None where none was found), `share` its share of
 * what all kinds of non-linearity do, `text` the same in a sentence or two.
 */
export interface CalibrationWarning {
  sample: number;
  pearson: number | null;
  spearman: number | null;
  sign_agreement?: number | null;
  error?: number | null;
  layer: number;
  of: "nodes" | "edges";
  cause: string | null;
  share: number | null;
  text: string;
}
