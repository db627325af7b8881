"""The k strongest paths where a node stands for many: several prompts, and spans of tokens.

A node has *cells*: one for every prompt and token at which it stands. A link u -> v is a matrix
`W_vu` from u's cells to v's, and a path's effect is

    readout . W_K ... W_2 W_1 start[u0]

with `start[u0]` what the cells of u0 begin with and `readout` the weight of the end's cells: the
mean over prompts of the sum over all ways from token to token within the path. Nothing is averaged
before it is multiplied. With one cell to a node this is `theory.best_paths`.

The bound. For every cell c of a node u,

    best[c] = max over links (u -> v) of  sum over cells c' of v of |W_vu[c', c]| best[c']

with `best = |readout|` at the end. A path that has brought x to the cells of u can be completed to
no more than `sum over c of |x_c| best[c]`: by the triangle inequality a completion by the links
l1, l2, ... has at most `|readout| |W_lK| ... |W_l1| |x|`, a sum over cells of |x_c| times a number
that is at most best[c], link by link. The bound never grows along a path (the first link takes
`|W x| <= |W| |x|`), and at the end it is at least |effect|.

The search is best-first: beginnings of paths lie in a heap by their bounds; those that have reached
the end lie there by their |effect|. When one of the latter is first in the heap, nothing left in it
can become stronger, so it is the next strongest path. The first k are the k strongest, exactly (up
to rounding); the bound is not attained where prompts or tokens take different ways, and then only
more beginnings are looked at. `examined` says how many.
"""

import heapq
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from saecircuits.theory.best_paths import FoundPath, check_search
from saecircuits.theory.total_effects import adjacency

# Bounds and effects that differ by less than this share are the same number, differently rounded.
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class PooledGraph:
    """Nodes of many cells, and links that are matrices between their cells.

    Attributes:
        cell_node: the node of every cell, ascending; nodes are numbered in forward order.
        link_source, link_target: nodes of every link; links may be parallel.
        entry_link: the link that every entry belongs to, ascending.
        entry_row, entry_column: cells of every entry: `W[row, column]`, row in the link's target.
        entry_weight: its value.
    """

    n_node: int
    cell_node: Int[np.ndarray, " n_cell"]
    link_source: Int[np.ndarray, " n_link"]
    link_target: Int[np.ndarray, " n_link"]
    entry_link: Int[np.ndarray, " n_entry"]
    entry_row: Int[np.ndarray, " n_entry"]
    entry_column: Int[np.ndarray, " n_entry"]
    entry_weight: Float[np.ndarray, " n_entry"]

    @property
    def n_cell(self) -> int:
        """The number of cells."""
        return len(self.cell_node)

    @cached_property
    def A(self) -> sparse.csr_matrix:
        """All links as one matrix `A[target cell, source cell]`."""
        return adjacency(self.entry_column, self.entry_row, self.entry_weight, self.n_cell)

    @cached_property
    def cell_starts(self) -> Int[np.ndarray, " n_node_and_one"]:
        """Where the cells of every node begin, and the number of all cells."""
        return np.searchsorted(self.cell_node, np.arange(self.n_node + 1))


@dataclass(frozen=True)
class PooledPaths:
    """What was found.

    Attributes:
        paths: strongest first.
        examined: how many beginnings of paths were followed.
        is_complete: False if the search was ended at `most`: the paths are the strongest all the
            same, but fewer than k and than there are.
    """

    paths: tuple[FoundPath, ...]
    examined: int
    is_complete: bool


def strongest_pooled_paths(
    graph: PooledGraph,
    start: Float[np.ndarray, " n_cell"],
    readout: Float[np.ndarray, " n_cell"],
    *,
    end: int,
    k: int,
    sign: str = "either",
    most: int = 100_000,
) -> PooledPaths:
    """The k paths of largest |effect| from any start to `end`, strongest first.

    Args:
        start: the values with which a path may begin, at the cells of the nodes where it may.
        readout: weights of the end's cells; 0 at all other cells.
        sign: `either`, `positive` or `negative`: of the effects looked for.
        most: beginnings of paths that are followed before the search ends.

    Raises:
        InputError: k below 1.
        UnknownNameError: no such sign.
    """
    check_search(k, sign)
    search = _Search(graph, readout, end)
    return search.run(start, k=k, sign=sign, most=most)


@dataclass(frozen=True, eq=False)
class _Out:
    """The links that leave a node, as one matrix onto slots: one for every link and cell reached.

    Attributes:
        column: of every entry, the cell within the node.
        slot: of every entry.
        slot_cell: the cell of each slot; slots of a link are neighbours.
        link_start: the first slot of each link.
        links, targets: number and target node of each.
        bound: best[cell] of each slot.
    """

    column: np.ndarray
    weight: np.ndarray
    slot: np.ndarray
    slot_cell: np.ndarray
    link_start: np.ndarray
    links: np.ndarray
    targets: np.ndarray
    bound: np.ndarray


