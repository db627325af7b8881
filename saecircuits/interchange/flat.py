"""A circuit as flat rows: what graph libraries and tables hold, and back.

Every node and edge becomes a row of single values under the column names of `graph.nodes` and
`graph.edges`; values that do not exist are left out. The components of an edge, and what is about
the whole graph, are JSON in one text each (`parts`, and `saecircuits` of the graph).

XML and tables do not take every character of every vocabulary. In those, control characters,
halves of broken characters and the backslash are written as JSON escapes such as `\\u000a`.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from saecircuits.edges.columns import NODE_TABLE, Row, of_kind
from saecircuits.errors import InputError
from saecircuits.interchange.graph_file import GraphFile
from saecircuits.interchange.own import OWN, from_own, own_edges, own_nodes, own_record
from saecircuits.runs.storage import plain, understood

PARTS: Final = "parts"
# Beside XML's forbidden characters those that parsers of XML or tables change: breaks and tabs.
_UNSAFE: Final = re.compile(r"[\\\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u2028\u2029]")
_ESCAPE: Final = re.compile(r"\\u([0-9a-f]{4})")
_INTEGERS: Final = of_kind(NODE_TABLE, "count", "count or none")


@dataclass(frozen=True)
class Flat:
    """Rows of nodes and edges, and the record of the whole as JSON text."""

    nodes: tuple[Row, ...]
    edges: tuple[Row, ...]
    record: str

    def mapped(self, change: Callable[[str], str]) -> "Flat":
        """The same with every text changed."""

        def one(row: Row) -> Row:
            return {
                key: change(value) if isinstance(value, str) else value
                for key, value in row.items()
            }

        return Flat(tuple(map(one, self.nodes)), tuple(map(one, self.edges)), change(self.record))


def flatten(graph: GraphFile) -> Flat:
    """The rows of a graph; floats stay floats and counts counts, so that a column has one type."""
    nodes = []
    for row in own_nodes(graph):
        row["influence"] = graph.influence.get(row["node"])
        nodes.append(_given(row))
    edges = [
        _given({**edge, PARTS: json.dumps(edge[PARTS]) if PARTS in edge else None})
        for edge in own_edges(graph)
    ]
    return Flat(tuple(nodes), tuple(edges), json.dumps(plain(own_record(graph)), sort_keys=True))


def unflatten(flat: Flat, *, where: str) -> GraphFile:
    """The inverse of `flatten`.

    Raises:
        InputError: rows or a record of another program.
    """
    if not flat.record:
        raise InputError(
            f"{where} was not written by saecircuits (it has no field {OWN!r}); of other programs' "
            "files, attribution-graph JSON can be read"
        )
    with understood(where, "a graph of saecircuits"):
        record = json.loads(flat.record)
        edges = [
            {**edge, PARTS: json.loads(edge[PARTS]) if edge.get(PARTS) else None}
            for edge in flat.edges
        ]
        nodes = [
            {key: int(value) if key in _INTEGERS else value for key, value in node.items()}
            for node in flat.nodes
        ]
        return from_own(record, nodes, edges, where=where)


def escaped(text: str) -> str:
    """The text with escapes for what XML and tables do not keep."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def unescaped(text: str) -> str:
    """The inverse of `escaped`."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)


def columns_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """All keys of some rows, in the order in which they first appear."""
    return list(dict.fromkeys(key for row in rows for key in row))


def _given(row: Mapping[str, Any]) -> Row:
    return {key: value for key, value in row.items() if value is not None}
