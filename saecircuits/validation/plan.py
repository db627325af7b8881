"""Which sets of nodes, or of edges, a report needs to have run, and running them.

Nodes and edges are treated alike: a set is made of names along a ranking (node ids, or pairs of
them), and becomes what ablation takes: the nodes kept, or the edges.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from saecircuits.circuits import Circuit
from saecircuits.edges.ablation import Wiring, ablate_edges, wire
from saecircuits.nodes.ablation import Kept, ablate_nodes
from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.experiment import Experiment
from saecircuits.validation.figures import FRACTIONS, sizes_of
from saecircuits.validation.random_circuits import random_circuits, site_of

CURVE_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 300, 500, 1000, 2000, 5000)
Pair: TypeAlias = tuple[str, str]
Runs: TypeAlias = dict[str, Float[NDArray[np.float64], "n_set prompt"]]


def wire_pairs(experiment: Experiment, pairs: Sequence[Pair]) -> Wiring:
    """The circuit of these edges, given by the ids of their ends."""
    return wire(experiment.edge(*pair) for pair in pairs)


def ends_of(experiment: Experiment) -> dict[str, list[Kept]]:
    """Everything, nothing, and everything without error nodes."""
    everything = experiment.keep_all()
    return {
        "whole": [everything],
        "empty": [everything.complement()],
        "all_features": [everything.without_errors()],
    }


@dataclass(frozen=True)
class Wanted:
    """What a report is to hold beyond its fixed figures; see `validate`."""

    n_random: int
    with_drops: bool
    groups: Sequence[Sequence[str]]
    seed: int


@dataclass(frozen=True, eq=False)
class Sizes:
    """Sizes along a ranking at which faithfulness is measured.

    Attributes:
        curve: those of the report's curve; the last is the whole ranking.
        areas: those of the areas (`figures.FRACTIONS`).
    """

    curve: tuple[int, ...]
    areas: tuple[int, ...]

    @classmethod
    def along(cls, total: int) -> "Sizes":
        """For a ranking of so many."""
        curve = (*(size for size in CURVE_SIZES if size < total), total)
        return cls(curve, tuple(sizes_of(FRACTIONS, total)))


def node_sets(circuit: Circuit, experiment: Experiment, wanted: Wanted) -> dict[str, list[Kept]]:
    """The sets of nodes for a report on node ablation."""
    ranked = circuit.candidates
    sets = _sets(ranked, circuit.members, experiment.keep, _is_error, Sizes.along(len(ranked)))
    sets["random"] = random_nodes(circuit, experiment, count=wanted.n_random, seed=wanted.seed)
    if wanted.with_drops:
        sets["drops"] = nodes_less_one(circuit, experiment)
    sets["groups"] = [
        experiment.keep([node for node in circuit.members if node not in gone])
        for gone in map(set, wanted.groups)
    ]
    return sets


def edge_sets(circuit: Circuit, experiment: Experiment, wanted: Wanted) -> dict[str, list[Wiring]]:
    """The sets of edges for a report on edge ablation."""
    pairs = pairs_of(circuit)
    make = partial(wire_pairs, experiment)
    sets = _sets(
        pairs, pairs, make, lambda pair: any(map(_is_error, pair)), Sizes.along(len(pairs))
    )
    sets["random"] = random_edges(circuit, experiment, count=wanted.n_random, seed=wanted.seed)
    if wanted.with_drops:
        sets["drops"] = edges_less_one(circuit, experiment)
    sets["groups"] = [
        make([pair for pair in pairs if gone.isdisjoint(pair)]) for gone in map(set, wanted.groups)
    ]
    return sets


def random_nodes(circuit: Circuit, experiment: Experiment, *, count: int, seed: int) -> list[Kept]:
    """The nodes of random circuits."""
    return [experiment.keep(nodes) for nodes in random_circuits(circuit, count=count, seed=seed)]


def random_edges(
    circuit: Circuit, experiment: Experiment, *, count: int, seed: int
) -> list[Wiring]:
    """The circuit's edges between other nodes: every member exchanged for one drawn at its site."""
    pairs, wirings = pairs_of(circuit), []
    for nodes in random_circuits(circuit, count=count, seed=seed):
        by_site = dict(zip(sorted(circuit.members, key=site_of), nodes, strict=True))
        drawn = [(by_site.get(u, u), by_site.get(v, v)) for u, v in pairs]
        wirings.append(wire_pairs(experiment, drawn))
    return wirings


def nodes_less_one(circuit: Circuit, experiment: Experiment) -> list[Kept]:
    """The circuit's nodes without each in turn."""
    members = circuit.members
    return [experiment.keep([node for node in members if node != gone]) for gone in members]


def edges_less_one(circuit: Circuit, experiment: Experiment) -> list[Wiring]:
    """The circuit's edges without those of each node in turn."""
    pairs = pairs_of(circuit)
    return [
        wire_pairs(experiment, [pair for pair in pairs if gone not in pair])
        for gone in circuit.members
    ]


def pairs_of(circuit: Circuit) -> list[Pair]:
    """The circuit's edges, strongest first."""
    edges = circuit.edges
    return list(zip(edges["source"], edges["target"], strict=True))


def run_sets(
    experiment: Experiment,
    nodes: Mapping[str, Sequence[Kept]],
    edges: Mapping[str, Sequence[Wiring]],
) -> tuple[Runs, Runs, Float[NDArray[np.float64], "2 prompt"]]:
    """The metric of every set of nodes and of every set of edges, and the circuit's divergences.

    The divergence is that of the one set named `alone`, of nodes and then of edges.
    """
    kept, wirings = list(chain(*nodes.values())), list(chain(*edges.values()))

    def run(batch: Contrast) -> Tensor:
        return torch.cat(
            [
                ablate_nodes(batch, kept),
                ablate_edges(batch, wirings),
                ablate_nodes(batch, nodes["alone"], read=batch.divergence),
                ablate_edges(batch, edges["alone"], read=batch.divergence),
            ]
        )

    found = experiment.measured(run)
    by_node, by_edge, divergence = np.split(found, [len(kept), len(kept) + len(wirings)])
    return _by_name(by_node, nodes), _by_name(by_edge, edges), divergence


def _sets(
    ranked: Sequence[Any],
    members: Sequence[Any],
    make: Callable[[Sequence[Any]], Any],
    has_error: Callable[[Any], bool],
    sizes: Sizes,
) -> dict[str, list[Any]]:
    def without(names: Sequence[Any]) -> Any:
        return make([name for name in names if not has_error(name)])

    alone = make(members)
    prefixes = [ranked[:size] for size in sizes.curve]
    return {
        "alone": [alone],
        "no_errors": [without(members)],
        "outside": [alone.complement()],
        "curve": [make(prefix) for prefix in prefixes],
        "curve_no_errors": [without(prefix) for prefix in prefixes],
        "areas": [make(ranked[:size]) for size in sizes.areas],
    }


def _is_error(node: str) -> bool:
    return node.partition("@")[0].endswith(".error")


def _by_name(metrics: NDArray[np.float64], sets: Mapping[str, Sequence[Any]]) -> Runs:
    ends = np.cumsum([0, *(len(each) for each in sets.values())])
    return {
        name: metrics[start:end] for name, start, end in zip(sets, ends[:-1], ends[1:], strict=True)
    }
