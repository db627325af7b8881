"""Node ablation: the metric with chosen nodes kept and every other node at its baseline.

At each site, in forward order, features and error are read from the stream as it now is; kept
nodes pass on what was read, the others their baseline. So everything downstream is recomputed:
what is kept is the circuit as it runs by itself. Error nodes are nodes like any other; a kept one
passes on the error of the changed stream (`recompute`) or its clean value (`hold`). Tokens are the
computation's input and stay clean.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from numpy.typing import NDArray
from torch import Tensor

from saecircuits.nodes.contrast import TOKENS, Contrast
from saecircuits.nodes.interventions import ERROR, Spot
from saecircuits.nodes.write import (
    EVERY,
    Asked,
    Further,
    put,
    shares_of_tokens,
    tokens_where,
    write_at,
)
from saecircuits.splicing import SplicedModel
from saecircuits.splicing.section import WHOLE, Section

# From logits of the batch, laid one or more times over, to one figure for every prompt.
Read: TypeAlias = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Kept:
    """Which nodes are kept: some that are named, or all but these.

    Attributes:
        shapes: units and nodes to a unit of every site, the error node last.
        named: of every site, the named nodes, counted through its units.
        others: True where the named ones are at their baseline and all others are kept.
        device: of the masks.
    """

    shapes: tuple[tuple[int, int], ...]
    named: tuple[Int[Tensor, " _"], ...]
    others: bool
    device: torch.device

    @classmethod
    def of(cls, masks: Sequence[Bool[Tensor, "unit _"]]) -> "Kept":
        """The nodes where the masks of every site are true."""
        named = tuple(mask.flatten().nonzero()[:, 0].cpu() for mask in masks)
        shapes = tuple((len(mask), mask.shape[1]) for mask in masks)
        return cls(shapes, named, False, masks[0].device)

    @property
    def masks(self) -> tuple[Bool[Tensor, "unit _"], ...]:
        """One mask per site: `[unit, d_sae + 1]`. Made when asked for: many sets are told apart by
        a few nodes each, and masks of all of them would take more than a pass does.
        """
        return tuple(map(self._mask, range(len(self.shapes))))

    def _mask(self, place: int) -> Bool[Tensor, "unit _"]:
        shape = self.shapes[place]
        mask = torch.full(shape, self.others, dtype=torch.bool, device=self.device)
        mask.view(-1)[self.named[place].to(self.device)] = not self.others
        return mask

    def without_errors(self) -> "Kept":
        """The same features, with every error node at its baseline."""
        named = []
        for (n_unit, width), these in zip(self.shapes, self.named, strict=True):
            features = these[these % width != width - 1]
            errors = torch.arange(n_unit, device="cpu") * width + width - 1
            named.append(torch.cat([features, errors]) if self.others else features)
        return replace(self, named=tuple(named))

    def complement(self) -> "Kept":
        """Every other node."""
        return replace(self, others=not self.others)


def keep_all(model: SplicedModel, n_unit: int) -> Kept:
    """Every node kept."""
    return keep_none(model, n_unit).complement()


def keep_none(model: SplicedModel, n_unit: int) -> Kept:
    """Every node at its baseline."""
    return keep_spots(model, n_unit, ())


def keep_spots(model: SplicedModel, n_unit: int, spots: Iterable[Spot]) -> Kept:
    """These nodes kept; token nodes are always kept and need not be named."""
    shapes = tuple((n_unit, splice.dictionary.d_sae + 1) for splice in model.splices)
    named: list[list[int]] = [[] for _ in shapes]
    for spot in spots:
        if spot.place != TOKENS:
            width = shapes[spot.place][1]
            column = width - 1 if spot.feature == ERROR else spot.feature
            named[spot.place].append(spot.unit * width + column)
    chosen = tuple(torch.tensor(these, dtype=torch.long, device="cpu") for these in named)
    return Kept(shapes, chosen, False, model.device)


@torch.no_grad()
def ablate_nodes(
    contrast: Contrast,
    kept: Sequence[Kept],
    *,
    read: Read | None = None,
    tokens_at_once: int | None = None,
) -> Float[Tensor, "n_kept batch"]:
    """The metric of every prompt for every set of kept nodes.

    Args:
        read: another figure of the logits than the metric, such as `contrast.divergence`.
        tokens_at_once: how many tokens one forward pass may hold; None for what the limit on
            memory allows.
    """
    together = contrast.copies(tokens_at_once)
    metrics = [
        (read or contrast.metric)(_ablated(contrast, kept[start : start + together]))
        for start in range(0, len(kept), together)
    ]
    return torch.cat(metrics)


def _ablated(contrast: Contrast, kept: Sequence[Kept]) -> Float[Tensor, "many pos d_vocab"]:
    masks = [torch.stack(of_site) for of_site in zip(*(each.masks for each in kept), strict=True)]
    return masked_logits(contrast, masks)


def masked_logits(
    contrast: Contrast,
    masks: Sequence[Shaped[Tensor, "n_set unit _"]],
    asked: Sequence[Asked] | None = None,
) -> Float[Tensor, "many pos d_vocab"]:
    """The logits with every node at its mask's share, the batch laid once per set of masks.

    Args:
        masks: of every site, the share of each node that is asked about, the error node last.
        asked: of every site, these nodes; every one if absent.
    """
    model, times, further = contrast.model, len(masks[0]), Further(contrast)

    def at_site(index: int, read: Tensor, write: Tensor) -> Tensor:
        sets = (-1, len(contrast.prompts))
        rows, nodes = _changeable_tokens(contrast, index), EVERY if asked is None else asked[index]
        read, write = read.unflatten(0, sets), write.unflatten(0, sets)
        can = write_at(contrast, index, rows, nodes, read=read, write=write, further=further)
        shares = shares_of_tokens(masks[index], contrast, rows)
        further.passes(index, can, nodes, shares)
        return put(can.of(shares), rows, into=write).flatten(0, 1)

    section, behind = WHOLE, model.block_behind(0)
    if behind is not None:
        # Nothing before the first site depends on what is kept.
        clean = contrast.clean.written(model, 0)
        section = Section(behind, at_site(0, clean, clean))
    return model.forward(
        contrast.tokens.repeat(times, 1),
        at_site=at_site,
        operator=contrast.operator.repeated(times),
        section=section,
        lengths=contrast.prompts.clean_lengths.repeat(times),
    )


def _changeable_tokens(contrast: Contrast, index: int) -> Int[Tensor, " token"]:
    """The tokens, counted through the batch, where what a site writes can change the metric."""
    inside = contrast.units.clean >= 0
    if contrast.model.block_behind(index) == contrast.model.n_layers:
        last = contrast.prompts.clean_lengths.to(inside.device) - 1
        inside = inside & (torch.arange(inside.shape[1], device=inside.device) == last[:, None])
    return tokens_where(inside)


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
