"""Node ablation with masks between 0 and 1, so that it has a gradient.

    node = baseline + mask (value in the stream as it now is - baseline)

and everything downstream recomputed. With masks of 0 and 1 it is node ablation (`nodes.ablation`);
its gradient there is what every node adds to the circuit of the ones, to first order: what a member
would be missed by, and what an outsider would bring, all from one backward pass.
"""

from collections.abc import Sequence
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.nodes.ablation import ablate_nodes, keep_all, keep_none, masked_logits
from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.experiment import Experiment
from saecircuits.nodes.interventions import Spot
from saecircuits.nodes.write import Asked, asked_about
from saecircuits.torch_state import in_own_state

Masks: TypeAlias = Float[Tensor, " n_node"]


class Marginals:
    """What every node adds to a circuit, to first order, on the prompts of a graph.

    Args:
        nodes: ids of the features and error nodes that are asked about.
    """

    def __init__(self, experiment: Experiment, nodes: Sequence[str]) -> None:
        self._nodes = tuple(nodes)
        self._soft = soft_ablations(experiment, nodes)
        whole, empty = experiment.ends
        self._span = float(whole.sum() - empty.sum())

    @in_own_state
    def of(self, kept: Sequence[str]) -> dict[str, float]:
        """`d faithfulness / d mask` of every node, where the masks of `kept` are 1 and others 0."""
        inside = set(kept)
        start = torch.tensor([float(node in inside) for node in self._nodes], device="cpu")
        total = torch.zeros(len(self._nodes), dtype=torch.float64, device="cpu")
        for soft in self._soft:
            masks = soft.masks(start)
            (gradient,) = torch.autograd.grad(soft.metric(masks).sum(), masks)
            total += gradient.cpu().double() / self._span
        return dict(zip(self._nodes, total.tolist(), strict=True))


def soft_ablations(experiment: Experiment, nodes: Sequence[str]) -> "list[SoftAblation]":
    """Every batch of the prompts, in the model as it is, with a mask on each of these nodes."""
    spots = [experiment.spot(node) for node in nodes]
    return experiment.over_batches(lambda batch: SoftAblation(batch.as_it_is, spots))


class SoftAblation:
    """Node ablation of one batch with a mask between 0 and 1 on each of some nodes.

    Args:
        spots: the nodes that have masks, in their order; every other node is at its baseline.
    """

    def __init__(self, contrast: Contrast, spots: Sequence[Spot]) -> None:
        self._contrast = contrast
        sites = [_asked(contrast, spots, index) for index in contrast.places[1:]]
        self._asked, self._mask_of = zip(*sites, strict=True)
        n_unit = len(contrast.units)
        ends = [keep(contrast.model, n_unit) for keep in (keep_all, keep_none)]
        self._whole, self._empty = ablate_nodes(contrast, ends).mean(1)

    def masks(self, values: Tensor) -> Masks:
        """Masks of these values to take gradients in, on the model's device."""
        model = self._contrast.model
        return values.to(device=model.device, dtype=model.working_dtype).requires_grad_()

    def faithfulness(self, masks: Masks) -> Float[Tensor, ""]:
        """Of the masked model, on the masks' device; gradients flow back to them."""
        metric = self.metric(masks).mean()
        return ((metric - self._empty) / (self._whole - self._empty)).to(masks.device)

    @torch.enable_grad()
    def metric(self, masks: Masks) -> Float[Tensor, " batch"]:
        """The metric of the masked model."""
        shares = torch.cat([masks, masks.new_zeros(1)])
        of_sites = [shares[mask_of][None] for mask_of in self._mask_of]
        return self._contrast.metric(masked_logits(self._contrast, of_sites, self._asked))[0]


def _asked(
    contrast: Contrast, spots: Sequence[Spot], index: int
) -> tuple[Asked, Int[Tensor, "unit n_node"]]:
    """The nodes of a site that have masks, and which mask is that of a unit's node.

    The mask behind the last, which is no node's, is always 0.
    """
    here = [(number, spot) for number, spot in enumerate(spots) if spot.place == index]
    asked, columns = asked_about((spot.feature for _, spot in here), contrast.model.device)
    n_unit, device = len(contrast.units), contrast.model.device
    mask_of = torch.full((n_unit, asked.n_node), len(spots), device=device)
    for number, spot in here:
        mask_of[spot.unit, columns[spot.feature]] = number
    return asked, mask_of
