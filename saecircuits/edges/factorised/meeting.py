"""Rows meet sources: one matrix product per token of the sources, all prompts and heads at once.

    E[v, u] = sum over rows r of v, tokens t of u's unit:   weight_r (left_r(t) . right_u) change_ut

`left` is what of a row reaches the token t, `right` what the source writes there: in the stream at
the row's own token, inside the heads of an attention layer at that and all earlier ones. Everything
is linear in `left`, so where many rows belong to one target they are added up before the product.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.edges.factorised.attention import Crossing
from saecircuits.edges.factorised.rows import Rows
from saecircuits.edges.factorised.sources import Inside, Projected, Sources


@dataclass(frozen=True, eq=False)
class _Side:
    """Left sides of a product, and what each counts for.

    Attributes:
        cell: which target of which prompt each belongs to, among those that have rows.
        counts: per sum (0 effects, 1 weights) what a left side counts for there.
    """

    left: Float[Tensor, "n_left head wide"]
    prompt: Int[Tensor, " n_left"]
    cell: Int[Tensor, " n_left"]
    counts: tuple[tuple[int, Float[Tensor, " n_left"]], ...]


class Meeting:
    """Sums of what rows and sources have in common, by head, target and source.

    Args:
        n_head: how many heads are told apart; 1 for sums over all of them.
    """

    def __init__(self, rows: Rows, sources: Sources, *, n_head: int) -> None:
        self._rows, self._sources, self._n_head = rows, sources, n_head
        # Rows of one target and prompt are neighbours.
        self._cells, self._cell = rows.cell.unique_consecutive(return_inverse=True)
        self._prompt_of_cell = self._cells % rows.n_prompt
        # Two products, for effects and for weights, in place of one for every row.
        self._is_merged = len(rows.cell) > 2 * len(self._cells)
        shape = (n_head, len(self._cells), len(sources.spots))
        self._sums = tuple(sources.whole.new_zeros(shape) for _ in range(2))

    @property
    def sums(self) -> tuple[Tensor, Tensor]:
        """Effects and weights, each `[head, target * batch, source]`."""
        n_cell = self._rows.n_target * self._rows.n_prompt
        effects, weights = (
            part.new_zeros(len(part), n_cell, part.shape[-1]).index_copy_(1, self._cells, part)
            for part in self._sums
        )
        return effects, weights

    def add_direct(self, stream: Float[Tensor, "n_row d_out"]) -> None:
        """Rows meet the sources of their own token in the tensor that these write."""
        by_head = (self._n_head, -1)
        directions = self._sources.directions.unflatten(-1, by_head)
        whole = self._sources.whole.unflatten(-1, by_head)
        for pos in range(whole.shape[1]):
            row = (self._rows.pos == pos).nonzero()[:, 0]
            for side in self._sides(stream[row].unflatten(-1, by_head), row):
                self._add_whole(side, whole[:, pos], pos)
                right = directions[self._sources.features_at[pos]]
                self._add(side, _product(side.left, right), pos)

    def add_crossing(self, crossing: Crossing, inside: Inside) -> None:
        """Rows meet the sources of their own and of earlier tokens inside the heads."""
        attention, rows = inside.attention, self._rows
        for pos in range(self._sources.unit_of.shape[1]):
            row = (rows.pos >= pos).nonzero()[:, 0]
            at = rows.pos[row]
            left = attention.reaching(crossing.rows(row), rows.prompt[row], at, at=pos)
            self._meet(left, row, pos, inside, inside.others)
            if inside.own is not None and crossing.from_keys is not None:
                own = row[at == pos]
                self._meet(crossing.from_keys[own], own, pos, inside, inside.own)

    def _meet(
        self,
        left: Float[Tensor, "n_row head wide"],
        row: Int[Tensor, " n_row"],
        pos: int,
        inside: Inside,
        projected: Projected,
    ) -> None:
        features, scale = self._sources.features_at[pos], inside.attention.norm.scale[:, pos]
        right, whole = self._heads(projected.directions[features]), projected.whole[:, pos]
        for side in self._sides(self._heads(left), row):
            self._add_whole(side, self._heads(whole), pos)
            prompt = side.prompt
            products = _product(side.left / scale[prompt][..., None], right)
            if inside.along is not None and projected.normal is not None:
                normal = self._heads(projected.normal[:, pos] / scale[..., None])
                share = (side.left * normal[prompt]).sum(-1)  # [left, head]
                products -= share.T[..., None] * inside.along[:, pos][:, features][prompt]
            self._add(side, products, pos)

    def _heads(self, by_head: Float[Tensor, "n head wide"]) -> Float[Tensor, "n group wider"]:
        """Heads side by side, one longer product, where they need not be told apart."""
        return by_head.flatten(1)[:, None] if self._n_head == 1 else by_head

    def _sides(
        self, left: Float[Tensor, "n_row head wide"], row: Int[Tensor, " n_row"]
    ) -> Iterator[_Side]:
        """The rows as they are, or for each of the two sums those of one target added up."""
        if not len(row):
            return
        rows = self._rows
        weights = (rows.effect_weight[row], rows.plain_weight[row])
        if not self._is_merged:
            yield _Side(left, rows.prompt[row], self._cell[row], tuple(enumerate(weights)))
            return
        for kind, weight in enumerate(weights):
            merged = left.new_zeros(len(self._cells), *left.shape[1:])
            merged.index_add_(0, self._cell[row], left * weight[:, None, None])
            ones = torch.ones_like(merged[:, 0, 0])
            each = torch.arange(len(merged), device=row.device)
            yield _Side(merged, self._prompt_of_cell, each, ((kind, ones),))

    def _add(self, side: _Side, products: Float[Tensor, "head n_left n_here"], pos: int) -> None:
        sources = self._sources
        features = sources.features_at[pos]
        if not len(features):
            return
        is_inside = sources.unit_of[:, pos, None] == sources.units[features]
        change = torch.where(is_inside, sources.change[:, pos][:, features], 0.0)
        by_prompt = (change, is_inside.to(change))
        for kind, weight in side.counts:
            counted = products * (weight[:, None] * by_prompt[kind][side.prompt])
            sums = self._sums[kind]
            by_cell = sums.new_zeros(*sums.shape[:2], len(features))
            sums[:, :, sources.columns[features]] += by_cell.index_add_(1, side.cell, counted)

    def _add_whole(self, side: _Side, whole: Float[Tensor, "batch head wide"], pos: int) -> None:
        """The share of errors or embeddings: one source per prompt at each token."""
        unit = self._sources.unit_of[side.prompt, pos]
        column = self._sources.column_of_unit[unit]
        chosen = ((unit >= 0) & (column >= 0)).nonzero()[:, 0]
        products = (side.left[chosen] * whole[side.prompt[chosen]]).sum(-1)
        for kind, weight in side.counts:
            for head, sums in enumerate(self._sums[kind]):
                counted = products[:, head] * weight[chosen]
                sums.index_put_((side.cell[chosen], column[chosen]), counted, accumulate=True)


def _product(
    left: Float[Tensor, "n_left head wide"], right: Float[Tensor, "n_here head wide"]
) -> Float[Tensor, "head n_left n_here"]:
    return left.transpose(0, 1) @ right.permute(1, 2, 0)
