"""A circuit: the nodes and edges that are kept, and everything that says how they were chosen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from saecircuits.edges.graph import METRIC
from saecircuits.edges.settings import AttributionSettings


@dataclass(frozen=True, eq=False)
class Circuit:
    """Kept nodes and edges of an attribution graph.

    Attributes:
        nodes: rows of the graph's nodes, strongest first; the metric is the first row.
        edges: rows of the graph's edges between these nodes, strongest first.
        edge_parts: rows of the graph's parts of these edges.
        candidates: ids of every node of the graph that could have been kept, so that random
            circuits of the same size and layer profile can be drawn.
        settings: how the graph was computed.
        selection: how the circuit was chosen from it.
        summary: figures about the graph as a whole.
        provenance: model, dictionaries and prompts, by digest.
    """

    nodes: pd.DataFrame
    edges: pd.DataFrame
    edge_parts: pd.DataFrame
    candidates: Sequence[str]
    settings: AttributionSettings
    selection: Mapping[str, Any]
    summary: Mapping[str, Any]
    provenance: Mapping[str, Any]

    @property
    def members(self) -> tuple[str, ...]:
        """Ids of the features and error nodes that are kept: what ablation keeps clean."""
        is_member = self.nodes["kind"].isin(["feature", "error"])
        return tuple(self.nodes.loc[is_member, "node"])

    @property
    def size(self) -> int:
        """The number of members: a node is a feature or an error node in one unit."""
        return len(self.members)

    @property
    def n_errors(self) -> int:
        """How many of the members are error nodes."""
        return int((self.nodes["kind"] == "error").sum())

    def strongest_edges(self, count: int) -> pd.DataFrame:
        """The edges of largest |effect|, those to the metric included."""
        return self.edges.head(count)

    def edges_into(self, node: str = METRIC) -> pd.DataFrame:
        """The edges that end in a node, strongest first."""
        return self.edges[self.edges["target"] == node]


def parts_of(edge_parts: pd.DataFrame, edges: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table of parts that belong to some edges, in their order."""
    ends = ["source", "target"]
    is_theirs = pd.MultiIndex.from_frame(edge_parts[ends]).isin(
        pd.MultiIndex.from_frame(edges[ends])
    )
    return edge_parts[is_theirs].reset_index(drop=True)
