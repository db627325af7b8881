"""Our own fields inside other programs' files, so that nothing is lost in them.

Formats of graphs allow fields of one's own. A file that we write carries in them every value of the
circuit: at its root what is about the whole, at each node its row, at each edge its row and parts.
Read back, the circuit is equal. Numbers that do not exist are null, or left out.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import pandas as pd

from saecircuits.circuits import Circuit
from saecircuits.edges.columns import EDGE_TABLE, NODE_TABLE, PART_TABLE, Row, rows_of, table_of
from saecircuits.edges.graph import EDGE_COLUMNS, NODE_COLUMNS, PART_COLUMNS
from saecircuits.edges.settings import AttributionSettings
from saecircuits.errors import InputError, cut
from saecircuits.interchange.graph_file import GraphFile, Group, Label, cumulative_influence
from saecircuits.runs.records import TaskRecord
from saecircuits.runs.storage import plain
from saecircuits.schema import Record
from saecircuits.validation import ValidationReport

OWN: Final = "saecircuits"
_PART_FIELDS: Final = PART_COLUMNS[2:]


class OwnRecord(Record):
    """What is about the whole graph; the names are those of `Circuit` and `GraphFile`.

    Attributes:
        lost: what the format cannot show, in words.
        layers: site to the layer that stands for it in a viewer's file.
    """

    format: Literal["saecircuits-graph/1"] = "saecircuits-graph/1"
    title: str
    settings: AttributionSettings
    selection: dict[str, Any]
    summary: dict[str, Any]
    provenance: dict[str, Any]
    candidates: tuple[str, ...]
    task: TaskRecord | None
    report: ValidationReport | None
    pins: tuple[str, ...]
    groups: tuple[Group, ...]
    layers: dict[str, int]
    lost: tuple[str, ...]


def own_record(
    graph: GraphFile, *, layers: Mapping[str, int] | None = None, lost: Sequence[str] = ()
) -> OwnRecord:
    """The record of a graph."""
    circuit = graph.circuit
    return OwnRecord(
        title=graph.title,
        settings=circuit.settings,
        selection=plain(circuit.selection),
        summary=plain(circuit.summary),
        provenance=plain(circuit.provenance),
        candidates=tuple(circuit.candidates),
        task=graph.task,
        report=graph.report,
        pins=graph.pins,
        groups=graph.groups,
        layers=dict(layers or {}),
        lost=tuple(lost),
    )


def own_nodes(graph: GraphFile) -> list[dict[str, Any]]:
    """Every node's row as JSON knows it, with `label` and `label_by` where it has a label."""
    rows = []
    for row in rows_of(graph.circuit.nodes[list(NODE_COLUMNS)]):
        values = {name: _value(value) for name, value in row.items()}
        label = graph.labels.get(row["node"])
        if label is not None:
            values |= {"label": label.text, "label_by": label.by}
        rows.append(values)
    return rows


def own_edges(graph: GraphFile) -> list[dict[str, Any]]:
    """Every edge's row, with `parts`: lists of part, degree, effect, value, key and query."""
    parts: dict[tuple[str, str], list[list[Any]]] = {}
    for row in rows_of(graph.circuit.edge_parts):
        values = [_value(row[name]) for name in _PART_FIELDS]
        parts.setdefault((row["source"], row["target"]), []).append(values)
    edges = []
    for row in rows_of(graph.circuit.edges[list(EDGE_COLUMNS)]):
        values = {name: _value(value) for name, value in row.items()}
        own = parts.get((row["source"], row["target"]))
        edges.append(values | ({"parts": own} if own else {}))
    return edges


def part_rows(edges: Iterable[Mapping[str, Any]]) -> list[Row]:
    """The rows of parts that edges hold as lists under `parts`; the inverse of `own_edges`."""
    return [
        {"source": edge["source"], "target": edge["target"],
         **dict(zip(_PART_FIELDS, part, strict=True))}
        for edge in edges
        for part in edge.get("parts") or ()
    ]  # fmt: skip


def from_own(
    record: Mapping[str, Any],
    nodes: Sequence[Mapping[str, Any]],
    edges: Sequence[Mapping[str, Any]],
    *,
    where: str,
) -> GraphFile:
    """The inverse of the three above; keys that are missing have no value.

    Raises:
        InputError: a record of another format, or rows without the columns that every row has.
    """
    try:
        found = OwnRecord.model_validate_json(json.dumps(plain(record)), strict=True)
    except ValueError as error:
        reason = str(error).replace("\n", " ")[:200]
        raise InputError(
            f"{where} names saecircuits but holds no record of format "
            f"{OwnRecord.model_fields['format'].default!r}: {reason}"
        ) from None
    parts = part_rows(edges)
    try:
        tables = [
            table_of(*each)
            for each in ((nodes, NODE_TABLE), (edges, EDGE_TABLE), (parts, PART_TABLE))
        ]
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
    _check_graph(tables[0], tables[1], where)
    circuit = Circuit(
        nodes=tables[0],
        edges=tables[1],
        edge_parts=tables[2],
        candidates=found.candidates,
        settings=found.settings,
        selection=found.selection,
        summary=found.summary,
        provenance=found.provenance,
    )
    return GraphFile(
        circuit=circuit,
        labels={
            row["node"]: Label(row.get("label", ""), row["label_by"])
            for row in nodes
            if row.get("label_by") is not None
        },
        influence=cumulative_influence(circuit),
        report=found.report,
        task=found.task,
        pins=found.pins,
        groups=found.groups,
        title=found.title,
    )


def _check_graph(nodes: pd.DataFrame, edges: pd.DataFrame, where: str) -> None:
    """Refuses tables that make no graph: every id once, every edge once and between nodes."""
    if nodes["node"].duplicated().any():
        twice = nodes["node"][nodes["node"].duplicated()].iloc[0]
        raise InputError(f"{where}: {cut(twice, 80)!r} is the id of several nodes; export it again")
    ends = ["source", "target"]
    if edges.duplicated(ends).any() or not edges[ends].isin(set(nodes["node"])).all(axis=None):
        raise InputError(
            f"{where}: an edge is there twice, or joins what is no node of the graph; export it "
            "again"
        )


def _value(value: Any) -> Any:
    return None if value is None or value is pd.NA else plain(value)
