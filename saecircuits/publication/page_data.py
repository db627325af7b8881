"""What `report.html` shows, as one value of a documented and versioned shape.

Everything comes from finished values: the circuit, the graph it was chosen from, the report, the
paths, the labels, and what the heads look at. `frontend/src/data.ts` states the same shape for the
page's own code. Tables are columns, so that forty thousand edges stay small; nodes and edges are
named by their row. Numbers of the tables keep six significant digits.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

import pandas as pd

from saecircuits.circuits import Circuit, Routes
from saecircuits.edges.graph import METRIC, AttributionGraph
from saecircuits.publication.limits import limit_points
from saecircuits.publication.looks import HeadLook
from saecircuits.publication.records import (
    Calibration,
    CircuitRecord,
    Count,
    CurveRow,
    FeatureLabel,
    Number,
    RandomCircuits,
    Record,
    Sha256,
    TaskRecord,
    Versions,
)
from saecircuits.publication.writing import circuit_digest
from saecircuits.splicing.sites import TOKEN_HOOK, make_site
from saecircuits.validation import ValidationReport

PAGE_FORMAT: Final = "saecircuits-page/1"
_DIGITS: Final = 6


class PageRow(Record):
    """A row of the picture: a spliced site, the tokens (lowest) or the metric (highest).

    Attributes:
        name: short, such as `L2 resid_post`.
        layer: the block; -1 for tokens.
    """

    site: str
    name: str
    layer: int


class PageUnit(Record):
    """A column of the picture: a span or position of the prompt, and its commonest token."""

    name: str
    token: str


class PageNodes(Record):
    """The circuit's nodes, strongest first, the metric in front; one entry a node in each list.

    Attributes:
        row, unit: numbers of its row and column.
        label: number of its feature's label; None where there is none.
        others: as in `AttributionGraph.nodes`.
    """

    id: tuple[str, ...]
    kind: tuple[str, ...]
    row: tuple[Count, ...]
    unit: tuple[Count, ...]
    feature: tuple[Count | None, ...]
    label: tuple[Count | None, ...]
    effect: tuple[Number, ...]
    low: tuple[Number, ...]
    high: tuple[Number, ...]
    activation: tuple[Number, ...]
    baseline: tuple[Number, ...]
    left_out: tuple[Number, ...]


class PageEdges(Record):
    """The circuit's edges, strongest first; `source` and `target` are numbers of nodes."""

    source: tuple[Count, ...]
    target: tuple[Count, ...]
    effect: tuple[Number, ...]
    direct: tuple[Number, ...]
    low: tuple[Number, ...]
    high: tuple[Number, ...]


class PageParts(Record):
    """What carries the edges: `edge` is the number of an edge, `part` that of a name in `names`.

    Attributes:
        degrees: how many components each of `names` passes; None where not all are told apart.
        others: as in `AttributionGraph.edge_parts`.
    """

    names: tuple[str, ...]
    degrees: tuple[Count | None, ...]
    edge: tuple[Count, ...]
    part: tuple[Count, ...]
    effect: tuple[Number, ...]
    value: tuple[Number, ...]
    key: tuple[Number, ...]
    query: tuple[Number, ...]


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


class PageReport(Record):
    """The figures of `ValidationReport` that the page shows, under the same names."""

    baseline: str
    prompts: Count
    faithfulness: Number
    faithfulness_low: Number
    faithfulness_high: Number
    completeness: Number
    faithfulness_without_errors: Number
    all_features_without_errors: Number
    error_share: Number
    random: RandomCircuits
    curve: tuple[CurveRow, ...]
    accuracy: dict[str, Number]
    calibration: Calibration | None


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


