"""`page_data`: what `report.html` shows, from finished values.

These are the circuit, the graph it was chosen from, the report, the paths, the labels, and what the
heads look at; `page_shape` says what is in it. Numbers of the tables keep six significant digits.
"""

from collections.abc import Sequence
from typing import Any, Final

import pandas as pd

from saecircuits.circuits import Circuit, Routes
from saecircuits.edges.columns import EDGE_TABLE, NODE_TABLE, PART_TABLE, Columns
from saecircuits.edges.graph import AttributionGraph
from saecircuits.edges.graph_scores import GraphScores
from saecircuits.features.dashboards import QUARTERS, Dashboard, ShownContext, quarter_name
from saecircuits.features.labels import FeatureLabel
from saecircuits.nodes.names import METRIC
from saecircuits.publication.contents import Contents
from saecircuits.publication.grouping import suggest_groups
from saecircuits.publication.limits import limit_points
from saecircuits.publication.page_shape import (
    PageContext,
    PageData,
    PageEdges,
    PageFit,
    PageGroup,
    PageLabel,
    PageNodes,
    PageParts,
    PagePath,
    PagePaths,
    PageReport,
    PageRow,
    PageScores,
    PageStrength,
    PageUnit,
    Pruning,
)
from saecircuits.runs.phrases import SCORES_NOTE
from saecircuits.runs.writing import circuit_digest
from saecircuits.splicing.sites import TOKEN_HOOK, make_site

_DIGITS: Final = 6
_SIDE: Final = 5  # tokens beside an activation in contexts by strength
_EDGE_NOTES: Final = (
    "edge_nodes",
    "edge_nodes_share_of_effect",
    "edges_computed",
    "edges_kept_share_of_effect",
)


def page_data(contents: Contents, *, title: str) -> PageData:
    """The page's data."""
    circuit, record, labels = contents.circuit, contents.record, contents.labels
    rows = _rows(circuit)
    number = {node: index for index, node in enumerate(circuit.nodes["node"])}
    return PageData(
        title=title,
        model=record.model,
        task=record.task,
        command=record.command,
        versions=record.versions,
        settings=record.settings.model_dump(mode="json"),
        selection=dict(record.selection or {}),
        metric_clean=_rounded(circuit.summary.get("metric_clean")),
        metric_baseline=_rounded(circuit.summary.get("metric_baseline")),
        edge_notes={key: _rounded(circuit.summary.get(key)) for key in _EDGE_NOTES},
        pruning=_pruning(circuit, contents.graph),
        scores=_scores(circuit),
        limits=tuple(limit_points(circuit, contents.report, has_labels=bool(labels))),
        fit=_fit(circuit),
        rows=rows,
        units=_units(circuit.nodes),
        nodes=_nodes(circuit.nodes, rows, labels),
        edges=PageEdges(
            source=tuple(number[node] for node in circuit.edges["source"]),
            target=tuple(number[node] for node in circuit.edges["target"]),
            **_numbers(circuit.edges, EDGE_TABLE),
        ),
        parts=_parts(circuit),
        groups=tuple(
            PageGroup(name=group.name, nodes=tuple(number[node] for node in group.nodes))
            for group in suggest_groups(circuit, labels)
        ),
        labels=_labels(labels, contents.dashboards),
        paths=None if contents.routes is None else _paths(contents.routes),
        looks=tuple(contents.looks),
        degrees=contents.degrees,
        report=contents.report and PageReport.model_validate(contents.report, from_attributes=True),
        circuit_digest=circuit_digest(circuit),
        tables=record.files,
    )


def _labels(
    labels: Sequence[FeatureLabel], dashboards: Sequence[Dashboard]
) -> tuple[PageLabel, ...]:
    found = {(one.saecircuits.site, one.saecircuits.feature): one for one in dashboards}

    def with_dashboard(label: FeatureLabel) -> PageLabel:
        if (label.site, label.feature) not in found:
            return PageLabel(**label.model_dump())
        dashboard = found[label.site, label.feature].saecircuits
        return PageLabel(
            **label.model_dump(),
            histogram=dashboard.histogram,
            neighbours=dashboard.neighbours,
            neuronpedia=dashboard.neuronpedia,
            strengths=_strengths(found[label.site, label.feature]),
        )

    return tuple(map(with_dashboard, labels))


