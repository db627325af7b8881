"""What heads would read in another stream, and runs in which one of them does."""

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.splicing.hooking import Hook, attached, recording
from saecircuits.splicing.model import SplicedModel
from saecircuits.splicing.part_hooks import AttentionHooks, block_hooks
from saecircuits.splicing.section import Section

Way: TypeAlias = Literal["q", "k", "v"]
WAYS: Final[tuple[Way, ...]] = ("q", "k", "v")


def _hooks(model: SplicedModel, layer: int) -> AttentionHooks:
    return block_hooks(layer, model.hook_points).attention


@torch.no_grad()
def reads(
    model: SplicedModel,
    tokens: Int[Tensor, "batch pos"],
    layer: int,
    stream: Float[Tensor, "batch pos d_model"],
) -> dict[Way, Float[Tensor, "batch pos heads d_head"]]:
    """Queries, keys and values of a layer that is entered by `stream`, its norm recomputed."""
    names: dict[Way, str] = {way: getattr(_hooks(model, layer), way) for way in WAYS}
    section = Section(first=layer, stream=stream, stop=layer + 1)
    with recording(model.bridge, model.hook_points, names.values()) as seen:
        model.forward(tokens, section=section)
    found: dict[Way, Tensor] = {way: seen[name] for way, name in names.items()}
    return found


@torch.no_grad()
def run_reading(
    model: SplicedModel,
    tokens: Int[Tensor, "batch pos"],
    layer: int,
    head: int,
    instead: Mapping[Way, Float[Tensor, "batch pos heads d_head"]],
) -> tuple[Float[Tensor, "batch pos d_vocab"], Float[Tensor, "batch pos pos_key"]]:
    """Logits of a run in which one head has other queries, keys or values, and its pattern then.

    Where several query heads share keys and values, they share the others as well.
    """
    names = _hooks(model, layer)
    n_heads = int(model.bridge.cfg.n_heads)
    hooks: list[Hook] = [
        (getattr(names, way), _put(value, head * value.shape[2] // n_heads))
        for way, value in instead.items()
    ]
    with (
        recording(model.bridge, model.hook_points, [names.pattern]) as seen,
        attached(model.bridge, model.hook_points, hooks),
    ):
        logits = model.forward(tokens)
    return logits, seen[names.pattern][:, head]


def _put(value: Tensor, head: int) -> Any:
    def hook(tensor: Tensor, hook: Any) -> Tensor:
        changed = tensor.clone()
        changed[:, :, head] = value[:, :, head]
        return changed

    return hook
