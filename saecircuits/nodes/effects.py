"""Effects of all nodes, prompt by prompt, and their summary over prompts.

Nodes are numbered so that one sparse matrix `[n_prompt, n_node]` holds them all: place by place,
unit by unit, and within a unit the features followed by the error node.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from saecircuits.nodes.contrast import TOKENS, Contrast
from saecircuits.nodes.estimators import PlaceGradient
from saecircuits.nodes.interventions import ERROR, Spot


@dataclass(frozen=True)
class NodeIndex:
    """The numbering of nodes: (place, unit, feature) to a column and back.

    Attributes:
        n_unit: units of the prompts.
        widths: nodes per unit of every place, tokens first: 1, then d_sae + 1 for each site.
    """

    n_unit: int
    widths: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of columns."""
        return self.n_unit * sum(self.widths)

    def start(self, place: int) -> int:
        """The first column of a place."""
        return self.n_unit * sum(self.widths[: place - TOKENS])

    def columns(self, place: int) -> slice:
        """All columns of a place."""
        return slice(self.start(place), self.start(place) + self.n_unit * self.widths[place + 1])

    def column(self, spot: Spot) -> int:
        """The column of a node."""
        width = self.widths[spot.place - TOKENS]
        feature = width - 1 if spot.feature == ERROR else spot.feature
        return self.start(spot.place) + spot.unit * width + feature

    def spot(self, column: int) -> Spot:
        """The node of a column."""
        for place, width in enumerate(self.widths, start=TOKENS):
            within = column - self.start(place)
            if within < self.n_unit * width:
                unit, feature = divmod(within, width)
                return Spot(place, unit, ERROR if feature == width - 1 else feature)
        raise AssertionError(f"column {column} is beyond the last node, {self.size - 1}")


def node_index(contrast: Contrast) -> NodeIndex:
    """The numbering of all nodes of a contrast."""
    widths = [splice.dictionary.d_sae + 1 for splice in contrast.model.splices]
    return NodeIndex(n_unit=len(contrast.units), widths=(1, *widths))


@dataclass(frozen=True, eq=False)
class NodeEffects:
    """Effects, activations and baselines of every node for every prompt, as sparse rows.

    Attributes:
        index: the numbering of the columns.
        effects: `[n_prompt, n_node]`, in the metric's units.
        activations: clean activation, mean over the unit's tokens; for errors and tokens the norm.
        baselines: the same at the baseline.
    """

    index: NodeIndex
    effects: sparse.csr_matrix
    activations: sparse.csr_matrix
    baselines: sparse.csr_matrix


def node_effects(contrast: Contrast, gradients: dict[int, PlaceGradient]) -> NodeEffects:
    """`E(u) = sum over tokens of (dm/dx . d_u) (a_u clean - a_u baseline)` for every node."""
    index = node_index(contrast)
    blocks: list[tuple[Tensor, Tensor, Tensor]] = []
    for place in contrast.places:
        gradient = gradients[place].gradient
        if place == TOKENS:
            per_token = (gradient * contrast.change(TOKENS)).sum(-1, keepdim=True)
            clean = contrast.clean.tokens.norm(dim=-1, keepdim=True)
            base = contrast.baseline.tokens.norm(dim=-1, keepdim=True)
        else:
            per_token = _site_effects(contrast, place, gradient)
            clean = _activations(contrast.clean.sites[place])
            base = _activations(contrast.baseline.sites[place])
        member = contrast.units.membership.to(per_token)
        count = member.sum(1).clamp(min=1)[..., None]
        blocks.append(
            (
                torch.einsum("bpu,bpn->bun", member, per_token),
                torch.einsum("bpu,bpn->bun", member, clean) / count,
                torch.einsum("bpu,bpn->bun", member, base) / count,
            )
        )
    stacked = [
        sparse.csr_matrix(sparse.hstack([_sparse(block[kind]) for block in blocks]))
        for kind in range(3)
    ]
    return NodeEffects(index, *stacked)


def joined(parts: Iterable[NodeEffects]) -> NodeEffects:
    """The effects of several batches as one, prompts in order."""
    parts = list(parts)
    return NodeEffects(
        parts[0].index,
        sparse.csr_matrix(sparse.vstack([part.effects for part in parts])),
        sparse.csr_matrix(sparse.vstack([part.activations for part in parts])),
        sparse.csr_matrix(sparse.vstack([part.baselines for part in parts])),
    )


def _site_effects(
    contrast: Contrast, place: int, gradient: Tensor
) -> Float[Tensor, "batch pos n_node"]:
    W_dec = contrast.model.splices[place].dictionary.W_dec
    features = (gradient @ W_dec.T) * contrast.feature_change(place)
    error = (gradient * contrast.error_change(place)).sum(-1, keepdim=True)
    return torch.cat([features, error], dim=-1)


def _activations(values) -> Float[Tensor, "batch pos n_node"]:
    return torch.cat([values.features, values.error.norm(dim=-1, keepdim=True)], dim=-1)


def _sparse(block: Float[Tensor, "batch unit n_node"]) -> sparse.csr_matrix:
    return sparse.csr_matrix(block.flatten(1).cpu().double().numpy())


def bootstrap_interval(
    per_prompt: sparse.csr_matrix | NDArray[np.float64],
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentile bootstrap interval of the mean over prompts, for every column.

    Args:
        per_prompt: `[n_prompt, n_column]`.
        level: coverage; 0.95 gives the 2.5% and 97.5% points.

    Returns:
        Low and high, `[n_column]`; NaN throughout for a single prompt, which has no spread.
    """
    table = sparse.csr_matrix(per_prompt)
    n_prompt, n_column = int(table.get_shape()[0]), int(table.get_shape()[1])
    if n_prompt < 2:
        return np.full(n_column, np.nan), np.full(n_column, np.nan)
    counts = np.random.default_rng(seed).multinomial(
        n_prompt, np.full(n_prompt, 1 / n_prompt), size=resamples
    )
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.empty(n_column), np.empty(n_column)
    for start in range(0, n_column, 1024):
        columns = slice(start, min(start + 1024, n_column))
        dense = table[:, columns].toarray()
        means = np.ascontiguousarray(dense.T) @ counts.T / n_prompt  # [column, resample]
        low[columns], high[columns] = np.quantile(means, tails, axis=1)
    return low, high
