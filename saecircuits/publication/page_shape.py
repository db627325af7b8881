"""The shape of what `report.html` shows: the schema `saecircuits-page/1`.

The types of the page's own code, `frontend/src/page.ts`, are made from these classes. Tables are
columns, so that forty thousand edges stay small; nodes and edges are named by their row.
"""

from typing import Annotated, Any, Final, Literal

import pandas as pd
from pydantic import create_model

from saecircuits.edges.columns import EDGE_TABLE, NODE_TABLE, PART_TABLE, Columns
from saecircuits.edges.graph_scores import GraphScores
from saecircuits.features.dashboards import Histogram, Neighbour
from saecircuits.features.labels import FeatureLabel
from saecircuits.features.looks import HeadLook
from saecircuits.runs.degrees import DegreesRecord
from saecircuits.runs.records import TaskRecord, Versions
from saecircuits.schema import Cell, Count, Findings, Number, Record, RowsOf, Sha256
from saecircuits.validation.report import Calibration, CurveRow, RandomCircuits

PAGE_FORMAT: Final = "saecircuits-page/1"


class PageRow(Record):
    """A row of the picture: a spliced site, the tokens (lowest) or the metric (highest).

    Attributes:
        name: short, such as `L2 resid_post`.
        layer: the block; -1 for tokens.
        has_signs: True where activations of features may be negative.
    """

    site: str
    name: str
    layer: int
    has_signs: bool = False


class PageFit(Record):
    """How well one dictionary describes the model on a few training prompts; as `nodes.fit.Fit`.

    Attributes:
        name: of its site, such as `L2 resid_post`.
        stated_variance_explained, stated_l0: what its source says; None if it does not.
    """

    name: str
    variance_explained: float
    l0: float
    tokens: Count
    stated_variance_explained: Number
    stated_l0: Number


class PageUnit(Record):
    """A column of the picture: a span or position of the prompt, and its commonest token."""

    name: str
    token: str


def _numbers(table: Columns) -> type[Record]:
    """Lists of numbers by name, one for each column that the page has so."""
    fields: Any = {column.page: (tuple[Number, ...], ()) for column in table if column.page}
    return create_model("Numbers", __base__=Record, **fields)


class PageNodes(_numbers(NODE_TABLE)):
    """The circuit's nodes, strongest first, the metric in front; one entry a node in each list.

    Numbers are columns of `AttributionGraph.nodes`; `edges.columns` says which.

    Attributes:
        row, unit: numbers of its row and column.
        label: number of its feature's label; None where there is none.
    """

    id: tuple[str, ...]
    kind: tuple[str, ...]
    row: tuple[Count, ...]
    unit: tuple[Count, ...]
    feature: tuple[Count | None, ...]
    label: tuple[Count | None, ...]


class PageEdges(_numbers(EDGE_TABLE)):
    """The circuit's edges, strongest first; `source` and `target` are numbers of nodes."""

    source: tuple[Count, ...]
    target: tuple[Count, ...]


class PageParts(_numbers(PART_TABLE)):
    """What carries the edges: `edge` is the number of an edge, `part` that of a name in `names`.

    Attributes:
        degrees: how many components each of `names` passes; None where not all are told apart.
    """

    names: tuple[str, ...]
    degrees: tuple[Count | None, ...]
    edge: tuple[Count, ...]
    part: tuple[Count, ...]


class PageGroup(Record):
    """Nodes that are suggested as one, as in the figure; `nodes` are numbers of nodes."""

    name: str
    nodes: tuple[Count, ...]


class PagePath(Record):
    """A path: ids of its nodes (some may be outside the circuit), and a part for every step."""

    effect: float
    share: Number
    nodes: tuple[str, ...]
    parts: tuple[str, ...]


class PagePaths(Record):
    """The strongest paths through the graph, and in `account` what all others carry, in words."""

    paths: tuple[PagePath, ...]
    account: str


