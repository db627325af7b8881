"""Rows meet sources: unit by unit one matrix product, all tokens, prompts and heads at once.

    E[v, u] = sum over rows r of v, tokens t of u's unit:   weight_r (left_rt . right_u) change_ut

`left` is what of a row reaches the token t, `right` what the source writes there: in the stream at
the row's own token, inside the heads of an attention layer at that and all earlier ones. Everything
is linear in `left`, so where many rows belong to one target they are added up before the product.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.edges.factorised.attention import Crossing, reaching
from saecircuits.edges.factorised.rows import Rows
from saecircuits.edges.factorised.sources import Inside, Projected, Sources, UnitSources

# What a row counts for: in effects, and in plain weights.
EFFECT, WEIGHT = 0, 1
# Numbers on the left side of one product (16 MB of float32).
_AT_ONCE = 2**22

Left = Callable[[Tensor, Tensor], Float[Tensor, "way n_pair head wide"]]


@dataclass(frozen=True, eq=False)
class _There:
    """What the sources of one unit write, as rows meet it.

    Attributes:
        directions: of features, the same at every token.
        whole: of the error or token.
        scale: what features are divided by; None for no norm.
        normal: direction in which the norm's scale acts, divided by the scale; None where scales
            are held.
        along: how much each feature changes the scale.
    """

    directions: Float[Tensor, "n_here head wide"]
    whole: Float[Tensor, "token head wide"]
    scale: Float[Tensor, "token 1"] | None = None
    normal: Float[Tensor, "token head wide"] | None = None
    along: Float[Tensor, "token n_here"] | None = None

    def together(self) -> "_There":
        """Heads side by side, one longer product."""
        return _There(
            self.directions.flatten(1)[:, None],
            self.whole.flatten(1)[:, None],
            self.scale,
            None if self.normal is None else self.normal.flatten(1)[:, None],
            self.along,
        )

    def products(
        self, left: Float[Tensor, "way head n_left wide"], token: Int[Tensor, " n_left"]
    ) -> Float[Tensor, "way head n_left n_here"]:
        """Left sides, each at a token, times what each feature writes there."""
        # y = x / s with s = sqrt(mean x^2 + eps): along d ds = (y . d) / n, dy = (d - y ds) / s.
        divided = left if self.scale is None else left / self.scale[token]
        products = divided @ self.directions.permute(1, 2, 0)
        if self.normal is not None and self.along is not None:
            # `along` is ds of each feature, `normal` is y / s as the heads read it.
            share = (left * self.normal[token].transpose(0, 1)).sum(-1, keepdim=True)
            products.addcmul_(share, self.along[token], value=-1)
        return products

    def whole_products(
        self, left: Float[Tensor, "way head n_left wide"], token: Int[Tensor, " n_left"]
    ) -> Float[Tensor, "way head n_left"]:
        """The same with the error or token, which is one source."""
        return (left * self.whole[token].transpose(0, 1)).sum(-1)


class Meeting:
    """Sums of what rows and sources have in common, by target and source.

    Args:
        n_part: how many components are told apart; 0 for none.
    """

    def __init__(self, rows: Rows, sources: Sources, *, n_part: int) -> None:
        self._rows, self._sources = rows, sources
        # Rows of one target and prompt are neighbours: a cell is that target in that prompt.
        self._cells, self._cell = rows.cell.unique_consecutive(return_inverse=True)
        self._target = self._cells // rows.n_prompt
        n_source = len(sources.spots)
        self._sums = sources.whole.new_zeros(2, len(self._cells), n_source)
        self._parts = sources.whole.new_zeros(n_part, rows.n_target, n_source)

    @property
    def sums(self) -> Float[Tensor, "2 n_target n_source batch"]:
        """Effects and plain weights, prompt by prompt."""
        rows = self._rows
        by_cell = self._sums.new_zeros(2, rows.n_target * rows.n_prompt, self._sums.shape[2])
        by_cell[:, self._cells] = self._sums
        return by_cell.unflatten(1, (rows.n_target, rows.n_prompt)).transpose(2, 3)

    @property
    def parts(self) -> Float[Tensor, "n_part n_target n_source"]:
        """Effects by component, summed over prompts."""
        return self._parts

    def add_direct(
        self, stream: Float[Tensor, "n_row d_out"], *, part: int | None = None, n_head: int = 1
    ) -> None:
        """Rows meet the sources of their own token in the tensor that these write.

        Args:
            part: number of the component that they met through.
            n_head: how many components of neighbouring numbers the tensor holds side by side.
        """
        by_head = (n_head, -1)
        directions = self._sources.directions.unflatten(-1, by_head)
        whole = self._sources.whole.unflatten(-1, by_head)
        for unit in self._sources.units:
            there = _There(directions[unit.features], whole[unit.prompt, unit.pos])
            row, token = self._pairs(unit, is_own=True)
            self._meet(
                lambda row, token: stream[row].unflatten(-1, by_head)[None],
                (row, token), unit, there, part,
            )  # fmt: skip

    def add_crossing(
        self, crossing: Crossing, inside: Inside, *, part: int | None = None, n_way: int = 1
    ) -> None:
        """Rows meet the sources of their own and of earlier tokens inside the heads.

        Args:
            part: number of the first of the layer's components: each head's values, and where
                patterns move each head's keys and each head's queries; then the same for the next
                way.
            n_way: by how many ways rows came into the heads.
        """
        attention, rows = inside.attention, self._rows
        n_others = inside.others.directions.shape[1]
        step = n_others + (0 if inside.own is None else inside.own.directions.shape[1])
        ways = len(rows.pos) * torch.arange(n_way, device=rows.pos.device)[:, None]

        def others(row: Tensor, at: Tensor) -> Tensor:
            prompt, pos, at = (x.repeat(n_way) for x in (rows.prompt[row], rows.pos[row], at))
            crossed = (row + ways).flatten()
            left = reaching(attention, crossing, crossed, (prompt, pos), at=at)
            return left.unflatten(0, (n_way, -1))

        def own(row: Tensor, at: Tensor) -> Tensor:
            assert crossing.from_keys is not None, "patterns move"
            return crossing.from_keys[(row + ways).flatten()].unflatten(0, (n_way, -1))

        for unit in self._sources.units:
            there = self._there(unit, inside.others, inside)
            self._meet(others, self._pairs(unit, is_own=False), unit, there, part, step=step)
            if inside.own is not None:
                queries = None if part is None else part + n_others
                there = self._there(unit, inside.own, inside)
                self._meet(own, self._pairs(unit, is_own=True), unit, there, queries, step=step)

    def add_gathered(
        self,
        left: Float[Tensor, "n_way_row many_heads d_head"],
        inside: Inside,
        *,
        part: int | None = None,
        n_way: int = 1,
    ) -> None:
        """As `add_crossing`, for rows at every token that they reach (`spread.gather`)."""
        ways = len(self._rows.pos) * torch.arange(n_way, device=left.device)[:, None]
        first = 0
        for projected in (inside.others, inside.own):
            if projected is None:
                continue
            heads = slice(first, first + projected.directions.shape[1])
            for unit in self._sources.units:
                self._meet(
                    lambda row, at, heads=heads: left[(row + ways).flatten(), heads].unflatten(
                        0, (n_way, -1)
                    ),
                    self._pairs(unit, is_own=True),
                    unit,
                    self._there(unit, projected, inside),
                    None if part is None else part + first,
                    step=left.shape[1],
                )
            first = heads.stop

    def _pairs(
        self, unit: UnitSources, *, is_own: bool
    ) -> tuple[Int[Tensor, " n_pair"], Int[Tensor, " n_pair"]]:
        """Rows, and the tokens of the unit, by number, that they stand at or after."""
        rows = self._rows
        pos = rows.pos[:, None]
        # Attention is causal: what a head gives at a token comes from there and from before.
        reached = pos == unit.pos if is_own else pos >= unit.pos
        row, token = (reached & (rows.prompt[:, None] == unit.prompt)).nonzero().unbind(1)
        return row, token

    def _there(self, unit: UnitSources, projected: Projected, inside: Inside) -> _There:
        """The sources of a unit as they are read inside the heads."""
        norm, at = inside.attention.norm, (unit.prompt, unit.pos)
        scale, whole = norm.scale[at], projected.whole[at]
        directions = projected.directions[unit.features]
        if projected.normal is None:
            return _There(directions, whole, scale)
        written = self._sources.directions[unit.features]
        along = norm.normalized[at] @ written.T / written.shape[-1]
        return _There(directions, whole, scale, projected.normal[at] / scale[..., None], along)

    def _meet(
        self,
        left_of: Left,
        pairs: tuple[Int[Tensor, " n_pair"], Int[Tensor, " n_pair"]],
        unit: UnitSources,
        there: _There,
        part: int | None,
        *,
        step: int = 0,
    ) -> None:
        """What some rows have in common with the sources of a unit.

        Args:
            step: from the number of a component to that of the same by the next way.
        """
        together = max(1, _AT_ONCE // (there.whole.shape[1] * there.whole.shape[2]))
        for row, token in zip(*(x.split(together) for x in pairs), strict=True):
            if not len(row):
                continue
            left = left_of(row, unit.pos[token])
            if part is None:
                left, met = left.flatten(2)[:, :, None], there.together()
            else:
                met = there
            self._add(left.transpose(1, 2), row, token, unit, met, part, step)

    def _add(
        self,
        left: Float[Tensor, "way head n_pair wide"],
        row: Int[Tensor, " n_pair"],
        token: Int[Tensor, " n_pair"],
        unit: UnitSources,
        there: _There,
        part: int | None,
        step: int,
    ) -> None:
        for side in self._sides(left, row, token, len(unit.prompt)):
            features = there.products(side.left, side.token)
            whole = None
            if unit.whole_column is not None:
                whole = there.whole_products(side.left, side.token)
            for kind, weight in side.counts:
                # An effect is weight times what the source changes by; a weight is per unit of it.
                change = unit.change[side.token] if kind == EFFECT else None
                if weight is not None:
                    change = weight[:, None] if change is None else change * weight[:, None]
                total = features.sum((0, 1))
                _add_rows(
                    self._sums[kind][None, :, unit.columns],
                    side.cell,
                    (total if change is None else total * change)[None],
                )
                if whole is not None:
                    total = whole.sum((0, 1))
                    _add_rows(
                        self._sums[kind][None, :, unit.whole_column],
                        side.cell,
                        (total if weight is None else total * weight)[None],
                    )
                if part is not None and change is not None and kind == EFFECT:
                    self._add_parts(features * change, whole, side, weight, unit, part, step)

    def _add_parts(
        self,
        features: Float[Tensor, "way head n_left n_here"],
        whole: Float[Tensor, "way head n_left"] | None,
        side: "_Side",
        weight: Float[Tensor, " n_left"] | None,
        unit: UnitSources,
        part: int,
        step: int,
    ) -> None:
        target = self._target[side.cell]
        for way in range(len(features)):
            first = part + way * step
            parts = self._parts[first : first + features.shape[1]]
            _add_rows(parts[..., unit.columns], target, features[way])
            if whole is not None:
                counted = whole[way] if weight is None else whole[way] * weight
                _add_rows(parts[..., unit.whole_column], target, counted)

    def _sides(
        self,
        left: Float[Tensor, "way head n_pair wide"],
        row: Int[Tensor, " n_pair"],
        token: Int[Tensor, " n_pair"],
        n_token: int,
    ) -> Iterator["_Side"]:
        """The rows as they are, or for each of the two sums those of one target added up."""
        rows, cell = self._rows, self._cell[row]
        weights = (rows.effect_weight[row], rows.plain_weight[row])
        # Products are linear in the left side: of one cell at one token, one product of the sum.
        # To sum costs about as much as a product, so it pays from three rows a key on.
        keys, place = (cell * n_token + token).unique(return_inverse=True)
        if len(row) <= 2 * len(keys):
            yield _Side(left, token, cell, tuple(enumerate(weights)))
            return
        for kind, weight in enumerate(weights):
            merged = left.new_zeros(*left.shape[:2], len(keys), left.shape[3])
            merged.index_add_(2, place, left * weight[:, None])
            yield _Side(merged, keys % n_token, keys // n_token, ((kind, None),))


@dataclass(frozen=True, eq=False)
class _Side:
    """Left sides of a product, and what each counts for.

    Attributes:
        token: of the unit, at which each meets the sources.
        cell: which target of which prompt each belongs to, among those that have rows.
        counts: per sum (EFFECT, WEIGHT) what a left side counts for there; None for one each.
    """

    left: Float[Tensor, "way head n_left wide"]
    token: Int[Tensor, " n_left"]
    cell: Int[Tensor, " n_left"]
    counts: tuple[tuple[int, Float[Tensor, " n_left"] | None], ...]


def _add_rows(sums: Tensor, row: Int[Tensor, " n_row"], values: Tensor) -> None:
    """Adds rows of values to those rows of sums (dimension 1); neighbours all at once."""
    first = int(row[0])
    if bool((row == torch.arange(first, first + len(row), device=row.device)).all()):
        sums[:, first : first + len(row)] += values
    else:
        sums.index_add_(1, row, values)