def _strengths(dashboard: Dashboard) -> tuple[PageStrength, ...]:
    groups = {group.quantile_name: group.examples for group in dashboard.examples_quantiles}
    values = dashboard.quantile_values
    found = []
    # The dashboard's values are at 0, 25, 50, 75 and 100%.
    for low, high in QUARTERS:
        contexts = groups.get(quarter_name(low, high))
        if contexts:
            ends = (values[round(4 * low)], values[round(4 * high)])
            found.append(
                PageStrength(
                    share_low=low,
                    share_high=high,
                    low=ends[0],
                    high=ends[1],
                    contexts=tuple(map(_short, contexts)),
                )
            )
    return tuple(found)


def _short(context: ShownContext) -> PageContext:
    peak = context.train_token_ind
    start, stop = max(0, peak - _SIDE), peak + _SIDE + 1
    return PageContext(
        tokens=context.tokens[start:stop],
        peak=peak - start,
        active=tuple(
            (place, float(f"{value:.3g}"))
            for place, value in enumerate(context.tokens_acts_list[start:stop])
            if value != 0  # features with signs are active below 0 too
        ),
    )


def _fit(circuit: Circuit) -> tuple[PageFit, ...]:
    """The fit of every dictionary, by the names of their sites."""
    found = []
    for fit in circuit.summary.get("fit") or ():
        name = make_site(fit["site"], (fit["site"],)).label
        figures = {key: _rounded(value) for key, value in fit.items() if key != "site"}
        found.append(PageFit(name=name, **{**figures, "tokens": fit["tokens"]}))
    return tuple(found)


def _rows(circuit: Circuit) -> tuple[PageRow, ...]:
    """Tokens first, then sites in the order of computation, the metric last."""
    nodes, signed = circuit.nodes, circuit.provenance.get("signed", ())
    hooks = set(nodes["site"]) - {"", TOKEN_HOOK}
    sites = sorted(make_site(hook, (hook,)) for hook in hooks)
    top = int(nodes["layer"].max())
    return (
        PageRow(site=TOKEN_HOOK, name="tokens", layer=-1),
        *(
            PageRow(
                site=site.hook,
                name=site.label,
                layer=site.layer,
                has_signs=site.hook in signed,
            )
            for site in sites
        ),
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
    return PageNodes(
        id=tuple(nodes["node"]),
        kind=tuple(nodes["kind"]),
        row=tuple(row[site] for site in nodes["site"]),
        unit=tuple(int(unit) for unit in nodes["position"]),
        feature=tuple(features),
        label=tuple(
            None if feature is None else label.get((site, feature)) for site, feature in ends
        ),
        **_numbers(nodes, NODE_TABLE),
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
        **_numbers(parts, PART_TABLE),
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


def _scores(circuit: Circuit) -> PageScores | None:
    scores = GraphScores.of(circuit.summary)
    if scores is None:
        return None
    figures = {name: _rounded(value) for name, value in scores}
    return PageScores(**figures, note=SCORES_NOTE)


def _members(nodes: pd.DataFrame) -> pd.DataFrame:
    return nodes[nodes["kind"].isin(["feature", "error"])]


def _share(part: pd.DataFrame, whole: pd.DataFrame) -> float | None:
    total = float(whole["effect"].abs().sum())
    return _rounded(float(part["effect"].abs().sum()) / total) if total > 0 else None


def _numbers(table: pd.DataFrame, columns: Columns) -> dict[str, Any]:
    """The columns that the page has as lists of numbers, under its names."""
    return {
        column.page: tuple(map(_rounded, table[column.name].tolist()))
        for column in columns
        if column.page is not None
    }


def _rounded(value: float | int | None) -> float | None:
    """Six significant digits; None for what is not a number."""
    if value is None or value != value:
        return None
    return float(f"{float(value):.{_DIGITS}g}")
