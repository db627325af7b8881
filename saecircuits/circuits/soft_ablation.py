"""Node ablation with masks between 0 and 1, so that it has a gradient.

    node = baseline + mask (value in the stream as it now is - baseline)

and everything downstream recomputed. With masks of 0 and 1 it is node ablation (`nodes.ablation`);
its gradient there is what every node adds to the circuit of the ones, to first order: what a member
would be missed by, and what an outsider would bring, all from one backward pass.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from saecircuits.nodes.ablation import ablate_nodes, keep_all, keep_none
from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.experiment import Experiment
from saecircuits.nodes.interventions import ERROR, Spot
from saecircuits.splicing.section import WHOLE, Section
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
        self._sites = [_Site(contrast, spots, index) for index in range(len(contrast.places) - 1)]
        n_unit = len(contrast.units)
        ends = [keep(contrast.model, n_unit) for keep in (keep_all, keep_none)]
        self._whole, self._empty = ablate_nodes(contrast, ends).mean(1)

    def masks(self, values: Tensor) -> Masks:
        """Masks of these values to take gradients in, on the model's device."""
        model = self._contrast.model
        return values.to(device=model.device, dtype=model.working_dtype).requires_grad_()

    def faithfulness(self, masks: Masks) -> Float[Tensor, ""]:
        """Of the masked model; gradients flow back to the masks."""
        metric = self.metric(masks).mean()
        return (metric - self._empty) / (self._whole - self._empty)

    @torch.enable_grad()
    def metric(self, masks: Masks) -> Float[Tensor, " batch"]:
        """The metric of the masked model."""
        contrast, model = self._contrast, self._contrast.model

        def at_site(index: int, read: Tensor, write: Tensor) -> Tensor:
            return self._sites[index].written(read, write, masks)

        section, behind = WHOLE, model.block_behind(0)
        if behind is not None:
            clean = contrast.clean.written(model, 0)
            section = Section(behind, at_site(0, clean, clean))
        logits = model.forward(
            contrast.tokens,
            at_site=at_site,
            operator=contrast.operator,
            section=section,
            lengths=contrast.prompts.clean_lengths,
        )
        return contrast.metric(logits)[0]


class _Site:
    """What one site writes under masks."""

    def __init__(self, contrast: Contrast, spots: Sequence[Spot], index: int) -> None:
        self._contrast, self._index = contrast, index
        self._dictionary = contrast.model.splices[index].dictionary
        device = contrast.tokens.device
        here = [(number, spot) for number, spot in enumerate(spots) if spot.place == index]
        features = sorted({spot.feature for _, spot in here} - {ERROR})
        self._has_errors = any(spot.feature == ERROR for _, spot in here)
        self._features = torch.tensor(features, dtype=torch.long, device=device)
        columns = {feature: column for column, feature in enumerate([*features, ERROR])}
        # Which mask is that of a unit's feature; the last, which is no node's, is always 0.
        table = torch.full((len(contrast.units), len(columns)), len(spots), device=device)
        for number, spot in here:
            table[spot.unit, columns[spot.feature]] = number
        inside = contrast.units.clean >= 0
        self._rows = inside.flatten().nonzero()[:, 0]
        self._mask_of = table[contrast.units.clean.flatten()[self._rows]]
        base = contrast.baseline.sites[index]
        self._acts = self._at(base.activations.of(self._features)) if features else None
        self._error = self._at(base.error)
        self._shared = self._at(base.activations.decode(self._dictionary.W_dec) + base.error)
        self._shared = self._shared + self._dictionary.b_dec
        self._directions = self._dictionary.W_dec[self._features]

    def _at(self, values: Any) -> Tensor:
        return values.flatten(0, 1)[self._rows]

    def written(self, read: Tensor, write: Tensor, masks: Masks) -> Tensor:
        """What is written when each node is between its baseline and what it now is."""
        dictionary = self._dictionary
        of_token = torch.cat([masks, masks.new_zeros(1)])[self._mask_of]
        x = self._at(read)
        out = self._shared + dictionary.skip(x)
        if self._acts is not None:
            acts = dictionary.encode_some(x, self._features)
            out = out + (of_token[:, :-1] * (acts - self._acts)) @ self._directions
        if self._has_errors:
            error = self._at(write) - dictionary.reconstruct(x)
            if self._contrast.error_policy == "hold":
                error = self._at(self._contrast.clean.sites[self._index].error)
            out = out + of_token[:, -1:] * (error - self._error)
        written = write.flatten(0, 1).index_put((self._rows,), out)
        return written.unflatten(0, write.shape[:2])
