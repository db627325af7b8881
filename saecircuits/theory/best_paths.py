"""The k strongest paths of an acyclic graph, exactly.

A path `u0 -> u1 -> ... -> uK = end` has the effect `start[u0] w1 w2 ... wK`, the product of its
links' weights and of the value with which it begins. The strongest is the one of largest |effect|.

The bound. `best[u]`, the largest |product of weights| over all ways from u to the end, is
`max over links (u -> v, w) of |w| best[v]`, with `best[end] = 1`: one pass over the links,
backwards. It bounds every completion of a path that has come to u, and one completion attains it.

The search. The set of all paths is cut into parts; a part holds all paths that begin alike up to
some node u and leave it by the j-th best of its links or a later one, links ordered by
`|w| best[v]`. The strongest path of a part is known without search: the beginning, the j-th link,
and from there always the best link; its |effect| is `|beginning| |w| best[v]`. A heap holds the
parts by this number.
Taking out the first one gives a path, and leaves of its part:

    the paths that leave u by the (j+1)-th link or a later one,
    for every node x further along the path: those that agree with it up to x and leave x by
    the second link or a later one.

These parts are disjoint and together hold every other path of the part (each differs from the path
taken at one first node). So the parts in the heap always make up all paths that are not yet taken,
and the first of the heap is the strongest of these: paths come out in the order of |effect|, each
once, and the first k are the k strongest. (Lawler 1972 for the partition; the bound is that of A*
with a perfect heuristic.) Up to rounding: products that differ by less may change places.

Each part in the heap holds a path of its own as strong as its bound, so of n parts all but the k
strongest can be dropped. Taking a path of L links puts at most L parts in.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from saecircuits.errors import InputError, UnknownNameError

Sign: TypeAlias = Literal["either", "positive", "negative"]


@dataclass(frozen=True)
class FoundPath:
    """A path and what it carries.

    Attributes:
        effect: signed: the start's value times the weights of the links.
        links: numbers of the links passed, first to last; never empty.
    """

    effect: float
    links: tuple[int, ...]


def strongest_paths(
    source: Int[np.ndarray, " n_link"],
    target: Int[np.ndarray, " n_link"],
    weight: Float[np.ndarray, " n_link"],
    start: Float[np.ndarray, " n_node"],
    *,
    end: int,
    k: int,
    sign: str = "either",
) -> list[FoundPath]:
    """The k paths of largest |effect| from any start to `end`, strongest first.

    Fewer than k if there are no more whose effect is not zero. Links may be parallel: two nodes may
    be joined by several, and a path says which it took. With a sign, the k strongest of that sign:
    the search then runs over pairs of a node and the sign of the weights still to come.

    Args:
        source, target: nodes of every link, numbered in forward order: `source < target`.
        weight: of every link, signed.
        start: the value with which a path may begin at each node; 0 where none begins.
        end: where paths end; the first time they come there, as they cannot come back.
        sign: `either`, `positive` or `negative`: of the effects looked for.

    Raises:
        InputError: k below 1, links that do not point forward, or numbers that are not finite,
            given or found.
        UnknownNameError: no such sign.
    """
    check_search(k, sign)
    if len(source) and not (source < target).all():
        raise InputError("links must point forward: number nodes so that every source < target")
    if not (np.isfinite(weight).all() and np.isfinite(start).all()):
        raise InputError("weights and starts must be finite numbers")
    n_node = len(start)
    if sign == "either":
        found = _Search(source, target, weight, start, end=end).first(k)
        links: NDArray[np.int64] = np.arange(len(source))
    else:
        # Node 2u + s: at u, with s = 1 if what was passed up to here is negative.
        flips = (weight < 0).astype(np.int64)
        links = np.tile(np.arange(len(source)), 2)
        signed_start = np.zeros(2 * n_node)
        signed_start[2 * np.arange(n_node) + (start < 0)] = np.abs(start)
        found = _Search(
            np.concatenate([2 * source, 2 * source + 1]),
            np.concatenate([2 * target + flips, 2 * target + 1 - flips]),
            np.tile(weight, 2),
            signed_start,
            end=2 * end + (sign == "negative"),
        ).first(k)
    paths = []
    for numbers in found:
        path = tuple(int(links[number]) for number in numbers)
        with np.errstate(over="ignore", invalid="ignore"):
            effect = float(start[source[path[0]]] * np.prod(weight[list(path)]))
        if not np.isfinite(effect):
            raise InputError(f"the effect of a path of {len(path)} links is too large for a number")
        paths.append(FoundPath(effect, path))
    return sorted(paths, key=lambda path: -abs(path.effect))


def check_search(k: int, sign: str) -> None:
    """Refuses a search that cannot be meant; see `strongest_paths`."""
    if k < 1:
        raise InputError(f"{k} paths were asked for; ask for at least 1")
    if sign not in get_args(Sign):
        raise UnknownNameError("sign", sign, get_args(Sign))


class _Chain(NamedTuple):
    """Links passed, the last of them first; shared between paths that begin alike."""

    link: int
    before: "_Chain | None"


class _Search:
    """One graph, its bounds as logarithms, and the links of every node in the order of theirs."""

    def __init__(
        self,
        source: Int[np.ndarray, " n_link"],
        target: Int[np.ndarray, " n_link"],
        weight: Float[np.ndarray, " n_link"],
        start: Float[np.ndarray, " n_node"],
        *,
        end: int,
    ) -> None:
        order = np.argsort(source, kind="stable")
        self._link, self._target = order, target[order]
        self._size = _log_size(weight[order])
        self._first = np.searchsorted(source[order], np.arange(len(start) + 1)).tolist()
        self._end = end
        self._best = self._bounds(len(start))
        self._ranked: dict[int, list[_Link]] = {}
        begin = _log_size(start)
        bounds = begin + self._best
        bounds[end] = -np.inf  # a path has at least one link
        rank = np.argsort(-bounds, kind="stable")
        rank = rank[bounds[rank] > -np.inf]
        self._begins = list(zip(begin[rank].tolist(), rank.tolist(), strict=True))

    def _bounds(self, n_node: int) -> NDArray[np.float64]:
        best = np.full(n_node, -np.inf)
        best[self._end] = 0.0
        for node in range(self._end - 1, -1, -1):
            here = slice(self._first[node], self._first[node + 1])
            if here.start < here.stop:
                best[node] = (self._size[here] + best[self._target[here]]).max()
        return best

    def _links_of(self, node: int) -> "list[_Link]":
        """The links that lead on to the end, best first."""
        if node == self._end:
            return []
        if node not in self._ranked:
            here = slice(self._first[node], self._first[node + 1])
            target, size = self._target[here], self._size[here]
            bound = size + self._best[target]
            rank = np.argsort(-bound, kind="stable")
            rank = rank[bound[rank] > -np.inf]
            columns = (bound[rank], size[rank], self._link[here][rank], target[rank])
            self._ranked[node] = list(zip(*(column.tolist() for column in columns), strict=True))
        return self._ranked[node]

    def first(self, k: int) -> list[Sequence[int]]:
        """The links of the k strongest paths, strongest first."""
        kept = _Kept(k)
        for size, node in self._begins:
            kept.offer(size + self._links_of(node)[0][0], size, node, 0, None)
            if len(kept) == k:
                break  # those that follow begin no stronger path
        found: list[Sequence[int]] = []
        while len(found) < k and (part := kept.take()) is not None:
            size, node, rank, chain = part
            links = self._links_of(node)
            if rank + 1 < len(links):
                kept.offer(size + links[rank + 1][0], size, node, rank + 1, chain)
            _, step, link, node = links[rank]
            size, chain = size + step, _Chain(link, chain)
            while node != self._end:
                links = self._links_of(node)
                if len(links) > 1 and size + links[1][0] > kept.floor:
                    kept.offer(size + links[1][0], size, node, 1, chain)
                _, step, link, node = links[0]
                size, chain = size + step, _Chain(link, chain)
            found.append(_unrolled(chain))
        return found


# Logarithms of bound and |weight|, number of the link, its target.
_Link: TypeAlias = tuple[float, float, int, int]


class _Kept:
    """The parts in the heap: the k strongest of all that were offered.

    Attributes:
        floor: what a part must exceed to be kept.
    """

    def __init__(self, k: int) -> None:
        self._k, self._count, self.floor = k, 0, -np.inf
        # (-bound, number, |beginning|, node, rank, chain); numbers keep ties in order.
        self._parts: list[tuple[float, int, float, int, int, _Chain | None]] = []
        self._strongest: list[float] = []  # bounds of the k strongest offered, least first

    def __len__(self) -> int:
        return len(self._parts)

    def offer(self, bound: float, size: float, node: int, rank: int, chain: _Chain | None) -> None:
        """Keeps a part, unless k parts at least as strong were offered before."""
        if bound <= self.floor:
            return
        heapq.heappush(self._strongest, bound)
        if len(self._strongest) > self._k:
            heapq.heappop(self._strongest)
        if len(self._strongest) == self._k:
            self.floor = self._strongest[0]
        self._count += 1
        heapq.heappush(self._parts, (-bound, self._count, size, node, rank, chain))

    def take(self) -> tuple[float, int, int, _Chain | None] | None:
        """The strongest part; None if there is none left."""
        return heapq.heappop(self._parts)[2:] if self._parts else None


def _log_size(values: Float[np.ndarray, " n"]) -> NDArray[np.float64]:
    """Logarithms of sizes: products of many weights neither overflow nor vanish."""
    with np.errstate(divide="ignore"):
        return np.log(np.abs(values))


def _unrolled(chain: _Chain | None) -> list[int]:
    links = []
    while chain is not None:
        links.append(chain.link)
        chain = chain.before
    return links[::-1]
