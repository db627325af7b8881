"""Hooks on a bridge for the time of a `with` block, gone afterwards also after an exception.

`TransformerBridge.hooks` looks every name up anew through all its aliases, which costs a small
model more than its forward pass; here a hook point is found once.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from torch import Tensor

# (name of a hook point, function of its tensor): what the function returns takes the tensor's
# place, and None leaves it.
Hook: TypeAlias = tuple[str, Callable[..., Tensor | None]]


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
            points[name].add_hook(hook, level=level)
        yield
    finally:
        for point in touched:
            point.remove_hooks(level=level)
        bridge.context_level = level - 1


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