class PageData(Record):
    """Everything on the page.

    Attributes:
        title: of the page.
        task: what was asked; None for a graph of prompts without a named task.
        metric_clean, metric_baseline: on the training prompts, in logits.
        edge_notes: figures about how the edges were computed; as in `AttributionGraph.summary`.
        limits: what the circuit does not show, in sentences.
        looks: why the heads that carry the strongest edges look where they look; empty where the
            model was not at hand.
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
    limits: tuple[str, ...]
    rows: tuple[PageRow, ...]
    units: tuple[PageUnit, ...]
    nodes: PageNodes
    edges: PageEdges
    parts: PageParts
    labels: tuple[FeatureLabel, ...]
    paths: PagePaths | None
    looks: tuple[HeadLook, ...]
    report: PageReport | None
    circuit_digest: Sha256
    tables: dict[str, Sha256]


_EDGE_NOTES: Final = (
    "edge_nodes",
    "edge_nodes_share_of_effect",
    "edges_computed",
    "edges_kept_share_of_effect",
)


def page_data(
    circuit: Circuit,
    labels: Sequence[FeatureLabel],
    report: ValidationReport | None,
    *,
    record: CircuitRecord,
    title: str,
    graph: AttributionGraph | None = None,
    routes: Routes | None = None,
    looks: Sequence[HeadLook] = (),
) -> PageData:
    """The page's data.

    Args:
        labels: of some or all of the circuit's features.
        report: None says that nothing was validated.
        record: what the run's `circuit.json` holds.
        graph: what the circuit was chosen from, for what pruning left behind.
        routes: the strongest paths, if they were looked for.
        looks: from `looks_of_heads`.
    """
    rows = _rows(circuit.nodes)
    number = {node: index for index, node in enumerate(circuit.nodes["node"])}
    return PageData(
        title=title,
        model=str(circuit.provenance.get("model", "model")),
        task=record.task,
        command=record.command,
        versions=record.versions,
        settings=record.settings.model_dump(mode="json"),
        selection=dict(record.selection or {}),
        metric_clean=_rounded(circuit.summary.get("metric_clean")),
        metric_baseline=_rounded(circuit.summary.get("metric_baseline")),
        edge_notes={key: _rounded(circuit.summary.get(key)) for key in _EDGE_NOTES},
        pruning=_pruning(circuit, graph),
        limits=tuple(limit_points(circuit, report, has_labels=bool(labels))),
        rows=rows,
        units=_units(circuit.nodes),
        nodes=_nodes(circuit.nodes, rows, labels),
        edges=PageEdges(
            source=tuple(number[node] for node in circuit.edges["source"]),
            target=tuple(number[node] for node in circuit.edges["target"]),
            **_numbers(circuit.edges, ("effect", "direct", "effect_low", "effect_high")),
        ),
        parts=_parts(circuit),
        labels=tuple(labels),
        paths=None if routes is None else _paths(routes),
        looks=tuple(looks),
        report=None if report is None else _report(report),
        circuit_digest=circuit_digest(circuit),
        tables=record.files,
    )


def _rows(nodes: pd.DataFrame) -> tuple[PageRow, ...]:
    """Tokens first, then sites in the order of computation, the metric last."""
    hooks = set(nodes["site"]) - {"", TOKEN_HOOK}
    sites = sorted(make_site(hook, (hook,)) for hook in hooks)
    top = int(nodes["layer"].max())
    return (
        PageRow(site=TOKEN_HOOK, name="tokens", layer=-1),
        *(PageRow(site=site.hook, name=site.label, layer=site.layer) for site in sites),
        PageRow(site="", name=METRIC, layer=top),
    )


def _units(nodes: pd.DataFrame) -> tuple[PageUnit, ...]:
    """All units up to the last that a node is in; one without nodes has no name to show."""
    found = nodes.drop_duplicates("position").set_index("position")[["span", "token"]]
    return tuple(
        PageUnit(name=found.at[unit, "span"], token=found.at[unit, "token"])
        if unit in found.index
        else PageUnit(name="", token="")
        for unit in range(int(nodes["position"].max()) + 1)
    )


def _nodes(
    nodes: pd.DataFrame, rows: Sequence[PageRow], labels: Sequence[FeatureLabel]
) -> PageNodes:
    row = {found.site: index for index, found in enumerate(rows)}
    label = {(found.site, found.feature): index for index, found in enumerate(labels)}
    features = [None if pd.isna(value) else int(value) for value in nodes["feature"]]
    ends = zip(nodes["site"], features, strict=True)
    columns = ("effect", "effect_low", "effect_high", "activation", "baseline", "left_out")
    return PageNodes(
        id=tuple(nodes["node"]),
        kind=tuple(nodes["kind"]),
        row=tuple(row[site] for site in nodes["site"]),
        unit=tuple(int(unit) for unit in nodes["position"]),
        feature=tuple(features),
        label=tuple(
            None if feature is None else label.get((site, feature)) for site, feature in ends
        ),
        **_numbers(nodes, columns),
    )


def _parts(circuit: Circuit) -> PageParts:
    parts = circuit.edge_parts
    ends = zip(circuit.edges["source"], circuit.edges["target"], strict=True)
    edge = {pair: index for index, pair in enumerate(ends)}
    degree_of = dict(zip(parts["part"], parts["degree"], strict=True))
    names = tuple(sorted(degree_of))
    part = {name: index for index, name in enumerate(names)}
    return PageParts(
        names=names,
        degrees=tuple(None if pd.isna(degree_of[name]) else int(degree_of[name]) for name in names),
        edge=tuple(edge[pair] for pair in zip(parts["source"], parts["target"], strict=True)),
        part=tuple(part[name] for name in parts["part"]),
        **_numbers(parts, ("effect", "value", "key", "query")),
    )


def _paths(routes: Routes) -> PagePaths:
    columns = routes.table[["effect", "share", "nodes", "parts"]]
    return PagePaths(
        paths=tuple(
            PagePath(effect=effect, share=_rounded(share), nodes=nodes, parts=parts)
            for effect, share, nodes, parts in columns.itertuples(index=False)
        ),
        account=routes.account(),
    )


def _report(report: ValidationReport) -> PageReport:
    """Missing numbers are None, as in `validation.json`."""
    values = {
        name: value for name, value in report.to_json().items() if name in PageReport.model_fields
    }
    return PageReport.model_validate(_without_nan(values))


def _pruning(circuit: Circuit, graph: AttributionGraph | None) -> Pruning:
    node_share = edge_share = graph_edges = None
    if graph is not None:
        node_share = _share(_members(circuit.nodes), _members(graph.nodes))
        edge_share = _share(circuit.edges, graph.edges)
        graph_edges = len(graph.edges)
    return Pruning(
        candidates=len(circuit.candidates),
        members=circuit.size,
        errors=circuit.n_errors,
        node_share=node_share,
        edges=len(circuit.edges),
        graph_edges=graph_edges,
        edge_share=edge_share,
    )


def _members(nodes: pd.DataFrame) -> pd.DataFrame:
    return nodes[nodes["kind"].isin(["feature", "error"])]


def _share(part: pd.DataFrame, whole: pd.DataFrame) -> float | None:
    total = float(whole["effect"].abs().sum())
    return _rounded(float(part["effect"].abs().sum()) / total) if total > 0 else None


def _numbers(table: pd.DataFrame, columns: Iterable[str]) -> dict[str, Any]:
    """The columns under the page's names: `low` and `high` for the ends of an interval."""
    return {
        name.removeprefix("effect_"): tuple(map(_rounded, table[name].tolist())) for name in columns
    }


def _rounded(value: float | int | None) -> float | None:
    """Six significant digits; None for what is not a number."""
    if value is None or value != value:
        return None
    return float(f"{float(value):.{_DIGITS}g}")


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_without_nan(item) for item in value)
    return None if isinstance(value, float) and value != value else value
