"""Edge effects measured: the target alone reads the source at its baseline (path patching).

For an edge u -> v:

1. set u to its baseline while every other spliced node keeps its clean value: v, recomputed from
   what reaches it along unspliced paths, takes a new value;
2. give v that value in an otherwise clean run and let everything after v follow.

The effect is `m(clean) - m(run 2)` (Goldowsky-Dill et al. 2023, for nodes that are features).
"""

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from saecircuits.nodes.contrast import TOKENS, Contrast
from saecircuits.nodes.interventions import ERROR, Spot, effects_of_changes, node_change


@torch.no_grad()
def intervene_on_edges(
    contrast: Contrast,
    edges: Sequence[tuple[Spot, Spot | None]],
    *,
    tokens_at_once: int = 8192,
) -> Float[Tensor, "edge batch"]:
    """The measured effect of every edge (source, target) by itself; target None is the metric.

    Args:
        tokens_at_once: how many tokens one forward pass may hold; it bounds memory.
    """
    effects = torch.zeros(len(edges), len(contrast.prompts), dtype=contrast.clean.logits.dtype)
    by_source: dict[Spot, list[int]] = {}
    for number, (source, _) in enumerate(edges):
        by_source.setdefault(source, []).append(number)
    together = max(1, tokens_at_once // contrast.prompts.clean_tokens.numel())
    sources = sorted(by_source)
    for start in range(0, len(sources), together):
        some = sources[start : start + together]
        arriving, direct = _cut_without(contrast, some)
        inside = [(n, copy) for copy, source in enumerate(some) for n in by_source[source]]
        to_nodes = [(n, copy, v) for n, copy in inside if (v := edges[n][1]) is not None]
        for n, copy in inside:
            if edges[n][1] is None:
                effects[n] = direct[copy].to(effects)
        changes = [
            (target.place, partial(_target_change, contrast, target, arriving, copy))
            for _, copy, target in to_nodes
        ]
        measured = effects_of_changes(contrast, changes, tokens_at_once=tokens_at_once)
        effects[[n for n, _, _ in to_nodes]] = measured.to(effects)
    return effects


def _cut_without(
    contrast: Contrast, sources: Sequence[Spot]
) -> tuple[dict[int, tuple[Tensor, Tensor]], Float[Tensor, "n_source batch"]]:
    """What arrives at every site when one source per copy is at baseline and no site passes it on.

    Returns:
        Per site (read, written) of all copies, and each source's direct effect on the metric.
    """
    times, size = len(sources), len(contrast.prompts)
    arriving: dict[int, tuple[Tensor, Tensor]] = {}

    def held(place: int, value: Tensor) -> Tensor:
        value = value.repeat(times, 1, 1)
        for copy, source in enumerate(sources):
            if source.place == place:
                value[copy * size : (copy + 1) * size] -= node_change(contrast, source)
        return value

    def at_site(index: int, read: Tensor, write: Tensor) -> Tensor:
        arriving[index] = (read, write)
        clean = contrast.clean.sites[index]
        dictionary = contrast.model.splices[index].dictionary
        # Skip weights belong to no node, so what passes through them is not held.
        return held(index, clean.features @ dictionary.W_dec + clean.error) + (
            dictionary.b_dec + dictionary.skip(read)
        )

    logits = contrast.model.forward(
        contrast.tokens.repeat(times, 1),
        at_site=at_site,
        at_tokens=lambda tokens: held(TOKENS, contrast.clean.tokens),
        operator=contrast.operator.repeated(times),
    )
    (clean,) = contrast.run_with(TOKENS, contrast.clean.tokens)
    return arriving, clean - contrast.metric(logits)


def _target_change(
    contrast: Contrast, target: Spot, arriving: dict[int, tuple[Tensor, Tensor]], copy: int
) -> Float[Tensor, "batch pos d_out"]:
    """Clean value minus the value that the target takes from what arrives, as it writes it."""
    size = len(contrast.prompts)
    rows = slice(copy * size, (copy + 1) * size)
    read, write = (tensor[rows] for tensor in arriving[target.place])
    dictionary = contrast.model.splices[target.place].dictionary
    clean = contrast.clean.sites[target.place]
    if target.feature == ERROR:
        change = clean.error - (write - dictionary.reconstruct(read))
    else:
        acts = dictionary.encode(read)[..., target.feature]
        change = (clean.features[..., target.feature] - acts)[..., None] * dictionary.W_dec[
            target.feature
        ]
    return change * contrast.units.membership[..., target.unit, None].to(change)
