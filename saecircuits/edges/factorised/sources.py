"""Sources, projected once into the heads of the layers that read them.

A feature writes the same direction at every token, so its projection through a norm and W_V, W_K,
W_Q is one vector per head; what differs from token to token is the norm's scale and, where scales
move, one number:

    W N'_t(d) = (W (w * Cd) - (n_t . d / d_model) W (w * n_t)) / scale_t

Error nodes and token embeddings write a vector of their own at every token.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.nodes.contrast import TOKENS, Contrast
from saecircuits.nodes.interventions import ERROR, Spot
from saecircuits.splicing.anatomy import Attention


@dataclass(frozen=True, eq=False)
class UnitSources:
    """The sources of one place in one unit.

    Attributes:
        prompt, pos: of every token of the unit, in all prompts of the batch.
        features: where the unit's features stand among all features of the place.
        columns: where they stand among the spots.
        whole_column: index among the spots of the unit's error (or token); None if it is no source.
        change: clean minus baseline of each feature at each of the tokens.
    """

    prompt: Int[Tensor, " token"]
    pos: Int[Tensor, " token"]
    features: slice
    columns: slice
    whole_column: int | None
    change: Float[Tensor, "token n_here"]


@dataclass(frozen=True, eq=False)
class Sources:
    """The nodes of one place as what they write.

    Attributes:
        spots: unit by unit, and within a unit the error first and then its features.
        directions: each feature's decoder row.
        whole: clean minus baseline of the error (or the embedding), at every token.
    """

    spots: tuple[Spot, ...]
    directions: Float[Tensor, "n_source d_out"]
    whole: Float[Tensor, "batch pos d_out"]
    units: tuple[UnitSources, ...]

    @cached_property
    def first(self) -> Int[Tensor, " batch"]:
        """The first token of every prompt that any of them is at; one too far where none is."""
        n_prompt, n_pos = self.whole.shape[:2]
        first = torch.full((n_prompt,), n_pos, device=self.whole.device)
        for unit in self.units:
            first.scatter_reduce_(0, unit.prompt, unit.pos, "amin")
        return first


def read_sources(contrast: Contrast, spots: Sequence[Spot], *, token_scale: float) -> Sources:
    """What the nodes of one place write; embeddings and their features as they enter the stream."""
    spots = tuple(sorted(spots))
    place, device = spots[0].place, contrast.model.device
    features = torch.tensor(
        [spot.feature for spot in spots if spot.feature != ERROR], dtype=torch.long, device=device
    )
    if place == TOKENS:
        whole = contrast.change(TOKENS) * token_scale
        directions = whole.new_zeros(0, whole.shape[-1])
    else:
        splice = contrast.model.splices[place]
        scale = token_scale if splice.site.kind == "embed" else 1.0
        whole = contrast.error_change(place) * scale
        directions = splice.dictionary.W_dec[features] * scale
    return Sources(spots, directions, whole, tuple(_units(contrast, spots, like=whole)))


def _units(contrast: Contrast, spots: tuple[Spot, ...], *, like: Tensor) -> Iterator[UnitSources]:
    """The sources unit by unit: neighbours among the spots."""
    unit_of = contrast.units.clean.flatten()
    n_pos = contrast.units.clean.shape[1]
    # Tokens, and below the changes, by unit.
    order, starts = _grouped(unit_of, len(contrast.units))
    changes = None if spots[0].place == TOKENS else _Changes(contrast, spots)
    firsts = [i for i, spot in enumerate(spots) if i == 0 or spot.unit != spots[i - 1].unit]
    n_feature = 0
    for first, stop in pairwise([*firsts, len(spots)]):
        unit = spots[first].unit
        whole_column = first if spots[first].feature == ERROR else None
        columns = slice(first + (whole_column is not None), stop)
        features = slice(n_feature, n_feature + columns.stop - columns.start)
        n_feature = features.stop
        token = order[starts[unit] : starts[unit + 1]]
        change = like.new_zeros(len(token), features.stop - features.start)
        if changes is not None:
            changes.put(change, unit, token, features.start)
        yield UnitSources(token // n_pos, token % n_pos, features, columns, whole_column, change)


class _Changes:
    """The change of every source at every token where it has one."""

    def __init__(self, contrast: Contrast, spots: tuple[Spot, ...]) -> None:
        changes = contrast.feature_change(spots[0].place)
        unit = contrast.units.clean.flatten()[changes.token]
        wanted = torch.tensor(
            [spot.unit * changes.d_sae + spot.feature for spot in spots if spot.feature != ERROR],
            dtype=torch.long,
            device=unit.device,
        )
        key = unit * changes.d_sae + changes.feature
        source = torch.searchsorted(wanted, key).clamp(max=max(len(wanted) - 1, 0))
        kept = (unit >= 0) & (wanted[source] == key) if len(wanted) else unit < -1
        order, self._starts = _grouped(torch.where(kept, unit, -1), len(contrast.units))
        self._token, self._source = changes.token[order], source[order]
        self._value = changes.value[order]

    def put(
        self,
        change: Float[Tensor, "token n_here"],
        unit: int,
        tokens: Int[Tensor, " token"],
        first: int,
    ) -> None:
        """Writes a unit's changes into `change`; its features begin at number `first`."""
        there = slice(self._starts[unit], self._starts[unit + 1])
        row = torch.searchsorted(tokens, self._token[there])
        change[row, self._source[there] - first] = self._value[there]


def _grouped(unit: Int[Tensor, " n"], n_unit: int) -> tuple[Int[Tensor, " n_inside"], list[int]]:
    """Indices of what is in a unit, unit by unit and in order; and where each unit's begin."""
    inside = (unit >= 0).nonzero()[:, 0]
    order = inside[unit[inside].argsort(stable=True)]
    counts = torch.bincount(unit[inside], minlength=n_unit)
    return order, [0, *counts.cumsum(0).tolist()]


@dataclass(frozen=True, eq=False)
class Projected:
    """Sources inside the heads of one layer, by the weights that read them there.

    Attributes:
        directions: features, before the scale.
        normal: `W (w * n_t)` at every token; None where scales are held.
        whole: errors or embeddings at every token, scale included.
    """

    directions: Float[Tensor, "n_source head d_head"]
    normal: Float[Tensor, "batch pos head d_head"] | None
    whole: Float[Tensor, "batch pos head d_head"]


@dataclass(frozen=True, eq=False)
class Inside:
    """Everything about sources inside one attention layer.

    Attributes:
        others: projections for rows at other tokens: by values, and by keys where patterns move.
        own: projections for rows at the source's own token: by queries; None where patterns are
            held.
    """

    attention: Attention
    others: Projected
    own: Projected | None


def project(sources: Sources, attention: Attention) -> Inside:
    """Sources through the layer's norm and weights, once for all rows."""
    norm = attention.norm
    pushed, whole = norm.push(sources.directions), norm.push_each(sources.whole)
    normal = None if norm.is_held else norm.normalized * norm.weight

    def through(W: Tensor) -> Projected:
        side_by_side = W.transpose(0, 1).flatten(1)  # [d_model, head * d_head]

        def read(vectors: Tensor) -> Tensor:
            return (vectors @ side_by_side).unflatten(-1, (len(W), -1))

        return Projected(read(pushed), None if normal is None else read(normal), read(whole))

    own = None if attention.is_held else through(attention.W_Q)
    return Inside(attention, through(attention.read_at_others), own)
