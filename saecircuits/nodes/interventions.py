"""Effects measured, not estimated: nodes are set to their baseline and everything after follows.

The effect of a node is `m(clean) - m(node at its baseline)`. Many nodes are tried in one pass: the
batch is laid once per node, each copy with its own change at its own site.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from saecircuits.nodes.contrast import TOKENS, Contrast
from saecircuits.splicing.observation import pass_through

ERROR = -1


@dataclass(frozen=True, order=True)
class Spot:
    """Where a node is: a place, a unit, and a feature of that place's dictionary.

    Attributes:
        place: index of the spliced site, or `TOKENS`.
        unit: index into the units' names.
        feature: index of the feature; `ERROR` for the error node (or the token embedding).
    """

    place: int
    unit: int
    feature: int


def node_change(contrast: Contrast, spot: Spot) -> Float[Tensor, "batch pos d_out"]:
    """Clean minus baseline of what one node writes."""
    inside = contrast.units.membership[..., spot.unit, None]
    if spot.place == TOKENS:
        change = contrast.change(TOKENS)
    elif spot.feature == ERROR:
        change = contrast.error_change(spot.place)
    else:
        direction = contrast.model.splices[spot.place].dictionary.W_dec[spot.feature]
        change = contrast.feature_change(spot.place)[..., spot.feature, None] * direction
    return change * inside.to(change)


def intervene(
    contrast: Contrast, spots: Sequence[Spot], *, tokens_at_once: int = 8192
) -> Float[Tensor, "node batch"]:
    """The measured effect of every node by itself, for every prompt (in the metric's units).

    Args:
        tokens_at_once: how many tokens one forward pass may hold; it bounds memory.
    """
    changes = [(spot.place, partial(node_change, contrast, spot)) for spot in spots]
    return effects_of_changes(contrast, changes, tokens_at_once=tokens_at_once)


@torch.no_grad()
def effects_of_changes(
    contrast: Contrast,
    changes: Sequence[tuple[int, Callable[[], Tensor]]],
    *,
    tokens_at_once: int = 8192,
) -> Float[Tensor, "change batch"]:
    """`m(clean) - m(what is written at a place, less a change)`, for every change by itself.

    Args:
        changes: place and, made when needed, the `[batch, pos, d_out]` that is taken away there.
    """
    together = max(1, tokens_at_once // contrast.prompts.clean_tokens.numel())
    (clean,) = contrast.run_with(TOKENS, contrast.clean.tokens)
    effects = [
        clean - _metric_less(contrast, changes[start : start + together])
        for start in range(0, len(changes), together)
    ]
    return torch.cat(effects) if effects else clean.new_zeros(0, len(clean))


def _metric_less(
    contrast: Contrast, changes: Sequence[tuple[int, Callable[[], Tensor]]]
) -> Float[Tensor, "change batch"]:
    """The metric with one change per copy of the batch."""
    size = len(contrast.prompts)
    times = len(changes)
    through = pass_through(contrast.model, contrast.held_errors(times))

    def less(place: int, value: Tensor) -> Tensor:
        value = value.clone()
        for copy, (changed_place, change) in enumerate(changes):
            if changed_place == place:
                value[copy * size : (copy + 1) * size] -= change()
        return value

    logits = contrast.model.forward(
        contrast.tokens.repeat(times, 1),
        at_site=lambda index, read, write: less(index, through(index, read, write)),
        at_tokens=lambda tokens: less(TOKENS, tokens),
        operator=contrast.operator.repeated(times),
    )
    return contrast.metric(logits)
