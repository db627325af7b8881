"""Edges as they come from the engines, gathered into tables: the strongest, within bounds."""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from saecircuits.edges.blocks import EdgeBlock
from saecircuits.edges.graph import EDGE_COLUMNS, PART_COLUMNS
from saecircuits.edges.influence import InfluenceFlow
from saecircuits.edges.parts import Part
from saecircuits.edges.streaming import EdgeFile
from saecircuits.errors import ModelError
from saecircuits.nodes.effects import bootstrap_interval, sign_stability
from saecircuits.nodes.interventions import ERROR, Spot

_SHARES: Final = ("value", "key", "query")


@dataclass(frozen=True, eq=False)
class EdgeTables:
    """What was collected.

    Attributes:
        edges: the strongest edges, strongest first; columns `EDGE_COLUMNS`.
        parts: of the same edges, in the same order; columns `PART_COLUMNS`.
        computed: how many edges are not zero.
        kept_share: of the sum of their |effect|, what those in the tables carry.
        out: per source id, the sum of its out-edges, kept here or not.
        scores: `[2, prompt]`, replacement and completeness of every prompt's graph, over all edges.
    """

    edges: pd.DataFrame
    parts: pd.DataFrame
    computed: int
    kept_share: float
    out: dict[str, float]
    scores: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Found:
    """Some edges and their parts.

    Attributes:
        ends: `[n_edge, 2]`: numbers of source and target.
        figures: `[n_edge, 5]`: effect, direct, low, high, sign stability.
        part_edge: number of the edge of every part, ascending.
        part_name: number of its name.
        part_effects: `[n_part, 4]`: effect, and the shares of values, keys and queries in it.
    """

    ends: NDArray[np.int32]
    figures: NDArray[np.float64]
    part_edge: NDArray[np.int32]
    part_name: NDArray[np.int32]
    part_effects: NDArray[np.float64]

    def chosen(self, rows: NDArray[np.intp]) -> "_Found":
        """Some of the edges, in the order given."""
        place = np.full(len(self.ends), -1, dtype=np.int32)
        place[rows] = np.arange(len(rows))
        edge = place[self.part_edge]
        kept = edge >= 0
        order = np.argsort(edge[kept], kind="stable")
        return _Found(
            self.ends[rows],
            self.figures[rows],
            edge[kept][order],
            self.part_name[kept][order],
            self.part_effects[kept][order],
        )


