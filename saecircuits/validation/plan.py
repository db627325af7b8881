"""Which sets of nodes, or of edges, a report needs to have run, and running them.

Nodes and edges are treated alike: a set is made of names along a ranking (node ids, or pairs of
them), and becomes what ablation takes: the nodes kept, or the edges.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from saecircuits.circuits import Circuit
from saecircuits.edges.ablation import Wiring, ablate_edges, wire
from saecircuits.edges.graph import METRIC, parse_node_id
from saecircuits.nodes.ablation import Kept, ablate_nodes, keep_all, keep_none, keep_spots
from saecircuits.nodes.contrast import Batches
from saecircuits.splicing import SplicedModel
from saecircuits.validation.figures import FRACTIONS, sizes_of
from saecircuits.validation.random_circuits import random_circuits, site_of

CURVE_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 300, 500, 1000, 2000, 5000)
Pair: TypeAlias = tuple[str, str]
Runs: TypeAlias = dict[str, Float[NDArray[np.float64], "n_set prompt"]]


@dataclass(frozen=True, eq=False)
class Maker:
    """Makes what ablation takes, for one model and the units of its prompts."""

    model: SplicedModel
    units: Sequence[str]

    def nodes(self, names: Sequence[str]) -> Kept:
        """These nodes kept."""
        spots = [parse_node_id(self.model, self.units, name) for name in names]
        return keep_spots(self.model, len(self.units), spots)

    def edges(self, pairs: Sequence[Pair]) -> Wiring:
        """These edges kept."""
        return wire(
            (
                parse_node_id(self.model, self.units, source),
                None if target == METRIC else parse_node_id(self.model, self.units, target),
            )
            for source, target in pairs
        )

    def ends(self) -> dict[str, list[Kept]]:
        """Everything, nothing, and everything without error nodes."""
        everything = keep_all(self.model, len(self.units))
        return {
            "whole": [everything],
            "empty": [keep_none(self.model, len(self.units))],
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


def node_sets(circuit: Circuit, maker: Maker, wanted: Wanted) -> dict[str, list[Kept]]:
    """The sets of nodes for a report on node ablation."""
    ranked = circuit.candidates
    sets = _sets(ranked, circuit.members, maker.nodes, _is_error, Sizes.along(len(ranked)))
    sets["random"] = random_nodes(circuit, maker, count=wanted.n_random, seed=wanted.seed)
    if wanted.with_drops:
        sets["drops"] = nodes_less_one(circuit, maker)
    sets["groups"] = [
        maker.nodes([node for node in circuit.members if node not in gone])
        for gone in map(set, wanted.groups)
    ]
    return sets


def edge_sets(circuit: Circuit, maker: Maker, wanted: Wanted) -> dict[str, list[Wiring]]:
    """The sets of edges for a report on edge ablation."""
    pairs = pairs_of(circuit)
    sets = _sets(
        pairs, pairs, maker.edges, lambda pair: any(map(_is_error, pair)), Sizes.along(len(pairs))
    )
    sets["random"] = random_edges(circuit, maker, count=wanted.n_random, seed=wanted.seed)
    if wanted.with_drops:
        sets["drops"] = edges_less_one(circuit, maker)
    sets["groups"] = [
        maker.edges([pair for pair in pairs if gone.isdisjoint(pair)])
        for gone in map(set, wanted.groups)
    ]
    return sets


def random_nodes(circuit: Circuit, maker: Maker, *, count: int, seed: int) -> list[Kept]:
    """The nodes of random circuits."""
    return [maker.nodes(nodes) for nodes in random_circuits(circuit, count=count, seed=seed)]


def random_edges(circuit: Circuit, maker: Maker, *, count: int, seed: int) -> list[Wiring]:
    """The circuit's edges between other nodes: every member exchanged for one drawn at its site."""
    pairs, wirings = pairs_of(circuit), []
    for nodes in random_circuits(circuit, count=count, seed=seed):
        by_site = dict(zip(sorted(circuit.members, key=site_of), nodes, strict=True))
        wirings.append(maker.edges([(by_site.get(u, u), by_site.get(v, v)) for u, v in pairs]))
    return wirings


def nodes_less_one(circuit: Circuit, maker: Maker) -> list[Kept]:
    """The circuit's nodes without each in turn."""
    members = circuit.members
    return [maker.nodes([node for node in members if node != gone]) for gone in members]


def edges_less_one(circuit: Circuit, maker: Maker) -> list[Wiring]:
    """The circuit's edges without those of each node in turn."""
    pairs = pairs_of(circuit)
    return [maker.edges([pair for pair in pairs if gone not in pair]) for gone in circuit.members]


def pairs_of(circuit: Circuit) -> list[Pair]:
    """The circuit's edges, strongest first."""
    edges = circuit.edges
    return list(zip(edges["source"], edges["target"], strict=True))


def run_sets(
    batches: Batches, nodes: Mapping[str, Sequence[Kept]], edges: Mapping[str, Sequence[Wiring]]
) -> tuple[Runs, Runs, Float[NDArray[np.float64], "2 prompt"]]:
    """The metric of every set of nodes and of every set of edges, and the circuit's divergences.

    The divergence is that of the one set named `alone`, of nodes and then of edges.
    """
    found: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
    kept, wirings = list(chain(*nodes.values())), list(chain(*edges.values()))
    for batch in batches:
        found[0].append(_numpy(ablate_nodes(batch, kept)))
        found[1].append(_numpy(ablate_edges(batch, wirings)))
        read: Callable[[Any], Any] = batch.divergence
        alone = (
            ablate_nodes(batch, nodes["alone"], read=read),
            ablate_edges(batch, edges["alone"], read=read),
        )
        found[2].append(np.concatenate([_numpy(each) for each in alone]))
    by_node, by_edge, divergence = (np.concatenate(parts, axis=1) for parts in found)
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


def _numpy(values: Any) -> NDArray[np.float64]:
    return values.cpu().double().numpy()
