"""Effects measured, not estimated: nodes are set to their baseline and everything after follows.

The effect of a node is `m(clean) - m(node at its baseline)`. Many nodes are tried in one pass: the
batch is laid once per node, each copy with its own change at its own site.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import torch
from jaxtyping import Float
from torch import Tensor

from saecircuits.nodes.contrast import TOKENS, Contrast
from saecircuits.splicing.observation import pass_through
from saecircuits.splicing.section import WHOLE, Section

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


def node_change(contrast: Contrast, spot: Spot) -> Float[Tensor, "batch pos _"]:
    """Clean minus baseline of all that one node writes, side by side: see `Contrast.reach`."""
    inside = contrast.units.membership[..., spot.unit, None]
    if spot.place == TOKENS:
        change = contrast.change(TOKENS)
    elif spot.feature == ERROR:
        change = contrast.alone(spot.place, contrast.error_change(spot.place))
    else:
        dictionary = contrast.model.splices[spot.place].dictionary
        features = dictionary.indices([spot.feature])
        clean, base = (
            run.sites[spot.place].activations.of(features)
            for run in (contrast.clean, contrast.baseline)
        )
        change = (clean - base) * dictionary.directions(features)[0]
    return change * inside.to(change)


def intervene(
    contrast: Contrast, spots: Sequence[Spot], *, tokens_at_once: int | None = None
) -> Float[Tensor, "node batch"]:
    """The measured effect of every node by itself, for every prompt (in the metric's units).

    Args:
        tokens_at_once: how many tokens one forward pass may hold; None for what the limit on
            memory allows.
    """
    changes = [(spot.place, partial(node_change, contrast, spot)) for spot in spots]
    return effects_of_changes(contrast, changes, tokens_at_once=tokens_at_once)


@dataclass(frozen=True, eq=False)
class CleanRun:
    """The clean run of a contrast under its operator: where changed runs begin.

    Attributes:
        streams: what enters each block and, last, the final norm.
        metric: of every prompt.
    """

    streams: tuple[Float[Tensor, "batch pos d_model"], ...]
    metric: Float[Tensor, " batch"]


def clean_run(contrast: Contrast) -> CleanRun:
    """One forward pass without dictionaries: with their errors they change nothing."""
    streams, logits = contrast.model.streams(
        contrast.tokens, operator=contrast.operator, lengths=contrast.prompts.clean_lengths
    )
    return CleanRun(streams, contrast.metric(logits)[0])


@torch.no_grad()
def effects_of_changes(
    contrast: Contrast,
    changes: Sequence[tuple[int, Callable[[], Tensor]]],
    *,
    clean: CleanRun | None = None,
    tokens_at_once: int | None = None,
) -> Float[Tensor, "change batch"]:
    """`m(clean) - m(what is written at a place, less a change)`, for every change by itself.

    Changes at one place are made side by side, in runs that begin there: before it all is clean.

    Args:
        changes: place and, made when needed, what its nodes write less, `[batch, pos, _]`.
        clean: the contrast's clean run, if it is known.
    """
    clean = clean or clean_run(contrast)
    effects = clean.metric.new_zeros(len(changes), len(clean.metric))
    together = contrast.copies(tokens_at_once)
    in_order = sorted(range(len(changes)), key=lambda number: changes[number][0])
    for place, group in groupby(in_order, key=lambda number: changes[number][0]):
        numbers = list(group)
        for start in range(0, len(numbers), together):
            some = numbers[start : start + together]
            less = torch.cat([changes[number][1]() for number in some])
            effects[some] = clean.metric - metric_less(contrast, clean, place, less)
    return effects


def metric_less(
    contrast: Contrast, clean: CleanRun, place: int, less: Float[Tensor, "many pos _"]
) -> Float[Tensor, "change batch"]:
    """The metric with one change of what a place writes per copy of the batch.

    Gradients flow back to `less`.
    """
    times = len(less) // len(contrast.prompts)
    through = pass_through(contrast.model, contrast.held_errors(times), contrast.carried(times))

    def at_site(index: int, read: Tensor, write: Tensor) -> Tensor:
        passed, part = through(index, read, write), contrast.part(place, index, less)
        return passed if part is None else passed - part

    logits = contrast.model.forward(
        contrast.tokens.repeat(times, 1),
        at_site=at_site,
        at_tokens=(lambda tokens: tokens - less) if place == TOKENS else None,
        operator=contrast.operator.repeated(times),
        section=section_from(contrast, clean, place, less),
        lengths=contrast.prompts.clean_lengths.repeat(times),
    )
    return contrast.metric(logits)


def section_from(
    contrast: Contrast, clean: CleanRun, place: int, less: Float[Tensor, "many pos _"]
) -> Section:
    """Where runs begin that are clean before a place: behind it, or with the block it is in.

    A run that begins behind the place, its change made already, does not call at the place again.

    Args:
        less: what is taken away at the place, per copy of the batch.
    """
    if place == TOKENS or contrast.model.splices[place].site.kind == "embed":
        return WHOLE
    times = len(less) // len(contrast.prompts)
    behind = contrast.model.block_behind(place)
    if behind is not None:
        return Section(behind, clean.streams[behind].repeat(times, 1, 1) - less)
    first = contrast.model.splices[place].site.layer
    return Section(first, clean.streams[first].repeat(times, 1, 1))