class EdgeCollector:
    """Takes blocks, chunk of targets by chunk of targets, and keeps the strongest edges.

    Args:
        nodes: every node that can be an end of an edge, in forward order; the metric is numbered
            after the last.
        names: their ids, and the metric's.
        n_prompt: over all batches.
        max_edges: how many edges are kept.
        seed: of the bootstrap over prompts.
        file: where every edge is written as well; None for nowhere.
    """

    def __init__(
        self,
        nodes: Sequence[Spot],
        names: Sequence[str],
        *,
        n_prompt: int,
        max_edges: int,
        seed: int,
        file: EdgeFile | None = None,
    ) -> None:
        self._number = {spot: number for number, spot in enumerate(nodes)}
        self._is_error = np.array([spot.feature == ERROR for spot in nodes] + [False])
        self._names = np.array(names, dtype=object)
        self._n_prompt, self._max_edges, self._seed = n_prompt, max_edges, seed
        self._file = file
        self._parts: dict[str, Part] = {}  # the first seen of every name
        self._found: list[_Found] = []
        self._held = self._computed = 0
        self._size = self._floor = 0.0
        self._out = np.zeros(len(nodes))
        self._flow = InfluenceFlow(nodes)

    def add(self, batches: Sequence[Iterable[EdgeBlock]]) -> None:
        """Every block into the same targets, from each batch of prompts in order.

        Targets come in forward order, the metric first; each once, with all its inputs.
        """
        for blocks in zip(*batches, strict=True):
            self._add(blocks)
        self._flow.close()
        if self._held > 2 * self._max_edges:
            self._keep_strongest()

    def tables(self) -> EdgeTables:
        """Everything kept, strongest first; ties in forward order of targets, then of sources."""
        self._keep_strongest()
        found = self._found[0] if self._found else _NOTHING
        source, target = self._names[found.ends[:, 0]], self._names[found.ends[:, 1]]
        edges = pd.DataFrame(
            {
                "source": source,
                "target": target,
                **dict(zip(EDGE_COLUMNS[2:], found.figures.T.copy(), strict=True)),
            },
            columns=list(EDGE_COLUMNS),
        )
        names = np.array(list(self._parts), dtype=object)
        degrees = pd.array([part.degree for part in self._parts.values()], dtype="Int64")
        has_head = np.array([part.through != "" for part in self._parts.values()], dtype=bool)
        found.part_effects[~has_head[found.part_name], 1:] = np.nan
        parts = pd.DataFrame(
            {
                "source": source[found.part_edge],
                "target": target[found.part_edge],
                "part": names[found.part_name],
                "degree": degrees[found.part_name],
                **dict(zip(PART_COLUMNS[4:], found.part_effects.T.copy(), strict=True)),
            },
            columns=list(PART_COLUMNS),
        )
        share = float(edges["effect"].abs().sum()) / self._size if self._size > 0 else 1.0
        out = dict(zip(self._names.tolist(), self._out.tolist(), strict=False))
        return EdgeTables(edges, parts, self._computed, share, out, self._flow.scores())

    def _add(self, blocks: Sequence[EdgeBlock]) -> None:
        first = blocks[0]
        assert all((b.sources, b.targets) == (first.sources, first.targets) for b in blocks)
        sources = np.array([self._number[spot] for spot in first.sources], dtype=np.int32)
        targets = np.array(
            [self._number[t] for t in first.targets]
            if first.targets is not None
            else [len(self._number)],
            dtype=np.int32,
        )
        # The mean over prompts comes from all batches at once, and intervals from every prompt.
        means = _total(_numpy(block.effects.sum(-1)) for block in blocks) / self._n_prompt
        self._check_finite(means, sources, targets)
        for batch, block in enumerate(blocks):
            self._flow.add(batch, block, sources, targets)
        moves = np.logical_or.reduce([_numpy((block.effects != 0).any(-1)) for block in blocks])
        self._out[sources] += means.sum(0)
        self._computed += int(moves.sum())
        self._size += float(np.abs(means).sum())
        # Below the weakest of `max_edges` that are held, an edge can no longer come among them.
        strong = np.abs(means) >= self._floor
        row, column = np.nonzero(moves if self._file is not None else moves & strong)
        per_prompt = np.concatenate([_numpy(block.effects[row, column]) for block in blocks], 1)
        low, high = bootstrap_interval(per_prompt.T, seed=self._seed)
        direct = _total(_numpy(block.weights.sum(-1)[row, column]) for block in blocks)
        ends = np.stack([sources[column], targets[row]], 1)
        has_slope = ~self._is_error[ends].any(1)
        figures = np.stack(
            [
                means[row, column],
                np.where(has_slope, direct / self._n_prompt, np.nan),
                low,
                high,
                sign_stability(per_prompt.T),
            ],
            1,
        )
        if self._file is not None:
            self._file.write(self._names[ends[:, 0]], self._names[ends[:, 1]], figures)
            kept = strong[row, column]
            ends, figures, row, column = ends[kept], figures[kept], row[kept], column[kept]
        self._found.append(_Found(ends, figures, *self._parts_of(blocks, row, column)))
        self._held += len(ends)

    def _check_finite(
        self,
        means: NDArray[np.float64],
        sources: NDArray[np.int32],
        targets: NDArray[np.int32],
    ) -> None:
        if np.isfinite(means).all():
            return
        row, column = np.argwhere(~np.isfinite(means))[0]
        raise ModelError(
            f"the edge from {self._names[sources[column]]} to {self._names[targets[row]]} is NaN "
            "or infinite; its derivative does not exist on these prompts in this dtype: choose one "
            "with a larger range, or other prompts"
        )

    def _parts_of(
        self, blocks: Sequence[EdgeBlock], row: NDArray[np.intp], column: NDArray[np.intp]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
        """Edge, name, and effect with its shares, of every part of some edges that is not zero."""
        by_name: dict[str, NDArray[np.float64]] = {}
        for block in blocks:
            chosen = _numpy(block.part_effects[:, row, column]) / self._n_prompt
            for part, values in zip(block.parts, chosen, strict=True):
                self._parts.setdefault(part.name, part)
                table = by_name.setdefault(part.name, np.zeros((4, len(row))))
                table[0] += values
                if part.through:
                    table[1 + _SHARES.index(part.through)] += values
        numbers = {name: number for number, name in enumerate(self._parts)}
        edges, named, effects = [_NOTHING.part_edge], [_NOTHING.part_name], [_NOTHING.part_effects]
        for name, table in by_name.items():
            (here,) = np.nonzero(table.any(0))
            edges.append(here.astype(np.int32))
            named.append(np.full(len(here), numbers[name], dtype=np.int32))
            effects.append(table[:, here].T)
        return np.concatenate(edges), np.concatenate(named), np.concatenate(effects)

    def _keep_strongest(self) -> None:
        if not self._found:
            return
        starts = np.cumsum([0, *(len(found.ends) for found in self._found)])
        whole = _Found(
            np.concatenate([found.ends for found in self._found]),
            np.concatenate([found.figures for found in self._found]),
            np.concatenate(
                [
                    found.part_edge + np.int32(start)
                    for found, start in zip(self._found, starts, strict=False)
                ]
            ),
            np.concatenate([found.part_name for found in self._found]),
            np.concatenate([found.part_effects for found in self._found]),
        )
        size = np.abs(whole.figures[:, 0])
        order = np.lexsort((whole.ends[:, 0], whole.ends[:, 1], -size))[: self._max_edges]
        if len(order) == self._max_edges:
            self._floor = float(size[order[-1]])
        self._found = [whole.chosen(order)]
        self._held = len(order)


_NOTHING = _Found(
    np.zeros((0, 2), np.int32),
    np.zeros((0, 5)),
    np.zeros(0, np.int32),
    np.zeros(0, np.int32),
    np.zeros((0, 4)),
)


def _total(arrays: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
    return functools.reduce(np.add, arrays)


def _numpy(tensor: Tensor) -> NDArray[Any]:
    """Float64 where it is a float, on the CPU, out of autograd's sight."""
    tensor = tensor.detach().cpu()  # before it is widened: not every device has float64
    return (tensor.double() if tensor.is_floating_point() else tensor).numpy()
