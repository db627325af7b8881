"""Weights must reproduce what was recorded; what they are compared by, and the refusal."""

import torch
from torch import Tensor

from saecircuits.errors import NotCoveredError as NotCoveredError


def agree(what: str, computed: Tensor, recorded: Tensor, *, dtype: torch.dtype) -> None:
    """Raises NotCoveredError unless the two are equal but for rounding.

    Some models round inside (norms and softmax in float32 whatever the model's dtype); a wrong
    weight or formula is wrong by as much as the values themselves.

    Args:
        dtype: what the model computed in.
    """
    tolerance = max(1e-4, 30 * torch.finfo(dtype).eps)
    size = float(recorded.abs().max()) if recorded.numel() else 0.0
    if computed.shape != recorded.shape:
        raise NotCoveredError(
            f"{what}: {tuple(computed.shape)} computed, {tuple(recorded.shape)} recorded"
        )
    gap = float((computed - recorded).abs().max()) if recorded.numel() else 0.0
    if not gap <= tolerance * max(size, 1e-6):
        raise NotCoveredError(f"{what} is not reproduced: off by {gap:.2g} of {size:.2g}")


def linear_agrees(what: str, computed: Tensor, recorded: Tensor, *, dtype: torch.dtype) -> None:
    """As `agree`, for maps known up to a bias: differences from the first token are compared."""
    if computed.shape != recorded.shape:
        agree(what, computed, recorded, dtype=dtype)
    agree(what, computed - computed[:, :1], recorded - recorded[:, :1], dtype=dtype)