class _Search:
    def __init__(self, graph: PooledGraph, readout: np.ndarray, end: int) -> None:
        self._graph, self._readout, self._end = graph, readout, end
        self._best = np.abs(readout)
        order = np.lexsort((graph.entry_row, graph.entry_link, graph.link_source[graph.entry_link]))
        first = np.searchsorted(
            graph.link_source[graph.entry_link[order]], np.arange(graph.n_node + 1)
        )
        self._out: dict[int, _Out] = {}
        for node in range(end - 1, -1, -1):
            here = order[first[node] : first[node + 1]]
            if len(here):
                self._prepare(node, here)

    def _prepare(self, node: int, entries: np.ndarray) -> None:
        """The links of a node that may lead to the end, and the bounds of its cells."""
        graph = self._graph
        entries = entries[self._best[graph.entry_row[entries]] > 0]
        if not len(entries):
            return
        link, row = graph.entry_link[entries], graph.entry_row[entries]
        weight = graph.entry_weight[entries]
        begin = graph.cell_starts[node]
        n_cell = graph.cell_starts[node + 1] - begin
        column = graph.entry_column[entries] - begin
        is_new_link = np.r_[True, link[1:] != link[:-1]]
        is_new = is_new_link | np.r_[True, row[1:] != row[:-1]]
        slot = np.cumsum(is_new) - 1
        links = link[is_new_link]
        bound = self._best[row[is_new]]
        # Per link and cell of this node: what a unit there can come to.
        per_link = np.bincount(
            (np.cumsum(is_new_link) - 1) * n_cell + column,
            weights=np.abs(weight) * bound[slot],
            minlength=len(links) * n_cell,
        )
        self._best[begin : begin + n_cell] = per_link.reshape(len(links), n_cell).max(0)
        self._out[node] = _Out(
            column,
            weight,
            slot,
            row[is_new],
            slot[is_new_link],
            links,
            graph.link_target[links],
            bound,
        )

    def run(self, start: np.ndarray, *, k: int, sign: str, most: int) -> PooledPaths:
        """Best-first; see the module."""
        starts = self._graph.cell_starts
        # (-bound, number, effect or None, node, values at its cells, links passed)
        heap: list[tuple[float, int, float | None, int, np.ndarray | None, tuple[int, ...]]] = []
        floor = _Floor(k)
        count = 0
        for node in self._out:
            values = start[starts[node] : starts[node + 1]]
            bound = float(np.abs(values) @ self._best[starts[node] : starts[node + 1]])
            if bound > 0:
                count += 1
                heap.append((-bound, count, None, node, values, ()))
        heapq.heapify(heap)
        found: list[FoundPath] = []
        examined = 0
        while heap and len(found) < k:
            _, _, effect, node, values, links = heapq.heappop(heap)
            if effect is not None:
                found.append(FoundPath(effect, links))
                continue
            assert values is not None, "only finished paths have none"
            if examined == most:
                return PooledPaths(tuple(found), examined, False)
            examined += 1
            out = self._out[node]
            reached = np.bincount(
                out.slot, weights=out.weight * values[out.column], minlength=len(out.slot_cell)
            )
            bounds = np.add.reduceat(np.abs(reached) * out.bound, out.link_start)
            stops = np.r_[out.link_start[1:], len(reached)]
            for child in np.nonzero(bounds > floor.value)[0].tolist():
                slots = slice(out.link_start[child], stops[child])
                target, passed = int(out.targets[child]), (*links, int(out.links[child]))
                count += 1
                if target == self._end:
                    found_effect = float(reached[slots] @ self._readout[out.slot_cell[slots]])
                    if _fits(found_effect, sign) and floor.offer(abs(found_effect)):
                        size = abs(found_effect)
                        heapq.heappush(heap, (-size, count, found_effect, target, None, passed))
                else:
                    there = np.zeros(starts[target + 1] - starts[target])
                    there[out.slot_cell[slots] - starts[target]] = reached[slots]
                    bound = float(bounds[child]) * (1 + _ROUNDING)
                    heapq.heappush(heap, (-bound, count, None, target, there, passed))
        return PooledPaths(tuple(found), examined, True)


class _Floor:
    """The k-th largest |effect| of the finished paths: what cannot exceed it need not be kept."""

    def __init__(self, k: int) -> None:
        self._k = k
        self._largest: list[float] = []

    @property
    def value(self) -> float:
        """0 until k paths are finished."""
        return self._largest[0] if len(self._largest) == self._k else 0.0

    def offer(self, size: float) -> bool:
        """Counts a finished path; False if k are as strong."""
        if len(self._largest) < self._k:
            heapq.heappush(self._largest, size)
            return True
        return size > heapq.heappushpop(self._largest, size)


def _fits(effect: float, sign: str) -> bool:
    if sign == "either":
        return effect != 0
    return effect > 0 if sign == "positive" else effect < 0
