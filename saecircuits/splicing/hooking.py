"""Hooks on a bridge for the time of a `with` block, gone afterwards also after an exception.

`TransformerBridge.hooks` looks every name up anew through all its aliases, which costs a small
model more than its forward pass; here a hook point is found once.

Hooks see float32 where the model computes in less (bfloat16, float16), and what they return is
rounded to what the model has there: all that this package computes is in float32 or above.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor

# (name of a hook point, function of its tensor): what the function returns takes the tensor's
# place, and None leaves it.
Hook: TypeAlias = tuple[str, Callable[..., Tensor | None]]


def widened(tensor: Tensor) -> Tensor:
    """The tensor in float32 where it has less; itself where it has not."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


@contextmanager
def attached(bridge: Any, points: Mapping[str, Any], hooks: Sequence[Hook]) -> Iterator[None]:
    """Inside: the hooks fire, in order; hooks that the caller has set himself stay as they are.

    Args:
        points: the bridge's `hook_dict`.
    """
    level = bridge.context_level + 1
    touched = []
    try:
        bridge.context_level = level
        for name, hook in hooks:
            touched.append(points[name])
            points[name].add_hook(_in_float32(hook), level=level)
        for point in _scaled(bridge, touched):
            point.add_hook(_look_on, dir="bwd", level=level)
            # That it is listed is enough; torch would warn where it has nothing to do.
            point.bwd_hooks[-1].hook.remove()
        yield
    finally:
        for point in touched:
            point.remove_hooks(dir="both", level=level)
        bridge.context_level = level - 1


def _scaled(bridge: Any, touched: Sequence[Any]) -> list[Any]:
    """Those of the hook points whose tensor is made for its hooks alone, as Granite's outputs are.

    A block that multiplies what its components add shows the product there, and takes what hooks
    make of it only where the numbers differ, or where something waits for gradients: else these
    would pass by what was put there.
    """
    blocks = [block for block in bridge.blocks if hasattr(block, "residual_contribution_scale")]
    own = {id(part) for block in blocks for part in block.children()}
    return [point for point in touched if id(point) in own]


def _look_on(gradient: Tensor, hook: Any) -> None:
    return None


def _in_float32(function: Callable[..., Tensor | None]) -> Callable[..., Tensor | None]:
    def at_point(tensor: Tensor, hook: Any) -> Tensor | None:
        out = function(widened(tensor), hook=hook)
        return None if out is None else out.to(tensor.dtype)

    return at_point


def remember(seen: list[Tensor]) -> Callable[..., None]:
    """A hook that leaves the tensor as it is and keeps it as the one entry of `seen`."""

    def hook(tensor: Tensor, hook: Any) -> None:
        seen[:] = [tensor]

    return hook


@contextmanager
def recording(
    bridge: Any, points: Mapping[str, Any], names: Iterable[str]
) -> Iterator[dict[str, Tensor]]:
    """Inside: the tensors of these hook points, by name, as the last forward pass left them."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(tensor: Tensor, hook: Any) -> None:
            seen[name] = tensor.detach()

        return hook

    with attached(bridge, points, [(name, keep(name)) for name in names]):
        yield seen