class PageReport(Findings):
    """The figures of `ValidationReport` that the page shows, under the same names."""

    baseline: str
    prompts: Count
    faithfulness: Cell
    faithfulness_low: Cell
    faithfulness_high: Cell
    completeness: Cell
    faithfulness_without_errors: Cell
    all_features_without_errors: Cell
    error_share: Number
    random: RandomCircuits
    curve: Annotated[pd.DataFrame, RowsOf(CurveRow)]
    accuracy: dict[str, Cell]
    calibration: Calibration | None


class PageScores(GraphScores):
    """What goes by features and what by errors; `note` says how that is no share of ablation."""

    note: str


class Pruning(Record):
    """What was kept of what there was.

    Attributes:
        candidates: nodes that could have been kept; `members` were, `errors` of them error nodes.
        node_share: the members' part of the summed |effect| of all features and error nodes of the
            graph; None where the graph is not at hand.
        edges: of the circuit; `graph_edges` of the graph, of whose summed |effect| the circuit's
            edges are `edge_share`.
    """

    candidates: Count
    members: Count
    errors: Count
    node_share: Number
    edges: Count
    graph_edges: Count | None
    edge_share: Number


class PageContext(Record):
    """A few tokens around one activation.

    Attributes:
        peak: index of the token that was looked for.
        active: indices of the tokens on which the feature is active, and how strongly.
    """

    tokens: tuple[str, ...]
    peak: Count
    active: tuple[tuple[Count, float], ...]


class PageStrength(Record):
    """Contexts of about one strength.

    Attributes:
        share_low, share_high: of the active tokens of the text by strength: 0.5 and 0.75 for those
            that are stronger than the weaker half and weaker than the strongest quarter.
        low, high: the activations at these two shares.
    """

    share_low: float
    share_high: float
    low: float
    high: float
    contexts: tuple[PageContext, ...]


class PageLabel(FeatureLabel):
    """A label, and what the feature's dashboard adds to it.

    Attributes:
        histogram, neighbours, neuronpedia: as in `OwnDashboard`; None, none and None where the run
            has no dashboard of the feature.
        strengths: contexts of each quarter of the active tokens, strongest first; none where the
            text is not shown.
    """

    histogram: Histogram | None = None
    neighbours: tuple[Neighbour, ...] = ()
    neuronpedia: str | None = None
    strengths: tuple[PageStrength, ...] = ()


class PageData(Record):
    """Everything on the page.

    Attributes:
        title: of the page.
        task: what was asked; None for a graph of prompts without a named task.
        metric_clean, metric_baseline: on the training prompts, in logits.
        edge_notes: figures about how the edges were computed; as in `AttributionGraph.summary`.
        scores: of the graph that the circuit was chosen from; None where they were not measured.
        limits: what the circuit does not show, in sentences.
        fit: of every dictionary, in forward order; empty for a run in which it was not measured.
        looks: why the heads that carry the strongest edges look where they look; empty where the
            model was not at hand.
        degrees: the metric by degree; None where the model was not at hand or is not covered.
        circuit_digest, tables: as in `circuit.json`: which circuit this page shows.
    """

    format: Literal["saecircuits-page/1"] = PAGE_FORMAT
    title: str
    model: str
    task: TaskRecord | None
    command: str | None
    versions: Versions
    settings: dict[str, Any]
    selection: dict[str, Any]
    metric_clean: Number
    metric_baseline: Number
    edge_notes: dict[str, Number]
    pruning: Pruning
    scores: PageScores | None = None
    limits: tuple[str, ...]
    fit: tuple[PageFit, ...] = ()
    rows: tuple[PageRow, ...]
    units: tuple[PageUnit, ...]
    nodes: PageNodes
    edges: PageEdges
    parts: PageParts
    groups: tuple[PageGroup, ...] = ()
    labels: tuple[PageLabel, ...]
    paths: PagePaths | None
    looks: tuple[HeadLook, ...]
    degrees: DegreesRecord | None = None
    report: PageReport | None
    circuit_digest: Sha256
    tables: dict[str, Sha256]
