"""All pairs of terms of one query, a block of query terms at a time; the strongest are kept.

With A terms active at a token there are A^2 pairs at every key: of a dictionary of 16,384 features
as many as 10^8, and a table of them takes hundreds of bytes each. Here a block of query terms meets
all keys, its sums are added up, and of its pairs those stay that are among the strongest so far.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.errors import InputError
from saecircuits.memory_limit import readable
from saecircuits.theory.scores import pair_contrasts, pair_scores

POSITION = "position"
# A row of the table of pairs, with the copies that sorting it takes; measured.
_ROW_BYTES = 400


@dataclass(frozen=True, eq=False)
class KeyTerms:
    """The terms that the query sees, at all keys.

    Attributes:
        vectors: their parts of the keys.
        pos: the key of each.
        kind: which term it is, whichever key it is at.
        n_kinds: how many there are.
    """

    vectors: Float[Tensor, "n_key_term d_head"]
    pos: Int[Tensor, " n_key_term"]
    kind: Int[Tensor, " n_key_term"]
    n_kinds: int


@dataclass(frozen=True, eq=False)
class Chosen:
    """Pairs, in the order of query terms and of key terms within them."""

    query: Int[Tensor, " n"]
    kind: Int[Tensor, " n"]
    score: Float[Tensor, " n"]
    contrast: Float[Tensor, " n"]

    def strongest(self, count: int) -> "Chosen":
        """The `count` of largest |contrast|, those that come first among equals, in order."""
        if len(self.query) <= count:
            return self
        size = self.contrast.abs()
        least = size.topk(count).values[-1]
        above, equal = (size > least).nonzero()[:, 0], (size == least).nonzero()[:, 0]
        kept = torch.cat([above, equal[: count - len(above)]]).sort().values
        return Chosen(self.query[kept], self.kind[kept], self.score[kept], self.contrast[kept])

    def then(self, other: "Chosen") -> "Chosen":
        """These, and then others."""
        return Chosen(*(torch.cat([vars(self)[name], vars(other)[name]]) for name in vars(self)))


@dataclass(eq=False)
class PairSums:
    """What all pairs add up to.

    Attributes:
        scores: at every key.
        by_query, by_kind: score and contrast of every term.
        total: of all contrasts, in float64.
        count: pairs with a score or a contrast.
    """

    scores: Float[Tensor, " pos"]
    by_query: Float[Tensor, "n_query_term 2"]
    by_kind: Float[Tensor, "n_kinds 2"]
    total: float = 0.0
    count: int = 0
    chosen: Chosen | None = field(default=None)


def sum_pairs(
    queries: Float[Tensor, "n_query_term d_head"],
    keys: KeyTerms,
    weights: Float[Tensor, " pos"],
    *,
    scale: float,
    key: int,
    top: int | None,
    memory_limit: int,
) -> PairSums:
    """The sums of all pairs, and the strongest of them, each at the chosen key.

    Args:
        weights: of the mean over keys that contrasts are less of.
        key: the chosen one.
        top: how many pairs are kept; None for all.
        memory_limit: bytes for everything that is made here.

    Raises:
        InputError: a table of all pairs does not fit.
    """
    found = PairSums(
        scores=torch.zeros_like(weights),
        by_query=queries.new_zeros(len(queries), 2),
        by_kind=queries.new_zeros(keys.n_kinds, 2),
    )
    at_key = (keys.pos == key).to(queries)
    for start, block in _blocks(queries, keys, memory_limit):
        pairs = pair_scores(block, keys.vectors, scale)
        found.scores.index_add_(0, keys.pos, pairs.sum(0))
        contrasts = pair_contrasts(pairs, keys.pos, keys.kind, weights, key, keys.n_kinds)
        scores = torch.zeros_like(contrasts).index_add_(1, keys.kind, pairs.mul_(at_key))
        rows = slice(start, start + len(block))
        found.by_query[rows] = torch.stack([scores.sum(1), contrasts.sum(1)], 1)
        found.by_kind += torch.stack([scores.sum(0), contrasts.sum(0)], 1)
        row, kind = ((scores != 0) | (contrasts != 0)).nonzero().unbind(1)
        here = Chosen(row + start, kind, scores[row, kind], contrasts[row, kind])
        found.count += len(row)
        found.total += float(np.sum(here.contrast.cpu().double().numpy()))
        if top is None:
            _check_room(found.count, memory_limit)
        else:
            here = here.strongest(top)
        found.chosen = here if found.chosen is None else found.chosen.then(here)
        if top is not None:
            found.chosen = found.chosen.strongest(top)
    return found


def strongest_products(
    left: Float[Tensor, "n_left d"],
    right: Float[Tensor, "n_right d"],
    *,
    top: int | None,
    memory_limit: int,
) -> Chosen:
    """The products of all rows of one with all of the other that are not 0, or the strongest.

    `Chosen.query` and `kind` number the rows, and score and contrast are both the product.

    Raises:
        InputError: `top` below 1, or more products than fit.
    """
    check_top(top)
    together = max(1, memory_limit // 2 // ((left.element_size() + 48) * len(right)))
    none = left.new_zeros(0)
    found = Chosen(none.long(), none.long(), none, none)
    for start in range(0, max(1, len(left)), together):
        products = left[start : start + together] @ right.T
        row, column = (products != 0).nonzero().unbind(1)
        here = products[row, column]
        found = found.then(Chosen(row + start, column, here, here))
        if top is None:
            _check_room(len(found.query), memory_limit)
        else:
            found = found.strongest(top)
    return found


def check_top(top: int | None) -> None:
    """Raises InputError unless `top` is a number of rows, or None for all."""
    if top is not None and top < 1:
        raise InputError(f"top is {top}; it must be at least 1, or None for all")


def _blocks(
    queries: Tensor, keys: KeyTerms, memory_limit: int
) -> Iterator[tuple[int, Float[Tensor, "block d_head"]]]:
    """Query terms, as many at one time as fit into half of the limit."""
    # Pairs, what they are weighted to, and two sums by kind with the places of what is in them.
    each = queries.element_size() * 3 * len(keys.pos) + keys.n_kinds * 72
    together = max(1, memory_limit // 2 // each)
    for start in range(0, len(queries), together):
        yield start, queries[start : start + together]


def _check_room(count: int, memory_limit: int) -> None:
    if count * _ROW_BYTES > memory_limit:
        raise InputError(
            f"a table of all pairs has {count:,} and more, about {readable(count * _ROW_BYTES)}, "
            f"and memory_limit is {readable(memory_limit)}; ask for the strongest (top=1000; of "
            "attention by scores_of_head and Question), or give a larger memory_limit"
        )


def tables_of(
    found: PairSums,
    query_names: Sequence[str],
    key_names: Sequence[str],
    *,
    position: tuple[Tensor, Tensor] | None,
    top: int | None,
) -> dict[str, Any]:
    """`pairs`, `n_pairs`, `query_terms` and `key_terms` of `HeadScores`.

    Args:
        query_names, key_names: of the terms, by number.
        position: score and contrast of ALiBi at the chosen key, a pair of its own; None without.
        top: how many pairs are wanted.
    """
    assert found.chosen is not None
    figures = torch.stack([found.chosen.score, found.chosen.contrast], 1)
    pairs = _table(
        {
            "query_term": _named(query_names, found.chosen.query),
            "key_term": _named(key_names, found.chosen.kind),
        },
        figures,
    )
    by_query = _table({"query_term": query_names}, found.by_query)
    by_kind = _table({"key_term": key_names}, found.by_kind)
    tables, total = [pairs, by_query, by_kind], found.total
    if position is not None:
        row = [float(figure) for figure in position]
        total += row[1]
        for table in tables:
            ends = [POSITION] * (len(table.columns) - len(row))
            table.loc[len(table)] = [*ends, *row]
    for table in tables:
        table["share"] = table["contrast"] / total
    by_name = [
        _strongest_first(table[table["score"].ne(0) | table["contrast"].ne(0)].sort_values(name))
        for table, name in zip(tables[1:], ("query_term", "key_term"), strict=True)
    ]
    return {
        "pairs": _strongest_first(pairs).head(len(pairs) if top is None else top),
        "n_pairs": found.count + (position is not None),
        "query_terms": by_name[0],
        "key_terms": by_name[1],
    }


def _named(names: Sequence[str], numbers: Int[Tensor, " n"]) -> list[str]:
    places: list[int] = numbers.tolist()
    return [names[place] for place in places]


def _table(ends: Mapping[str, Sequence[str]], figures: Float[Tensor, "n 2"]) -> pd.DataFrame:
    score, contrast = figures.unbind(1)
    return pd.DataFrame({**ends, "score": score.tolist(), "contrast": contrast.tolist()})


def _strongest_first(table: pd.DataFrame) -> pd.DataFrame:
    order = table["contrast"].abs().sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)
