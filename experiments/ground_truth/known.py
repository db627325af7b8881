"""A model, its task, and the circuit that it has by construction; and how much of it is found."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

import saecircuits as sc
from experiments.ground_truth.assembly import Program, assemble, feature_ids
from saecircuits.tasks import PromptPair, write_pairs

Edge: TypeAlias = tuple[str, str]
METRIC = "metric"
# Scores below this share of the largest count as none: LayerNorm's derivative is one in 10^6 here.
FLOOR = 1e-4


@dataclass(frozen=True)
class KnownCircuit:
    """What a model was made to do, and the nodes and edges that do it.

    Attributes:
        task: prompt pairs; every pair's circuit is part of `edges`.
        edges: (source, target) by node id, over all pairs of `task.train`.
        backup_edges: those that act only where the main path is gone; not among `edges`.
        backups: pairs of nodes that stand in for each other.
    """

    name: str
    model: sc.SplicedModel
    task: sc.Task
    edges: frozenset[Edge]
    backup_edges: frozenset[Edge] = frozenset()
    backups: tuple[tuple[str, str], ...] = ()

    @property
    def nodes(self) -> frozenset[str]:
        """Every node that an edge of the circuit begins or ends at, the metric left out."""
        return frozenset(node for edge in self.edges for node in edge if node != METRIC)


class Names:
    """Node ids by direction: `names.node("prev a", after=0, at=2)`."""

    def __init__(self, program: Program) -> None:
        self._ids = feature_ids(program)

    def node(self, direction: str, *, after: int, at: int) -> str:
        """The feature of a direction behind block `after` (-1: what enters the first) at a token.

        Tokens are counted from BOS = 0.
        """
        site = "blocks.0.hook_resid_pre" if after < 0 else f"blocks.{after}.hook_resid_post"
        return f"{site}.f{self._ids[direction]}@t{at}"

    @staticmethod
    def token(at: int) -> str:
        """The token embedding there."""
        return f"token@t{at}"


def chain(*nodes: str) -> Iterator[Edge]:
    """The edges of a path."""
    return pairwise(nodes)


def build(
    name: str, program: Program, pairs: Iterable[PromptPair]
) -> tuple[sc.SplicedModel, sc.Task]:
    """The model, and its pairs as the project's own task file says them."""
    model = assemble(program, name=name)
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.jsonl"
        write_pairs(path, tuple(pairs))
        return model, sc.load_task(path, model)


@dataclass(frozen=True)
class Recovery:
    """How well scores tell the true edges from all others that are possible.

    Attributes:
        auroc: the chance that a true edge scores above a false one, ties counted half.
        exact: the share of true edges among as many of the strongest; 1 is an exact match.
        true: how many edges are true, of `possible`.
        missed: true edges that are scored as none.
    """

    auroc: float
    exact: float
    true: int
    possible: int
    missed: int


def edge_recovery(graph: sc.AttributionGraph, true: Iterable[Edge]) -> Recovery:
    """Recovery of edges by |effect|.

    Possible are all pairs of nodes that differ from their baseline on some prompt, the source at an
    earlier place of the model than the target, and from each of them to the metric.
    """
    true = set(true)
    place = graph.nodes.set_index("node")["site"].map(_order(graph.nodes["site"]))
    found: Mapping[Edge, float] = {
        (source, target): abs(effect)
        for source, target, effect in graph.edges[["source", "target", "effect"]].itertuples(
            index=False
        )
    }
    nodes = [node for node in graph.nodes["node"] if node != METRIC]
    possible = [(u, v) for u in nodes for v in nodes if place[u] < place[v]]
    possible += [(u, METRIC) for u in nodes]
    # A true edge whose ends the graph does not even list is missed, not left out of the count.
    possible += sorted(true - set(possible))
    scores = np.array([found.get(edge, 0.0) for edge in possible])
    is_true = np.array([edge in true for edge in possible])
    return recovery(scores, is_true)


def recovery(scores: NDArray[np.float64], is_true: NDArray[np.bool_]) -> Recovery:
    """AUROC and the exact match at the true size; of equal scores at the border, the worse.

    Args:
        scores: sizes of effects; those below a ten-thousandth of the largest count as zero.
    """
    scores = np.where(scores < FLOOR * scores.max(), 0.0, scores)
    n_true, n_false = int(is_true.sum()), int((~is_true).sum())
    ranks = stats.rankdata(scores)
    auroc = (ranks[is_true].sum() - n_true * (n_true + 1) / 2) / (n_true * n_false)
    strongest = np.lexsort((is_true, -scores))[:n_true]
    return Recovery(
        auroc=float(auroc),
        exact=float(is_true[strongest].mean()),
        true=n_true,
        possible=len(scores),
        missed=int((scores[is_true] == 0).sum()),
    )


def _order(sites: pd.Series) -> dict[str, int]:
    """Place of every site in the model: the embedding, then sites by block, entry before exit."""
    named = sorted({site for site in sites if site.startswith("blocks.")}, key=_key)
    return {"hook_embed": 0, **{site: 1 + number for number, site in enumerate(named)}, "": 10**6}


def _key(site: str) -> tuple[int, bool]:
    return int(site.split(".")[1]), site.endswith("resid_post")
