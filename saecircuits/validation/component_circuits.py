"""Circuits of neurons and heads, chosen and ablated as circuits of features are.

Nodes are the components of every layer in every span: `heads` has attention heads and whole MLPs,
`neurons` attention heads and single neurons of the MLPs. A kept node computes its result from the
stream as it now is, every other one takes its result in the corrupted run; tokens stay clean.
Effects are by the gradient at the clean run: `sum over width of dm/dz * (z_clean - z_corrupted)`.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.experiment import Experiment
from saecircuits.splicing.activations import sparse_product
from saecircuits.splicing.components import ComponentKind, result_hook, results, width
from saecircuits.splicing.hooking import Hook

Grain: TypeAlias = Literal["heads", "neurons"]
_KINDS: dict[Grain, tuple[ComponentKind, ComponentKind]] = {
    "heads": ("head", "mlp"),
    "neurons": ("head", "neuron"),
}
Layer: TypeAlias = tuple[int, ComponentKind]


class ComponentCircuits:
    """The components of one batch of prompts as nodes, counted layer by layer, span by span."""

    def __init__(self, contrast: Contrast, grain: Grain) -> None:
        self.contrast = contrast
        model, prompts = contrast.model, contrast.prompts
        self._layers: list[Layer] = [
            (layer, kind) for layer in range(model.n_layers) for kind in _KINDS[grain]
        ]
        self._widths = [width(model, kind) for _, kind in self._layers]
        clean = results(model, contrast.tokens, self._layers)
        there = results(model, prompts.corrupted_tokens.to(model.device), self._layers)
        self._base = {which: self._aligned(clean[which], there[which]) for which in self._layers}
        self._change = {which: clean[which] - self._base[which] for which in self._layers}

    @property
    def size(self) -> int:
        """How many nodes there are."""
        return len(self.contrast.units) * sum(self._widths)

    def _aligned(self, clean: Tensor, corrupted: Tensor) -> Tensor:
        """The corrupted values at the clean tokens; clean outside every span."""
        units = self.contrast.units
        moved = sparse_product(units.alignment, corrupted.flatten(0, 1).flatten(1))
        inside = (units.clean >= 0)[..., None, None]
        return torch.where(inside, moved.reshape(clean.shape).to(clean), clean)

    def effects(self) -> Float[Tensor, "batch n_node"]:
        """The estimated effect of every node on every prompt, in logits."""
        contrast = self.contrast
        moves = {
            which: torch.zeros_like(change, requires_grad=True)
            for which, change in self._change.items()
        }

        def add(which: Layer) -> Hook:
            return (
                result_hook(contrast.model, *which),
                lambda tensor, hook: tensor + moves[which].reshape(tensor.shape).to(tensor),
            )

        logits = contrast.model.forward(
            contrast.tokens,
            edits=[add(which) for which in self._layers],
            lengths=contrast.prompts.clean_lengths,
        )
        gradients = torch.autograd.grad(contrast.metric(logits).sum(), list(moves.values()))
        inside = contrast.units.membership
        parts = [
            torch.einsum(
                "b p c, b p u -> b u c",
                (gradient * self._change[which]).sum(-1),
                inside.to(gradient),
            ).flatten(1)
            for which, gradient in zip(self._layers, gradients, strict=True)
        ]
        return torch.cat(parts, dim=1)

    @torch.no_grad()
    def ablated(
        self, kept: Bool[Tensor, "n_set n_node"], *, tokens_at_once: int | None = None
    ) -> Float[Tensor, "n_set batch"]:
        """The metric of every prompt for every set of kept nodes.

        Args:
            tokens_at_once: how many tokens one forward pass may hold; None for what the limit on
                memory allows.
        """
        together = self.contrast.copies(tokens_at_once)
        return torch.cat([self._ablated(some) for some in kept.split(together)])

    def _ablated(self, kept: Tensor) -> Tensor:
        contrast, times, units = self.contrast, len(kept), len(self.contrast.units)
        masks = kept.to(contrast.tokens.device).split([units * w for w in self._widths], dim=1)

        def hold(which: Layer, mask: Tensor) -> Hook:
            by_unit = mask.unflatten(1, (units, -1))
            # Tokens outside every span have the clean value as their baseline; either will do.
            keeps = by_unit[:, contrast.units.clean.clamp(min=0)][..., None]
            base = self._base[which]

            def hook(tensor: Tensor, hook: object) -> Tensor:
                found = tensor.reshape(times, *base.shape)
                return torch.where(keeps, found, base.to(tensor)).reshape(tensor.shape)

            return result_hook(contrast.model, *which), hook

        logits = contrast.model.forward(
            contrast.tokens.repeat(times, 1),
            edits=[hold(which, mask) for which, mask in zip(self._layers, masks, strict=True)],
            lengths=contrast.prompts.clean_lengths.repeat(times),
        )
        return contrast.metric(logits)


def ranking(experiment: Experiment, grain: Grain) -> NDArray[np.int64]:
    """All nodes that have an effect, the largest |mean effect over prompts| first."""
    effects = experiment.per_prompt(lambda batch: ComponentCircuits(batch, grain).effects().T)
    size = np.abs(effects.mean(1))
    order = np.argsort(-size, kind="stable")
    return order[size[order] > 0]


def prefixes_ablated(
    experiment: Experiment, grain: Grain, ranked: NDArray[np.int64], sizes: Sequence[int]
) -> NDArray[np.float64]:
    """The metric with everything, nothing, and so many of the first nodes kept, `[set, prompt]`."""

    def of(batch: Contrast) -> Float[Tensor, "n_set batch"]:
        circuits = ComponentCircuits(batch, grain)
        kept = torch.zeros(2 + len(sizes), circuits.size, dtype=torch.bool, device="cpu")
        kept[0] = True
        for row, count in enumerate(sizes, start=2):
            kept[row, ranked[:count].tolist()] = True
        return circuits.ablated(kept)

    return experiment.measured(of)
