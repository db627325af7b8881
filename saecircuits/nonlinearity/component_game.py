"""The game of components: attention layers, heads, MLPs, neurons, each active or at its baseline.

An active component computes its result from the stream as it now is; the others' results are those
of the corrupted run, or zero. Token embeddings stay clean.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from saecircuits.errors import InputError
from saecircuits.nodes.baselines import BASELINES, Baseline, baseline_of
from saecircuits.nodes.contrast import Contrast
from saecircuits.nonlinearity.node_game import Rest
from saecircuits.nonlinearity.runs import Keep, run_stage
from saecircuits.nonlinearity.walk import Stage
from saecircuits.splicing.activations import sparse_product
from saecircuits.splicing.components import (
    Component,
    ComponentKind,
    check_disjoint,
    replaced,
    results,
    width,
)
from saecircuits.splicing.hooking import Hook


def check_component_game(
    components: Sequence[Component], baseline: str | Baseline, policy: str
) -> None:
    """Raises InputError for what has no meaning in a game of components."""
    check_disjoint(components)
    chosen = baseline_of(baseline)
    if not _suits_components(chosen):
        known = [f"{row.name!r}" for row in BASELINES.values() if _suits_components(row)]
        raise InputError(
            f"components take the baseline {' or '.join(known)}, found {chosen.name!r}"
        )
    if policy != "recompute":
        raise InputError(
            f"components are ablated in the model without dictionaries, found error_policy "
            f"{policy!r}; use 'recompute'"
        )


def _suits_components(baseline: Baseline) -> bool:
    return baseline.of_components(torch.zeros(0, device="cpu")) is not None


def aligned(
    contrast: Contrast,
    clean: Float[Tensor, "batch pos *width"],
    corrupted: Float[Tensor, "batch pos_corrupted *width"],
) -> Float[Tensor, "batch pos *width"]:
    """Values of the corrupted run at the places of the clean tokens; clean outside every unit."""
    product = sparse_product(contrast.units.alignment, corrupted.flatten(0, 1).flatten(1))
    inside = (contrast.units.clean >= 0).view(*clean.shape[:2], *[1] * (clean.ndim - 2))
    return torch.where(inside, product.reshape(clean.shape), clean)


def component_baselines(
    contrast: Contrast, layers: Sequence[tuple[int, ComponentKind]], baseline: str | Baseline
) -> dict[tuple[int, ComponentKind], tuple[Tensor, Tensor]]:
    """Results in the clean run and at the baseline, `[batch, pos, n_component, width]` each."""
    model, prompts = contrast.model, contrast.prompts
    clean = results(model, contrast.tokens, layers)
    there = results(model, prompts.corrupted_tokens.to(model.device), layers)
    chosen, found = baseline_of(baseline), {}
    for which, values in clean.items():
        base = chosen.of_components(there[which])
        assert base is not None, "a baseline without one for components was refused"
        found[which] = values, aligned(contrast, values, base)
    return found


def component_stages(
    contrast: Contrast, components: Sequence[Component], rest: Rest, baseline: str | Baseline
) -> list[Stage]:
    """The stages of a game of components: one run behind every layer that has any.

    Args:
        rest: what all other components of the model are, at the grain of the members where a
            layer has members, and otherwise whole layers.
    """
    layers = _Layers(contrast, components, rest, baseline)
    touched = sorted({layer for layer, _ in layers.kinds})
    starts = sorted({0, *touched})
    ends: list[int | None] = [*starts[1:], None]
    return [
        run_stage(
            contrast,
            [c for c, component in enumerate(components) if component.layer == first],
            first=first,
            stop=stop,
            edits=lambda keep, first=first: layers.edits(first, keep),
        )
        for first, stop in zip(starts, ends, strict=True)
    ]


@dataclass(frozen=True, eq=False)
class _Layers:
    contrast: Contrast
    components: Sequence[Component]
    rest: Rest
    baseline: str | Baseline

    @cached_property
    def kinds(self) -> tuple[tuple[int, ComponentKind], ...]:
        """The layers, with the grain of their results, where something may be at its baseline."""
        own: set[tuple[int, ComponentKind]] = {(one.layer, one.kind) for one in self.components}
        whole_and_part: tuple[tuple[ComponentKind, ComponentKind], ...]
        whole_and_part = (("attention", "head"), ("mlp", "neuron"))
        if self.rest == "baseline":
            for layer in range(self.contrast.model.n_layers):
                for whole, part in whole_and_part:
                    if (layer, part) not in own:
                        own.add((layer, whole))
        return tuple(sorted(own))

    @cached_property
    def baselines(self) -> dict[tuple[int, ComponentKind], Tensor]:
        found = component_baselines(self.contrast, self.kinds, self.baseline)
        return {which: base for which, (_, base) in found.items()}

    def edits(self, first: int, keep: Keep) -> list[Hook]:
        """What is set to its baseline in a layer, for the sets of one pass."""
        model, edits = self.contrast.model, []
        for layer, kind in self.kinds:
            if layer != first:
                continue
            shape, other = (len(keep), width(model, kind)), self.baselines[layer, kind]
            keeps = torch.full(shape, self.rest == "clean", device=other.device)
            for column, component in enumerate(self.components):
                if (component.layer, component.kind) == (layer, kind):
                    keeps[:, component.index] = keep[:, column].to(other.device)
            edits.append(replaced(model, layer, kind, keeps, other))
        return edits
