"""Effects of all nodes, prompt by prompt, and their summary over prompts.

Nodes are numbered so that one sparse matrix `[n_prompt, n_node]` holds them all: place by place,
unit by unit, and within a unit the features followed by the error node.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from saecircuits.nodes.contrast import TOKENS, Contrast
from saecircuits.nodes.estimators import PlaceGradient
from saecircuits.nodes.interventions import ERROR, Spot
from saecircuits.splicing import Activations, Dictionary

# What is zero but for rounding, as a share of the largest of its kind.
ROUNDING: Final = 1e-6


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

    def units(self, columns: NDArray[np.int64]) -> NDArray[np.int64]:
        """The unit of every column."""
        starts = np.array([self.start(place) for place in range(TOKENS, len(self.widths) - 1)])
        place = np.searchsorted(starts, columns, side="right") - 1
        return (columns - starts[place]) // np.array(self.widths)[place]

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
    """`E(u) = sum over tokens of (dm/dx . d_u) (a_u clean - a_u baseline)` for every node.

    Of a feature that writes at several places, `dm/dx . d_u` is the sum over these.
    """
    index = node_index(contrast)
    tables = _Tables(contrast, index), _Tables(contrast, index), _Tables(contrast, index)
    for place in contrast.places:
        gradient = gradients[place].gradient
        if place == TOKENS:
            tables[0].add(place, (gradient * contrast.change(TOKENS)).sum(-1))
            tables[1].add(place, contrast.clean.tokens.norm(dim=-1))
            tables[2].add(place, contrast.baseline.tokens.norm(dim=-1))
            continue
        change = contrast.feature_change(place)
        dictionary = contrast.model.splices[place].dictionary
        of_features = change.weighted(_along(change, gradient, dictionary))
        error = contrast.error_change(place)
        own = gradient[..., : error.shape[-1]]
        tables[0].add(place, (own * error).sum(-1), of_features)
        for table, side in zip(tables[1:], (contrast.clean, contrast.baseline), strict=True):
            site = side.sites[place]
            table.add(place, site.error.norm(dim=-1), site.activations)
    return NodeEffects(index, tables[0].summed(), *(table.mean() for table in tables[1:]))


def joined(parts: Iterable[NodeEffects]) -> NodeEffects:
    """The effects of several batches as one, prompts in order."""
    parts = list(parts)
    return NodeEffects(
        parts[0].index,
        sparse.csr_matrix(sparse.vstack([part.effects for part in parts])),
        sparse.csr_matrix(sparse.vstack([part.activations for part in parts])),
        sparse.csr_matrix(sparse.vstack([part.baselines for part in parts])),
    )


class _Tables:
    """Numbers of features and errors at tokens, gathered into `[n_prompt, n_node]` by unit."""

    def __init__(self, contrast: Contrast, index: NodeIndex) -> None:
        unit = contrast.units.clean.cpu().numpy()
        self._index, self._n_prompt, n_pos = index, *unit.shape
        self._unit, self._prompt = unit.ravel(), np.repeat(np.arange(len(unit)), n_pos)
        self._rows: list[NDArray[np.int64]] = []
        self._columns: list[NDArray[np.int64]] = []
        self._values: list[NDArray[np.float64]] = []

    def add(
        self,
        place: int,
        whole: Float[Tensor, "batch pos"],
        activations: Activations | None = None,
    ) -> None:
        """What belongs to a place: its error (or token) at every token, and its features."""
        width = self._index.widths[place - TOKENS]
        tokens = np.arange(len(self._unit))
        self._add(place, tokens, np.full(len(tokens), width - 1), whole.flatten())
        if activations is not None:
            token, feature = (x.cpu().numpy() for x in (activations.token, activations.feature))
            self._add(place, token, feature, activations.value)

    def _add(
        self, place: int, token: NDArray[np.int64], feature: NDArray[np.int64], values: Tensor
    ) -> None:
        width, unit = self._index.widths[place - TOKENS], self._unit[token]
        inside = unit >= 0
        self._rows.append(self._prompt[token][inside])
        columns = self._index.start(place) + unit * width + feature
        self._columns.append(columns[inside])
        self._values.append(values.detach().cpu().double().numpy()[inside])

    def summed(self) -> sparse.csr_matrix:
        """Sums over the tokens of each unit."""
        rows, columns, values = map(np.concatenate, (self._rows, self._columns, self._values))
        shape = (self._n_prompt, self._index.size)
        table = sparse.csr_matrix((values, (rows, columns)), shape=shape)
        table.sum_duplicates()
        table.eliminate_zeros()
        return table

    def mean(self) -> sparse.csr_matrix:
        """Means over the tokens of each unit."""
        table, n_unit = self.summed().tocoo(), self._index.n_unit
        inside = self._unit >= 0
        counts = np.zeros((self._n_prompt, n_unit))
        np.add.at(counts, (self._prompt[inside], self._unit[inside]), 1)
        table.data /= counts[table.row, self._index.units(table.col.astype(np.int64))]
        return sparse.csr_matrix(table)


def _along(
    change: Activations, gradient: Float[Tensor, "batch pos _"], dictionary: Dictionary
) -> Float[Tensor, " n_entry"]:
    """`dm/dx . d_u` for every entry, a few at a time."""
    by_token = gradient.flatten(0, 1)
    together = max(1, 2**22 // dictionary.width)
    pairs = zip(change.token.split(together), change.feature.split(together), strict=True)
    along = (by_token[token] * dictionary.directions(feature) for token, feature in pairs)
    return torch.cat([each.sum(-1) for each in along])


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
    counts = resample_counts(n_prompt, resamples=resamples, seed=seed)
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.empty(n_column), np.empty(n_column)
    for start in range(0, n_column, 1024):
        columns = slice(start, min(start + 1024, n_column))
        dense = table[:, columns].toarray()
        means = np.ascontiguousarray(dense.T) @ counts.T / n_prompt  # [column, resample]
        low[columns], high[columns] = np.quantile(means, tails, axis=1)
    return low, high


def sign_stability(
    per_prompt: sparse.csr_matrix | NDArray[np.float64],
) -> NDArray[np.float64]:
    """Of the prompts whose value is not zero, the share whose sign is that of the mean.

    1 where all prompts agree, about 0.5 where the sign is as often one as the other. A value counts
    as zero up to a millionth of the column's largest, which is rounding.

    Args:
        per_prompt: `[n_prompt, n_column]`.

    Returns:
        `[n_column]`; NaN where every value, or the mean, is zero.
    """
    is_dense = isinstance(per_prompt, np.ndarray)
    shape = per_prompt.shape if is_dense else per_prompt.get_shape()
    found = np.full(int(shape[1]), np.nan)
    for start in range(0, len(found), 1024):
        columns = slice(start, min(start + 1024, len(found)))
        values = per_prompt[:, columns] if is_dense else per_prompt[:, columns].toarray()
        size = np.abs(values)
        counts = size > ROUNDING * size.max(axis=0, initial=0.0)
        own = np.sign(values.sum(axis=0))
        same = (counts & (np.sign(values) == own)).sum(axis=0)
        total = counts.sum(axis=0)
        np.divide(same, total, out=found[columns], where=(total > 0) & (own != 0))
    return found


def resample_counts(n_prompt: int, *, resamples: int, seed: int = 0) -> NDArray[np.int64]:
    """`[resample, prompt]`: how often each prompt is in each bootstrap resample."""
    return np.random.default_rng(seed).multinomial(
        n_prompt, np.full(n_prompt, 1 / n_prompt), size=resamples
    )
