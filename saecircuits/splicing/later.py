"""Decoders into later places: where a feature writes beside the place that it is counted at.

Decoders of a cross-layer transcoder are most of it: of 26 layers with 16,384 features each they are
thirteen times the encoders. They stay where they lie, in a mapped file or in memory, and rows of
the features in use alone are read.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.errors import DictionaryError

# Numbers that are looked at together where every row is gone through.
_AT_ONCE: Final = 2**24


@dataclass(frozen=True, eq=False)
class Later:
    """Directions of a dictionary's features at places behind its own.

    Attributes:
        hooks: the tensors that are written there, in the model's order.
        weights: of every feature a row for each of them, on any device and in any dtype.

    Raises:
        DictionaryError: rows for another number of places.
    """

    hooks: tuple[str, ...]
    weights: Float[Tensor, "d_sae n_later d_out"]

    def __post_init__(self) -> None:
        if self.weights.shape[1] != len(self.hooks):
            raise DictionaryError(
                f"decoders into {len(self.hooks)} later places have rows for "
                f"{self.weights.shape[1]}; give one row of a feature for each place"
            )

    def rows(self, features: Int[Tensor, " n_node"], number: int) -> Float[Tensor, "n_node d_out"]:
        """The directions of some features at one of the places, where the weights are.

        Raises:
            DictionaryError: a row that is NaN or infinite.
        """
        rows = self.weights[features.to(self.weights.device), number]
        if not bool(rows.isfinite().all()):
            bad = features[~rows.isfinite().all(-1).to(features.device)].tolist()
            raise DictionaryError(
                f"the decoder into {self.hooks[number]!r} has rows that are NaN or infinite "
                f"(feature {bad[0]}, {len(bad)} of {len(features)} asked for); use a dictionary "
                "whose training did not diverge, or fetch it again"
            )
        return rows

    def chunks(self) -> Iterator[Float[Tensor, "n_row n_later d_out"]]:
        """All rows, a few at a time."""
        n_later, d_out = self.weights.shape[1:]
        yield from self.weights.split(max(1, _AT_ONCE // max(1, n_later * d_out)))

    def add_to(self, sha: "hashlib._Hash") -> None:
        """Goes through hooks and weights for a digest."""
        sha.update(" ".join(self.hooks).encode())
        for rows in self.chunks():
            raw = rows.detach().cpu().contiguous().flatten().view(torch.uint8)
            sha.update(raw.numpy().tobytes())
