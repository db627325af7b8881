"""Node ablation: the metric with chosen nodes kept and every other node at its baseline.

At each site, in forward order, features and error are read from the stream as it now is; kept
nodes pass on what was read, the others their baseline. So everything downstream is recomputed:
what is kept is the circuit as it runs by itself. Error nodes are nodes like any other; a kept one
passes on the error of the changed stream (`recompute`) or its clean value (`hold`). Tokens are the
computation's input and stay clean.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from saecircuits.nodes.contrast import TOKENS, Contrast
from saecircuits.nodes.interventions import ERROR, Spot
from saecircuits.splicing import SplicedModel


@dataclass(frozen=True, eq=False)
class Kept:
    """Which nodes are kept, as one mask per site: `[unit, d_sae + 1]`, the error node last."""

    masks: tuple[Bool[Tensor, "unit _"], ...]

    def without_errors(self) -> "Kept":
        """The same features, with every error node at its baseline."""
        masks = tuple(mask.clone() for mask in self.masks)
        for mask in masks:
            mask[:, -1] = False
        return Kept(masks)

    def complement(self) -> "Kept":
        """Every other node."""
        return Kept(tuple(~mask for mask in self.masks))


def keep_all(model: SplicedModel, n_unit: int) -> Kept:
    """Every node kept."""
    return Kept(
        tuple(
            torch.ones(n_unit, splice.dictionary.d_sae + 1, dtype=torch.bool, device=model.device)
            for splice in model.splices
        )
    )


def keep_none(model: SplicedModel, n_unit: int) -> Kept:
    """Every node at its baseline."""
    return keep_all(model, n_unit).complement()


def keep_spots(model: SplicedModel, n_unit: int, spots: Iterable[Spot]) -> Kept:
    """These nodes kept; token nodes are always kept and need not be named."""
    kept = keep_none(model, n_unit)
    for spot in spots:
        if spot.place != TOKENS:
            column = -1 if spot.feature == ERROR else spot.feature
            kept.masks[spot.place][spot.unit, column] = True
    return kept


@torch.no_grad()
def ablate_nodes(
    contrast: Contrast, kept: Sequence[Kept], *, tokens_at_once: int = 8192
) -> Float[Tensor, "n_kept batch"]:
    """The metric of every prompt for every set of kept nodes.

    Args:
        tokens_at_once: how many tokens one forward pass may hold; it bounds memory.
    """
    together = max(1, tokens_at_once // contrast.prompts.clean_tokens.numel())
    metrics = [
        _ablated(contrast, kept[start : start + together])
        for start in range(0, len(kept), together)
    ]
    return torch.cat(metrics)


def _ablated(contrast: Contrast, kept: Sequence[Kept]) -> Float[Tensor, "n_kept batch"]:
    times = len(kept)
    units = contrast.units.clean
    inside = (units >= 0).repeat(times, 1)[..., None]
    held = contrast.held_errors(times)

    def at_site(index: int, read: Tensor, write: Tensor) -> Tensor:
        dictionary = contrast.model.splices[index].dictionary
        base = contrast.baseline.sites[index]
        mask = torch.cat([each.masks[index][units.clamp(min=0)] for each in kept])
        features = dictionary.encode(read)
        rest = dictionary.b_dec + dictionary.skip(read)
        error = write - features @ dictionary.W_dec - rest if held is None else held[index]
        features = torch.where(mask[..., :-1], features, base.features.repeat(times, 1, 1))
        error = torch.where(mask[..., -1:], error, base.error.repeat(times, 1, 1))
        return torch.where(inside, features @ dictionary.W_dec + error + rest, write)

    logits = contrast.model.forward(
        contrast.tokens.repeat(times, 1),
        at_site=at_site,
        operator=contrast.operator.repeated(times),
    )
    return contrast.metric(logits)


def ablate_all(batches: Iterable[Contrast], kept: Sequence[Kept]) -> NDArray[np.float64]:
    """`ablate_nodes` over all batches: `[n_kept, n_prompt]`."""
    parts = [ablate_nodes(batch, kept).double().cpu().numpy() for batch in batches]
    return np.concatenate(parts, axis=1)


def faithfulness(
    metric: NDArray[np.float64], whole: NDArray[np.float64], empty: NDArray[np.float64]
) -> float:
    """`(m(S) - m(empty)) / (m(all) - m(empty))`, each m the mean over prompts.

    1 for the whole model, 0 for nothing; above 1 or below 0 where parts oppose each other.

    Args:
        metric: the metric with the circuit S kept, per prompt.
        whole: with every node kept.
        empty: with every node at its baseline.
    """
    return float((metric.mean() - empty.mean()) / (whole.mean() - empty.mean()))
