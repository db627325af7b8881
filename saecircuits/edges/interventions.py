"""Edge effects measured: the target alone reads the source at its baseline (path patching).

For an edge u -> v:

1. set u to its baseline while every other spliced node keeps its clean value: v, recomputed from
   what reaches it along unspliced paths, takes a new value;
2. give v that value in an otherwise clean run and let everything after v follow.

The effect is `m(clean) - m(run 2)` (Goldowsky-Dill et al. 2023, for nodes that are features).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby

import torch
from jaxtyping import Float
from torch import Tensor

from saecircuits.nodes.contrast import TOKENS, Contrast
from saecircuits.nodes.interventions import (
    ERROR,
    CleanRun,
    Spot,
    clean_run,
    effects_of_changes,
    node_change,
    section_from,
)


@dataclass(frozen=True, eq=False)
class Arriving:
    """What arrives at sites in a run, in every copy of the batch.

    Attributes:
        at: per site, what its dictionary reads and what is written there.
        written: what is written there by the features of earlier sites, as they read.
    """

    at: dict[int, tuple[Tensor, Tensor]]
    written: dict[int, Tensor | float]


@torch.no_grad()
def intervene_on_edges(
    contrast: Contrast,
    edges: Sequence[tuple[Spot, Spot | None]],
    *,
    tokens_at_once: int | None = None,
) -> Float[Tensor, "edge batch"]:
    """The measured effect of every edge (source, target) by itself; target None is the metric.

    Args:
        tokens_at_once: how many tokens one forward pass may hold; None for what the limit on
            memory allows.
    """
    clean = clean_run(contrast)
    # Metrics are of the CPU, where the prompts are.
    shape = (len(edges), len(contrast.prompts))
    effects = torch.zeros(shape, dtype=contrast.clean.logits.dtype, device="cpu")
    by_source: dict[Spot, list[int]] = {}
    for number, (source, _) in enumerate(edges):
        by_source.setdefault(source, []).append(number)
    together = contrast.copies(tokens_at_once)
    for _, group in groupby(sorted(by_source), key=lambda source: source.place):
        sources = list(group)
        for start in range(0, len(sources), together):
            some = sources[start : start + together]
            inside = [(n, copy) for copy, source in enumerate(some) for n in by_source[source]]
            to_nodes = [(n, copy, v) for n, copy in inside if (v := edges[n][1]) is not None]
            to_metric = [(n, copy) for n, copy in inside if edges[n][1] is None]
            arriving, direct = cut_without(
                contrast,
                clean,
                some[0].place,
                torch.cat([node_change(contrast, source) for source in some]),
                read_at={target.place for _, _, target in to_nodes},
                reads_metric=bool(to_metric),
            )
            for n, copy in to_metric:
                effects[n] = direct[copy].to(effects)
            changes = [
                (target.place, partial(target_change, contrast, target, arriving, copy))
                for _, copy, target in to_nodes
            ]
            measured = effects_of_changes(
                contrast, changes, clean=clean, tokens_at_once=tokens_at_once
            )
            effects[[n for n, _, _ in to_nodes]] = measured.to(effects)
    return effects


def cut_without(
    contrast: Contrast,
    clean: CleanRun,
    place: int,
    less: Float[Tensor, "many pos _"],
    *,
    read_at: Collection[int],
    reads_metric: bool,
) -> tuple[Arriving, Float[Tensor, "n_source batch"]]:
    """What arrives at sites when a place's nodes write less, per copy, and no site passes it on.

    Args:
        place: where the run begins.
        less: what is taken away there, per copy of the batch; gradients flow back to it.
        read_at: the sites whose arrivals are wanted.
        reads_metric: run to the end, and not only to the last of these.

    Returns:
        Per site what arrives, and each copy's direct effect on the metric (none if not wanted).
    """
    times = len(less) // len(contrast.prompts)
    section = section_from(contrast, clean, place, less)
    splices = contrast.model.splices
    if not reads_metric:
        section = replace(section, stop=1 + max(splices[index].site.layer for index in read_at))
    arriving, carried = Arriving({}, {}), contrast.carried(times)

    def at_site(index: int, read: Tensor, write: Tensor) -> Tensor:
        dictionary, values = splices[index].dictionary, contrast.clean.sites[index]
        if index in read_at:
            arriving.at[index] = (read, write)
            arriving.written[index] = carried.at(index)
        if len(contrast.reach(index)) > 1:
            carried.keep(index, dictionary.encode(read))
        # Skip weights belong to no node, so what passes through them is not held.
        own = contrast.clean.written(contrast.model, index) - values.rest
        held = own.repeat(times, 1, 1) + dictionary.b_dec + dictionary.skip(read)
        part = contrast.part(place, index, less)
        return held if part is None else held - part

    out = contrast.model.forward(
        contrast.tokens.repeat(times, 1),
        at_site=at_site,
        at_tokens=(lambda tokens: tokens - less) if place == TOKENS else None,
        operator=contrast.operator.repeated(times),
        section=section,
        lengths=contrast.prompts.clean_lengths.repeat(times),
    )
    direct = clean.metric - contrast.metric(out) if reads_metric else clean.metric.new_zeros(0, 0)
    return arriving, direct


def target_change(
    contrast: Contrast, target: Spot, arriving: Arriving, copy: int
) -> Float[Tensor, "batch pos _"]:
    """Clean value minus the value that the target takes from what arrives, as it writes it."""
    size = len(contrast.prompts)
    rows = slice(copy * size, (copy + 1) * size)
    read, write = (tensor[rows] for tensor in arriving.at[target.place])
    dictionary = contrast.model.splices[target.place].dictionary
    clean = contrast.clean.sites[target.place]
    if target.feature == ERROR:
        earlier = arriving.written[target.place]
        others = earlier[rows] if isinstance(earlier, Tensor) else earlier
        error = write - dictionary.reconstruct(read) - others
        change = contrast.alone(target.place, clean.error - error)
    else:
        feature = dictionary.indices([target.feature])
        acts = dictionary.encode(read)[..., feature]
        change = (clean.activations.of(feature) - acts) * dictionary.directions(feature)[0]
    return change * contrast.units.membership[..., target.unit, None].to(change)
