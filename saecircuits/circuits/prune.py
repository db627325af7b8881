"""`prune`: from a graph to a circuit, by counts, by thresholds, or by the faithfulness wanted.

Nodes are taken in the order of |effect|, or by another method (`circuits.selection`); how many is
given, set by a threshold, or searched for as the smallest number whose measured faithfulness on the
graph's own prompts reaches what is asked. Edges are then those between kept
nodes, by |effect|. Or nodes and edges are those of the strongest paths (`circuits.path_circuits`).
"""

from collections.abc import Sequence
from typing import Any, get_args

import pandas as pd

from saecircuits.circuits.circuit import Circuit, parts_of
from saecircuits.circuits.path_circuits import path_circuit
from saecircuits.circuits.paths import paths as strongest_paths
from saecircuits.circuits.selection import (
    Method,
    by_masks,
    by_paths,
    greedily,
    smallest_prefix,
)
from saecircuits.edges.graph import AttributionGraph
from saecircuits.errors import InputError, UnknownNameError
from saecircuits.nodes.experiment import Experiment
from saecircuits.torch_state import in_own_state


@in_own_state
def prune(
    graph: AttributionGraph,
    experiment: Experiment | None = None,
    *,
    nodes: int | None = None,
    edges: int | None = None,
    node_threshold: float | None = None,
    edge_threshold: float | None = None,
    faithfulness: float | None = None,
    paths: int | None = None,
    method: Method = "effect",
    with_errors: bool = True,
) -> Circuit:
    """The strongest part of a graph, as a circuit.

    Exactly one of `nodes`, `node_threshold`, `faithfulness` and `paths` chooses the nodes; at most
    one of `edges` and `edge_threshold` the edges (all between kept nodes, if neither is given).

    Args:
        graph: from `attribute`, or read from disk.
        experiment: what the graph was computed in, for what is measured (`faithfulness`) or
            computed anew (`paths`); `graph.on(model, task.train)` for a graph read from disk, and
            by default the graph's own.
        nodes: how many features and error nodes to keep.
        edges: how many edges to keep.
        node_threshold: keep nodes with |effect| of at least this, in logits.
        edge_threshold: keep edges with |effect| of at least this, in logits.
        faithfulness: keep the fewest nodes whose node faithfulness, measured by ablation on the
            prompts that the graph was computed from, is at least this. Sizes are searched upwards
            by factors of 1.25 and then between the last two.
        paths: keep the nodes of this many paths, the strongest from tokens to the metric, and as
            edges the steps of these paths alone.
        method: how nodes are ranked (`circuits.selection`): `effect`; `signed`, which is effect
            with its sign; `paths`; or, for a wanted faithfulness only, `greedy` and `masks`, which
            measure and learn on the prompts that the graph was computed from.
        with_errors: False to keep no error nodes.

    Raises:
        UnknownNameError: a method that does not exist.
        InputError: none or several ways to choose, a number out of range, nothing to measure
            on (a graph read from disk without an experiment), or a faithfulness that the whole
            graph does not reach.
    """
    check_selection(
        nodes=nodes,
        node_threshold=node_threshold,
        faithfulness=faithfulness,
        paths=paths,
        edges=edges,
        edge_threshold=edge_threshold,
    )
    check_method(method, faithfulness=faithfulness, node_threshold=node_threshold)
    if paths is not None:
        if edges is not None or edge_threshold is not None or not with_errors:
            raise InputError(
                "prune was given paths and a choice of edges or error nodes; paths choose both"
            )
        return path_circuit(graph, strongest_paths(graph, experiment, k=paths))
    table = graph.nodes
    members = table[table["kind"].isin(["feature", "error"])]
    allowed = members if with_errors else members[members["kind"] == "feature"]
    ranked: list[str] = allowed["node"].tolist()
    if method == "signed":
        ranked = allowed.sort_values("effect", ascending=False, kind="stable")["node"].tolist()
    if method == "paths":
        ranked = by_paths(graph, ranked, graph.checked(experiment))
    if faithfulness is not None:
        chosen = _chosen(graph.checked(experiment), ranked, faithfulness, method)
    elif node_threshold is not None:
        chosen = ranked[: int((allowed["effect"].abs() >= node_threshold).sum())]
    else:
        chosen = ranked[:nodes]
    kept_ids = {*chosen, *table.loc[table["kind"].isin(["metric", "token"]), "node"]}
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
            method=method,
            with_errors=with_errors,
        ),
        summary=graph.summary,
        provenance=graph.provenance,
    )


