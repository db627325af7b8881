"""Sources, projected once into the heads of the layers that read them.

A feature writes the same direction at every token, so its projection through a norm and W_V, W_K,
W_Q is one vector per head; what differs from token to token is the norm's scale and, where scales
move, one number:

    W N'_t(d) = (W (w * Cd) - (n_t . d / d_model) W (w * n_t)) / scale_t

Error nodes and token embeddings write a vector of their own at every token.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.edges.factorised.attention import Attention
from saecircuits.nodes.contrast import TOKENS, Contrast
from saecircuits.nodes.interventions import ERROR, Spot


@dataclass(frozen=True, eq=False)
class Sources:
    """The nodes of one place as what they write.

    Attributes:
        columns: index of each feature among the spots.
        units: each feature's unit.
        directions: each feature's decoder row.
        change: clean minus baseline activation of each feature, at every token.
        whole: clean minus baseline of the error (or the embedding), at every token.
        column_of_unit: index among the spots of each unit's error node; -1 where it is no source.
        unit_of: each token's unit; -1 outside of all.
    """

    spots: tuple[Spot, ...]
    columns: Int[Tensor, " n_source"]
    units: Int[Tensor, " n_source"]
    directions: Float[Tensor, "n_source d_out"]
    change: Float[Tensor, "batch pos n_source"]
    whole: Float[Tensor, "batch pos d_out"]
    column_of_unit: Int[Tensor, " unit"]
    unit_of: Int[Tensor, "batch pos"]

    @cached_property
    def features_at(self) -> tuple[Int[Tensor, " n_here"], ...]:
        """Position by position: which features' units hold the token there in some prompt."""
        return tuple(
            torch.isin(self.units, here[here >= 0].unique()).nonzero()[:, 0]
            for here in self.unit_of.unbind(1)
        )


def read_sources(contrast: Contrast, spots: tuple[Spot, ...], *, token_scale: float) -> Sources:
    """What the nodes of one place write; embeddings as they enter the stream."""
    place = spots[0].place
    device = contrast.model.device
    columns = [index for index, spot in enumerate(spots) if spot.feature != ERROR]
    features = torch.tensor(
        [spots[index].feature for index in columns], dtype=torch.long, device=device
    )
    column_of_unit = torch.full((len(contrast.units),), -1)
    for index, spot in enumerate(spots):
        if spot.feature == ERROR:
            column_of_unit[spot.unit] = index
    if place == TOKENS:
        whole = contrast.change(TOKENS) * token_scale
        directions, change = whole.new_zeros(0, whole.shape[-1]), whole[..., :0]
    else:
        whole = contrast.error_change(place)
        directions = contrast.model.splices[place].dictionary.W_dec[features]
        change = contrast.feature_change(place)[..., features]
    return Sources(
        spots=spots,
        columns=torch.tensor(columns, dtype=torch.long, device=device),
        units=torch.tensor(
            [spots[index].unit for index in columns], dtype=torch.long, device=device
        ),
        directions=directions,
        change=change,
        whole=whole,
        column_of_unit=column_of_unit.to(device),
        unit_of=contrast.units.clean,
    )


@dataclass(frozen=True, eq=False)
class Projected:
    """Sources inside the heads of one layer, for one use there (value and key, or query).

    Attributes:
        directions: features, before the scale.
        normal: `W (w * n_t)` at every token; None where scales are held.
        whole: errors or embeddings at every token, scale included.
    """

    directions: Float[Tensor, "n_source head wide"]
    normal: Float[Tensor, "batch pos head wide"] | None
    whole: Float[Tensor, "batch pos head wide"]


@dataclass(frozen=True, eq=False)
class Inside:
    """Everything about sources inside one attention layer.

    Attributes:
        along: `n_t . d / d_model` of every feature; None where scales are held.
        others: projections for rows at other tokens: values, and keys where patterns move.
        own: projections for rows at the source's own token: queries; None where patterns are held.
    """

    attention: Attention
    along: Float[Tensor, "batch pos n_source"] | None
    others: Projected
    own: Projected | None


def project(sources: Sources, attention: Attention) -> Inside:
    """Sources through the layer's norm and weights, once for all rows."""
    norm = attention.norm
    pushed, whole = norm.push(sources.directions), norm.push_each(sources.whole)
    normal = None if norm.is_held else norm.normalized * norm.weight

    def through(W: Tensor) -> Projected:
        return Projected(
            torch.einsum("sm,hmd->shd", pushed, W),
            None if normal is None else torch.einsum("btm,hmd->bthd", normal, W),
            torch.einsum("btm,hmd->bthd", whole, W),
        )

    along = norm.along(sources.directions)
    own = None if attention.is_held else through(attention.W_Q)
    return Inside(attention, along, through(attention.read_at_others), own)
