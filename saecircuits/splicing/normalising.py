"""Dictionaries that normalise every token before they encode it: what their features then are.

With `c = x - mean(x)` (or x itself, where nothing is taken off) the token's *size* is

    layer_norm               size = |c| / sqrt(d_in - 1),   z = c / (size + 1e-5)
    constant_norm_rescale    size = |c| / sqrt(d_in),       z = c / size

and features are a gate of `(z - shift) @ W_enc + b_enc`. An autoencoder turns its result back into
the stream's units, so a feature here is *in the units of the stream*: what the trainer's encode
gives, times the token's size. It then writes the same direction at every token, `a_j d_j`, like a
feature of any other dictionary. Beside its features such an autoencoder writes `size * b_dec +
mean`; no constant, it is no part of the reconstruction here, but of the error node. A transcoder
writes another tensor, which no token's size has anything to do with; its features keep their unit.

Mean and size are recomputed in every run, and every derivative goes through them, under every
linearization. With `n = c / (size * spare)`, the derivative of the size, and `beta_j` what feature
j is beside `z . e_j`, the row of an active feature j at a token is

    autoencoder    size / (size + eps) e_j + (beta_j + eps c . e_j / (size + eps)^2) n
    transcoder     e_j / (size + eps) - c . e_j / (size + eps)^2 n

less its mean where the token's mean was taken off. At a token whose entries are all equal, where
`n` is 0 / 0, it counts as 0.
"""

from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Normalisation:
    """What is done to a token before it is encoded.

    Attributes:
        name: in sae_lens's words.
        takes_mean_off: whether the mean over d_in is taken off first.
        spare: 1 where the size is a standard deviation of a sample, as sae_lens has it; else 0.
        epsilon: added to the size before it divides.
        is_undone: whether what is written is turned back: an autoencoder's, not a transcoder's.
    """

    name: str
    takes_mean_off: bool
    spare: int
    epsilon: float
    is_undone: bool

    def apply(
        self, x: Float[Tensor, "*lead d_in"]
    ) -> tuple[Float[Tensor, "*lead d_in"], Float[Tensor, "*lead 1"]]:
        """`z`, and the size of every token; step by step as sae_lens, whose rounding decides which
        features TopK keeps."""
        centred = self._centred(x)
        if self.spare:
            # torch warns of a standard deviation of no tokens.
            size = centred.std(dim=-1, keepdim=True) if x.numel() else x[..., :1]
            return centred / (size + self.epsilon), size
        length = centred.norm(dim=-1, keepdim=True)
        is_none = length == 0
        # What has no length is 0 however it is measured, and no derivative may divide by it.
        rescale = x.shape[-1] ** 0.5 / (length + is_none)
        return centred * rescale, torch.where(is_none, 0.0, 1 / rescale)

    def unit(self, x: Float[Tensor, "*lead d_in"]) -> Float[Tensor, "*lead 1"]:
        """What a feature at these tokens is multiplied by to be in the stream's units."""
        _, size = self.apply(x)
        return size if self.is_undone else torch.ones_like(size)

    def pull_back(
        self,
        rows: Float[Tensor, "*lead d_in"],
        constants: Float[Tensor, "*lead 1"],
        x: Float[Tensor, "*lead d_in"],
    ) -> Float[Tensor, "*lead d_in"]:
        """Vector-Jacobian product to what is read.

        Args:
            rows: of what is `z . row + constant` at every token; sums over features are such too.
            x: what is read there.
        """
        centred, (_, size) = self._centred(x), self.apply(x)
        spread = size + self.epsilon
        spread = spread + (spread == 0)
        inner = (centred * rows).sum(-1, keepdim=True) / spread**2
        # A token of equal entries has no direction in which its size changes first.
        by_size = centred / (size * (x.shape[-1] - self.spare) + (size == 0))
        if self.is_undone:
            out = size / spread * rows + (constants + self.epsilon * inner) * by_size
        else:
            out = rows / spread - inner * by_size
        return out - out.mean(-1, keepdim=True) if self.takes_mean_off else out

    def _centred(self, x: Tensor) -> Tensor:
        return x - x.mean(dim=-1, keepdim=True) if self.takes_mean_off else x


LAYER_NORM: Final = "layer_norm"
CONSTANT_NORM: Final = "constant_norm_rescale"


def normalisation(
    name: str, *, is_transcoder: bool = False, takes_mean_off: bool = False
) -> Normalisation:
    """The normalisation of this name (`LAYER_NORM`, `CONSTANT_NORM`).

    Args:
        takes_mean_off: the length is that of what is left without the mean; always so for
            `LAYER_NORM`.
    """
    if name == LAYER_NORM:
        return Normalisation(name, True, 1, 1e-5, not is_transcoder)
    return Normalisation(name, takes_mean_off, 0, 0.0, not is_transcoder)
