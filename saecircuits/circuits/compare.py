"""`compare`: what circuits have in common, node by node and edge by edge."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from saecircuits.circuits.circuit import Circuit
from saecircuits.edges.graph_scores import GraphScores
from saecircuits.errors import InputError

_SAME: Final = ("model_digest", "dictionaries")
# Graphs of other programs have names, and no digests.
_SAME_BY_NAME: Final = ("model", "source_set", *_SAME)
_KEYS: Final = {"nodes": ["node"], "edges": ["source", "target"]}


@dataclass(frozen=True, eq=False)
class Comparison:
    """What several circuits share.

    Attributes:
        overlaps: a row for each pair of circuits and for nodes and edges: `first` and `second` (by
            name), `of`, `shared`, `only_first`, `only_second`, `jaccard` (shared of all that either
            has; 1 where neither has any), and `pearson` and `spearman` of the effects of what is
            shared (NaN for fewer than three).
        figures: a row for each circuit: its size, error nodes and edges, how it was chosen, the
            summed |effect| of its nodes, and `replacement` and `features_share` of its graph's
            scores (`edges.graph_scores`; None where they are not known).
        nodes: every member of any circuit, with its effect in each (NaN where it is no member).
        edges: every edge of any, likewise.
    """

    overlaps: pd.DataFrame
    figures: pd.DataFrame
    nodes: pd.DataFrame
    edges: pd.DataFrame

    def to_json(self) -> dict[str, Any]:
        """Tables as lists of rows."""
        return {name: table.to_dict(orient="records") for name, table in vars(self).items()}


def compare(*circuits: Circuit, names: tuple[str, ...] | None = None) -> Comparison:
    """Overlap of circuits: which nodes and edges they share, and whether effects there agree.

    Nodes are the members (features and error nodes), by id: circuits of different models or
    dictionaries share ids without sharing nodes, and are refused. Circuits read from files of other
    programs (`read_graph_file`) can be compared with each other; their nodes have no total effects,
    so figures of these are NaN.

    Args:
        names: of the circuits, in order; their numbers from 1 if None.

    Raises:
        InputError: fewer than two circuits, names that do not fit, or circuits of different
            dictionaries.
    """
    if len(circuits) < 2:
        raise InputError(f"compare was given {len(circuits)} circuits; give at least two")
    known = names or tuple(str(number + 1) for number in range(len(circuits)))
    if len(set(known)) != len(circuits):
        raise InputError(f"compare was given {len(circuits)} circuits and the names {known}")
    for other in circuits[1:]:
        pair = (circuits[0], other)
        for key in _SAME if _has_digests(pair) else _SAME_BY_NAME:
            one, two = (circuit.provenance.get(key) for circuit in pair)
            if one != two:
                shown = f": {one!r}, {two!r}" if isinstance(one, str) else ""
                raise InputError(
                    f"the circuits are of different models or dictionaries ({key} differs{shown}): "
                    "their node ids do not name the same features"
                )
    tables = {
        "nodes": {name: _members(one) for name, one in zip(known, circuits, strict=True)},
        "edges": {name: one.edges for name, one in zip(known, circuits, strict=True)},
    }
    rows = [_overlap(pair, of, tables[of]) for of in tables for pair in combinations(known, 2)]
    return Comparison(
        overlaps=pd.DataFrame(rows),
        figures=pd.DataFrame(
            [_figures(name, one) for name, one in zip(known, circuits, strict=True)]
        ),
        nodes=_joined(tables["nodes"], _KEYS["nodes"]),
        edges=_joined(tables["edges"], _KEYS["edges"]),
    )


def _has_digests(circuits: tuple[Circuit, ...]) -> bool:
    return all("model_digest" in circuit.provenance for circuit in circuits)


def _members(circuit: Circuit) -> pd.DataFrame:
    return circuit.nodes[circuit.nodes["node"].isin(circuit.members)]


def _overlap(pair: tuple[str, str], of: str, tables: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    keys = _KEYS[of]
    first, second = (tables[name].set_index(keys)["effect"] for name in pair)
    shared = first.index.intersection(second.index)
    either = first.index.union(second.index)
    one, two = first.loc[shared].to_numpy(float), second.loc[shared].to_numpy(float)
    varies = len(shared) > 2 and np.ptp(one) > 0 and np.ptp(two) > 0
    return {
        "first": pair[0],
        "second": pair[1],
        "of": of,
        "shared": len(shared),
        "only_first": len(first) - len(shared),
        "only_second": len(second) - len(shared),
        "jaccard": len(shared) / len(either) if len(either) else 1.0,
        "pearson": _correlation(one, two) if varies else float("nan"),
        "spearman": _correlation(stats.rankdata(one), stats.rankdata(two))
        if varies
        else float("nan"),
    }


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    return float(np.corrcoef(first, second)[0, 1])


def _figures(name: str, circuit: Circuit) -> dict[str, Any]:
    scores = GraphScores.of(circuit.summary)
    return {
        "circuit": name,
        "nodes": circuit.size,
        "error_nodes": circuit.n_errors,
        "edges": len(circuit.edges),
        "method": circuit.selection.get("by"),
        "effect": float(_members(circuit)["effect"].abs().sum(min_count=1)),
        "replacement": None if scores is None else scores.replacement,
        "features_share": None if scores is None else scores.features_share,
    }


def _joined(tables: Mapping[str, pd.DataFrame], keys: list[str]) -> pd.DataFrame:
    """Every row of any table, with its effect in each, strongest first."""
    columns = [table.set_index(keys)["effect"].rename(name) for name, table in tables.items()]
    both = pd.concat(columns, axis=1)
    order = np.argsort(-both.abs().max(axis=1).to_numpy(float), kind="stable")
    return both.iloc[order].rename_axis(keys).reset_index()