def check_selection(
    *,
    nodes: int | None = None,
    node_threshold: float | None = None,
    faithfulness: float | None = None,
    paths: int | None = None,
    edges: int | None = None,
    edge_threshold: float | None = None,
) -> None:
    """Refuses a way to choose nodes and edges that cannot be meant; see `prune`.

    Raises:
        InputError: none or several ways, or a number out of range.
    """
    ways = {
        "nodes": nodes,
        "node_threshold": node_threshold,
        "faithfulness": faithfulness,
        "paths": paths,
    }
    given = [name for name, value in ways.items() if value is not None]
    if len(given) != 1:
        raise InputError(
            f"prune was given {' and '.join(given) or 'no way to choose nodes'}; give exactly one "
            f"of {', '.join(ways)}"
        )
    if paths is not None and paths < 1:
        raise InputError(f"prune was asked for {paths} paths; ask for at least 1")
    if nodes is not None and nodes < 1:
        raise InputError(f"prune was asked for {nodes} nodes; ask for at least 1")
    for name, value in {"node_threshold": node_threshold, "edge_threshold": edge_threshold}.items():
        if value is not None and not value >= 0:  # so written that NaN is refused
            raise InputError(f"{name} is {value}; a size is never below 0")
    if edges is not None and edge_threshold is not None:
        raise InputError("prune was given edges and edge_threshold; give at most one of them")
    if edges is not None and edges < 0:
        raise InputError(f"prune was asked for {edges} edges; ask for 0 or more")
    if faithfulness is not None and not 0 < faithfulness <= 1:
        raise InputError(f"faithfulness is {faithfulness}; ask for more than 0 and at most 1")


def check_method(
    method: str, *, faithfulness: float | None, node_threshold: float | None = None
) -> None:
    """Refuses a method that does not exist, or that does not go with how a size is chosen.

    Raises:
        UnknownNameError: no such method.
        InputError: `greedy` or `masks` without a wanted faithfulness; a threshold for `signed`
            or `paths`.
    """
    if method not in get_args(Method):
        raise UnknownNameError("method", method, get_args(Method))
    if method in ("greedy", "masks") and faithfulness is None:
        raise InputError(
            f"method {method!r} needs a wanted faithfulness; a number of nodes or a threshold goes "
            "with 'effect'"
        )
    if method in ("signed", "paths") and node_threshold is not None:
        raise InputError(
            f"node_threshold is of |effect|; method {method!r} takes nodes or faithfulness"
        )


def check_choice(
    method: str, *, nodes: int | None, edges: int | None, faithfulness: float
) -> float | None:
    """The faithfulness wanted, None where a number of nodes takes its place; see `discover`.

    Raises:
        UnknownNameError, InputError: as `check_selection` and `check_method`.
    """
    wanted = faithfulness if nodes is None else None
    check_selection(nodes=nodes, faithfulness=wanted, edges=edges)
    check_method(method, faithfulness=wanted)
    return wanted


def _chosen(
    experiment: Experiment, ranked: Sequence[str], wanted: float, method: Method
) -> list[str]:
    """The smallest set found by a method that has the wanted faithfulness."""
    found: list[str] | None
    if method in ("effect", "signed", "paths"):
        count = smallest_prefix(ranked, wanted, experiment.faithfulness)
        found = None if count is None else list(ranked[:count])
    else:
        choose = greedily if method == "greedy" else by_masks
        # Asked for again and again: its runs are kept.
        found = choose(ranked, wanted, experiment.changed(keeps_runs=True))
    if found is None:
        whole = experiment.faithfulness(ranked)
        raise InputError(
            f"no circuit reaches faithfulness {wanted}: all {len(ranked)} nodes together reach "
            f"{whole:.3f}; ask for less"
        )
    return found


def _kept_edges(
    edges: pd.DataFrame, kept: set[str], *, count: int | None, threshold: float | None
) -> pd.DataFrame:
    inside = edges[edges["source"].isin(kept) & edges["target"].isin(kept)]
    if threshold is not None:
        inside = inside[inside["effect"].abs() >= threshold]
    if count is not None:
        inside = inside.head(count)
    return inside.reset_index(drop=True)


def _selection(*, method: str, with_errors: bool, **choices: Any) -> dict[str, Any]:
    given = {name: value for name, value in choices.items() if value is not None}
    return {"by": method, **given, **({} if with_errors else {"with_errors": False})}
