"""LayerNorm and RMSNorm at a recorded run, as linear maps."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.splicing.anatomy.recording import Recording
from saecircuits.splicing.hooking import widened
from saecircuits.splicing.part_hooks import NormHooks


@dataclass(frozen=True, eq=False)
class Norm:
    """LayerNorm or RMSNorm at every token of a run, of the stream or of heads one by one.

    Attributes:
        weight: all ones where there is no norm.
        scale: what was divided by: standard deviation or root mean square.
        normalized: the result before the weight.
        is_held: True where the scale is a constant of the operator.
        bias: what is added after the weight; None where there is no norm.
    """

    weight: Float[Tensor, "*head width"]
    scale: Float[Tensor, "batch pos *head 1"]
    normalized: Float[Tensor, "batch pos *head width"]
    is_rms: bool
    is_held: bool
    bias: Float[Tensor, "*head width"] | None = None

    def pull_back(
        self,
        cotangent: Float[Tensor, "n_row *head width"],
        prompt: Int[Tensor, " n_row"],
        pos: Int[Tensor, " n_row"],
        *,
        with_weight: bool = True,
    ) -> Float[Tensor, "n_row *head width"]:
        """Vector-Jacobian product at each row's own token; optionally from before the weight."""
        out = cotangent * self.weight if with_weight else cotangent
        if not self.is_held:
            normalized = self.normalized[prompt, pos]
            out = out - normalized * (normalized * out).mean(-1, keepdim=True)
        if not self.is_rms:
            out = out - out.mean(-1, keepdim=True)
        return out / self.scale[prompt, pos]

    def push(self, vectors: Float[Tensor, "*lead d_model"]) -> Float[Tensor, "*lead d_model"]:
        """The part of the derivative that is the same at every token: centred, weighted."""
        centred = vectors if self.is_rms else vectors - vectors.mean(-1, keepdim=True)
        return centred * self.weight

    def along(
        self, vectors: Float[Tensor, "n_source d_model"]
    ) -> Float[Tensor, "batch pos n_source"] | None:
        """How much of each direction changes the scale: `n . d / d_model`; None if it is held."""
        if self.is_held:
            return None
        return self.normalized @ vectors.T / vectors.shape[-1]

    def push_each(
        self, vectors: Float[Tensor, "*lead batch pos d_model"]
    ) -> Float[Tensor, "*lead batch pos d_model"]:
        """The derivative at every token along a vector of its own."""
        centred = vectors if self.is_rms else vectors - vectors.mean(-1, keepdim=True)
        if not self.is_held:
            inner = (self.normalized * vectors).mean(-1, keepdim=True)
            centred = centred - self.normalized * inner
        return centred * self.weight / self.scale


def no_norm(stream: Float[Tensor, "batch pos d_model"]) -> Norm:
    """The identity, for components that read the stream as it is."""
    ones = torch.ones_like(stream)
    return Norm(ones[0, 0], ones[..., :1], stream, is_rms=True, is_held=True)


def read_norm(recording: Recording, hooks: NormHooks, *, reads: Tensor) -> Norm:
    """A norm of the run, checked against what it is said to read and what it gave.

    Args:
        reads: `[batch, pos, d_model]`, or `[batch, pos, head, d_head]` for a norm of every head.
    """
    module = recording.module(hooks.module)
    scale, normalized, out = (
        tensor.transpose(1, 2) if tensor.ndim == 4 else tensor
        for tensor in (recording[hooks.scale], recording[hooks.normalized], recording[hooks.out])
    )
    is_rms = bool(module.uses_rms_norm)
    centred = reads if is_rms else reads - reads.mean(-1, keepdim=True)
    recording.agree(f"{hooks.module} (normalised)", centred / scale, normalized)
    weight = _weight(module, normalized, out)
    weighted = normalized * weight
    recording.linear_agrees(f"{hooks.module} (weight)", weighted, out)
    weight = weight.expand(normalized.shape[2:])
    return Norm(
        weight, scale, normalized, is_rms=is_rms, is_held=recording.is_held,
        bias=(out - weighted)[0, 0],
    )  # fmt: skip


def _weight(module: Any, normalized: Tensor, out: Tensor) -> Tensor:
    """What a norm multiplies by: its weight, or 1 + it in some models, or 1 where it has none."""
    own = getattr(module, "weight", None)
    if own is None:
        return normalized.new_ones(normalized.shape[-1])
    own = widened(own.detach())
    change = out - out[:, :1]

    def gap(weight: Tensor) -> float:
        found = normalized * weight
        return float((found - found[:, :1] - change).abs().sum())

    return min((own, 1 + own), key=gap)
