"""`prune`: from a graph to a circuit, by counts, by thresholds, or by the faithfulness wanted.

Nodes are taken in the order of |effect|, so a circuit is a prefix of one ranking and its size is
the only choice: given, set by a threshold, or searched for as the smallest one whose measured
faithfulness on the graph's own prompts reaches what is asked. Edges are then those between kept
nodes, by |effect|.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from saecircuits.circuits.circuit import Circuit, parts_of
from saecircuits.edges.graph import AttributionGraph
from saecircuits.errors import InputError


def prune(
    graph: AttributionGraph,
    *,
    nodes: int | None = None,
    edges: int | None = None,
    node_threshold: float | None = None,
    edge_threshold: float | None = None,
    faithfulness: float | None = None,
) -> Circuit:
    """The strongest part of a graph, as a circuit.

    Exactly one of `nodes`, `node_threshold` and `faithfulness` chooses the nodes; at most one of
    `edges` and `edge_threshold` the edges (all between kept nodes, if neither is given).

    Args:
        graph: from `attribute`.
        nodes: how many features and error nodes to keep.
        edges: how many edges to keep.
        node_threshold: keep nodes with |effect| of at least this, in logits.
        edge_threshold: keep edges with |effect| of at least this, in logits.
        faithfulness: keep the fewest nodes whose node faithfulness, measured by ablation on the
            prompts that the graph was computed from, is at least this. Sizes are searched upwards
            by factors of 1.25 and then between the last two.

    Raises:
        InputError: none or several ways to choose, a number out of range, a graph read from disk
            (it cannot measure), or a faithfulness that the whole graph does not reach.
    """
    check_selection(nodes=nodes, node_threshold=node_threshold, faithfulness=faithfulness)
    if edges is not None and edge_threshold is not None:
        raise InputError("prune was given edges and edge_threshold; give at most one of them")
    if edges is not None and edges < 0:
        raise InputError(f"prune was asked for {edges} edges; ask for 0 or more")
    if edge_threshold is not None and edge_threshold < 0:
        raise InputError(f"edge_threshold is {edge_threshold}; a size is never below 0")
    table = graph.nodes
    members = table[table["kind"].isin(["feature", "error"])]
    if faithfulness is not None:
        count = _smallest(members["node"].tolist(), faithfulness, graph)
    elif node_threshold is not None:
        count = int((members["effect"].abs() >= node_threshold).sum())
    else:
        assert nodes is not None, "check_selection leaves one way to choose"
        count = min(nodes, len(members))
    kept_ids = set(members["node"].head(count)) | set(
        table.loc[table["kind"].isin(["metric", "token"]), "node"]
    )
    kept = table[table["node"].isin(kept_ids)].reset_index(drop=True)
    kept_edges = _kept_edges(graph.edges, kept_ids, count=edges, threshold=edge_threshold)
    return Circuit(
        nodes=kept,
        edges=kept_edges,
        edge_parts=parts_of(graph.edge_parts, kept_edges),
        candidates=tuple(members["node"]),
        settings=graph.settings,
        selection=_selection(
            nodes=nodes,
            edges=edges,
            node_threshold=node_threshold,
            edge_threshold=edge_threshold,
            faithfulness=faithfulness,
        ),
        summary=graph.summary,
        provenance=graph.provenance,
    )


def smallest_prefix(
    ranked: Sequence[str], wanted: float, measure: Callable[[Sequence[str]], float]
) -> int | None:
    """The smallest tried length of a prefix of `ranked` whose measure reaches `wanted`, or None.

    Lengths grow by 1.25 until one reaches it; the gap to the last one that did not is then halved
    until it closes. The measure need not be monotone: the result reaches `wanted`, and the prefix
    one shorter was found not to, but a much shorter one might.
    """
    below, length = 0, 1
    while not measure(ranked[:length]) >= wanted:  # so written that NaN reaches nothing
        if length >= len(ranked):
            return None
        below, length = length, min(len(ranked), max(length + 1, int(length * 1.25)))
    while length - below > 1:
        middle = (below + length) // 2
        if measure(ranked[:middle]) >= wanted:
            length = middle
        else:
            below = middle
    return length


def check_selection(
    *,
    nodes: int | None = None,
    node_threshold: float | None = None,
    faithfulness: float | None = None,
) -> None:
    """Refuses a way to choose nodes that cannot be meant; see `prune`.

    Raises:
        InputError: none or several ways, or a number out of range.
    """
    ways = {"nodes": nodes, "node_threshold": node_threshold, "faithfulness": faithfulness}
    given = [name for name, value in ways.items() if value is not None]
    if len(given) != 1:
        raise InputError(
            f"prune was given {' and '.join(given) or 'no way to choose nodes'}; give exactly one "
            f"of {', '.join(ways)}"
        )
    if nodes is not None and nodes < 1:
        raise InputError(f"prune was asked for {nodes} nodes; ask for at least 1")
    if node_threshold is not None and node_threshold < 0:
        raise InputError(f"node_threshold is {node_threshold}; a size is never below 0")
    if faithfulness is not None and not 0 < faithfulness <= 1:
        raise InputError(f"faithfulness is {faithfulness}; ask for more than 0 and at most 1")


def _smallest(ranked: Sequence[str], wanted: float, graph: AttributionGraph) -> int:
    if graph.faithfulness is None:
        raise InputError(
            "this graph was read from disk and cannot measure faithfulness; choose by nodes or "
            "node_threshold, or compute the graph anew with attribute"
        )
    count = smallest_prefix(ranked, wanted, graph.faithfulness)
    if count is None:
        whole = graph.faithfulness(ranked)
        raise InputError(
            f"no circuit reaches faithfulness {wanted}: all {len(ranked)} nodes together reach "
            f"{whole:.3f}; ask for less"
        )
    return count


def _kept_edges(
    edges: pd.DataFrame, kept: set[str], *, count: int | None, threshold: float | None
) -> pd.DataFrame:
    inside = edges[edges["source"].isin(kept) & edges["target"].isin(kept)]
    if threshold is not None:
        inside = inside[inside["effect"].abs() >= threshold]
    if count is not None:
        inside = inside.head(count)
    return inside.reset_index(drop=True)


def _selection(**choices: Any) -> dict[str, Any]:
    given = {name: value for name, value in choices.items() if value is not None}
    return {"by": "effect", **given}
