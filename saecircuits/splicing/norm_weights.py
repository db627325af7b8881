"""What norms multiply by, where transformer_lens computes them itself.

It does so wherever a norm's scale is held, by the module's `weight`. Some norms have none, and some
multiply by 1 + weight: what their models do, transformer_lens does only as long as nothing is held.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional

# A norm's own, which is looked at once: what it adds to its weight.
_ADDED: Final[WeakKeyDictionary[nn.Module, float]] = WeakKeyDictionary()


@contextmanager
def own_weights(parts: Iterable[Any]) -> Iterator[None]:
    """Inside: every norm among the bridge's modules has the weight that its model multiplies by."""
    changed = []
    try:
        for part in parts:
            if "hook_scale" in part._modules and (weight := _other_weight(part)) is not None:
                # Set as an attribute, it would go on to the Hugging Face module inside as well.
                vars(part)["weight"] = weight
                changed.append(part)
        yield
    finally:
        for part in changed:
            vars(part).pop("weight", None)


def _other_weight(norm: Any) -> Tensor | None:
    """What a norm multiplies by; None where it is what transformer_lens takes it for."""
    inner = norm.original_component
    weight = getattr(inner, "weight", None)
    if weight is None:
        return torch.ones((), device="cpu")  # a number, which any device takes
    if not isinstance(inner, nn.LayerNorm):
        return None
    if inner not in _ADDED:
        _ADDED[inner] = _added(inner)
    return weight + _ADDED[inner] if _ADDED[inner] else None


@torch.no_grad()
def _added(norm: nn.LayerNorm) -> float:
    """1 for a LayerNorm that multiplies by 1 + weight, as Nemotron's does; otherwise 0."""
    x = torch.linspace(-1, 1, norm.weight.numel(), device=norm.weight.device).to(norm.weight)

    def gap(added: float) -> float:
        plain = functional.layer_norm(
            x, norm.normalized_shape, norm.weight + added, norm.bias, norm.eps
        )
        return float((norm(x) - plain).abs().sum())

    return min((0.0, 1.0), key=gap)
