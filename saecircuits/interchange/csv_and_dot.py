"""CSV tables of nodes, edges and components, and DOT for pictures of small graphs."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from saecircuits.edges.columns import NODE_TABLE, PART_TABLE, of_kind
from saecircuits.edges.graph import PART_COLUMNS
from saecircuits.interchange.flat import (
    PARTS,
    Flat,
    columns_of,
    escaped,
    flatten,
    unescaped,
    unflatten,
)
from saecircuits.interchange.graph_file import GraphFile, short_name
from saecircuits.interchange.own import part_rows
from saecircuits.nodes.names import METRIC
from saecircuits.runs.phrases import effect_number
from saecircuits.runs.storage import read_bytes, understood
from saecircuits.shown_text import visible

NODES_CSV: Final = "nodes.csv"
EDGES_CSV: Final = "edges.csv"
PARTS_CSV: Final = "edge_parts.csv"
RECORD_JSON: Final = "graph-record.json"
_TEXTS: Final = (*of_kind((*NODE_TABLE, *PART_TABLE), "text"), "label", "label_by")
_COUNTS: Final = of_kind((*NODE_TABLE, *PART_TABLE), "count", "count or none")
_SHAPES: Final = {"feature": "box", "error": "octagon", "token": "oval", METRIC: "doubleoctagon"}


def write_csv(graph: GraphFile) -> dict[str, bytes]:
    """The files of a folder: three tables, and the record of the whole as JSON."""
    flat = flatten(graph).mapped(escaped)
    edges = [{key: value for key, value in row.items() if key != PARTS} for row in flat.edges]
    parts = part_rows(
        {**row, PARTS: json.loads(unescaped(row.get(PARTS, "[]")))} for row in flat.edges
    )
    return {
        NODES_CSV: _csv(flat.nodes, columns_of(flat.nodes)),
        EDGES_CSV: _csv(edges, columns_of(edges) or ["source", "target", "effect"]),
        PARTS_CSV: _csv(parts, list(PART_COLUMNS)),
        RECORD_JSON: (unescaped(flat.record) + "\n").encode(),
    }


def read_csv(folder: Path) -> GraphFile:
    """The inverse of `write_csv`.

    Raises:
        RunFolderError: a file that is missing.
        InputError: tables of another program.
    """
    with understood(str(folder), "CSV tables of saecircuits"):
        return _read_csv(folder)


def _read_csv(folder: Path) -> GraphFile:
    nodes, edges, parts = (_rows(folder / name) for name in (NODES_CSV, EDGES_CSV, PARTS_CSV))
    by_edge: dict[tuple[str, str], list[list[Any]]] = {}
    for part in parts:
        values = [part.get(name) for name in PART_COLUMNS[2:]]
        by_edge.setdefault((part["source"], part["target"]), []).append(values)
    joined = [
        {**edge, PARTS: json.dumps(by_edge[edge["source"], edge["target"]])}
        if (edge["source"], edge["target"]) in by_edge
        else edge
        for edge in edges
    ]
    record = read_bytes(folder / RECORD_JSON).decode("utf-8", errors="replace")
    return unflatten(Flat(tuple(nodes), tuple(joined), record), where=str(folder))


def write_dot(graph: GraphFile) -> bytes:
    """DOT: labels, effects and sign; for Graphviz. It is not read back."""
    lines = [
        f"digraph {_dot(graph.title)} {{",
        "  rankdir=BT;",
        '  node [fontname="sans-serif", fontsize=10];',
    ]
    for row in flatten(graph).nodes:
        label = graph.labels.get(row["node"])
        words = [
            visible(label.text) if label is not None else "",
            short_name(row) if row["kind"] != "token" else visible(row["token"]),
            effect_number(row["effect"]) if "effect" in row else "",
        ]
        texts = "\\n".join(_quoted_dot(word) for word in words if word)
        shape = _SHAPES.get(row["kind"], "box")
        lines.append(f'  {_dot(row["node"])} [label="{texts}", shape={shape}];')
    edges = graph.circuit.edges
    largest = float(edges["effect"].abs().max()) if len(edges) else 1.0
    columns = (edges[name].tolist() for name in ("source", "target", "effect"))
    for source, target, effect in zip(*columns, strict=True):
        style = "solid" if effect >= 0 else "dashed"
        width = 0.3 + 3.7 * abs(effect) / (largest or 1.0)
        lines.append(
            f"  {_dot(source)} -> {_dot(target)} [weight_signed={_dot(repr(effect))}, "
            f"style={style}, penwidth={width:.2f}];"
        )
    return ("\n".join([*lines, "}"]) + "\n").encode("utf-8", errors="replace")


def _csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        values = (row.get(name) for name in columns)
        writer.writerow(repr(one) if isinstance(one, float) else one for one in values)
    return file.getvalue().encode("utf-8")


def _rows(path: Path) -> list[dict[str, Any]]:
    text = read_bytes(path).decode("utf-8", errors="replace")
    rows = csv.DictReader(io.StringIO(text, newline=""))
    return [{key: _value(key, cell) for key, cell in row.items() if cell} for row in rows]


def _value(column: str, cell: str) -> Any:
    if column in _TEXTS:
        return unescaped(cell)
    return int(cell) if column in _COUNTS else float(cell)


def _dot(text: str) -> str:
    return f'"{_quoted_dot(text)}"'


def _quoted_dot(text: str) -> str:
    return escaped(text).replace("\\", "\\\\").replace('"', '\\"')
