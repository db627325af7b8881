"""Contrasts: batches and padding are bookkeeping; they change no number."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from saecircuits.nodes.ablation import ablate_nodes, keep_spots
from saecircuits.nodes.contrast import TOKENS, Contrast
from saecircuits.nodes.effects import joined, node_effects
from saecircuits.nodes.estimators import (
    IntegrationSettings,
    clean_gradients,
    integrated_gradients,
)
from saecircuits.nodes.experiment import Experiment
from saecircuits.nodes.interventions import ERROR, Spot, intervene
from saecircuits.splicing import SplicedModel
from saecircuits.tasks import Prompts
from tests.by_hand import Raw, hand_metric
from tests.models import Toy, contrasts_of, make_contrast
from tests.tolerance import Tolerance

CLOSE: Tolerance = {"rtol": 1e-9, "atol": 1e-11}
LINEARIZATIONS = ["full", "frozen", "secant"]
POLICIES = ["recompute", "hold"]
SPOTS = [
    *(Spot(place, unit, feature) for place in range(3) for unit in range(3) for feature in (3, 8)),
    *(Spot(place, unit, ERROR) for place in (TOKENS, 0, 2) for unit in range(3)),
]


def _batches(
    model: SplicedModel, prompts: Prompts, *, batch_size: int, **choices: Any
) -> list[Contrast]:
    return contrasts_of(Experiment(model, prompts, batch_size=batch_size, **choices))


def _gradient_effects(batch: Contrast) -> Tensor:
    return torch.tensor(node_effects(batch, clean_gradients(batch)).effects.toarray())


def _integrated_effects(batch: Contrast) -> Tensor:
    # A set number of steps: the number that adapts may differ from batch to batch.
    steps = IntegrationSettings(first_steps=2, max_steps=2)
    return torch.tensor(node_effects(batch, integrated_gradients(batch, steps)).effects.toarray())


def _measured_effects(batch: Contrast) -> Tensor:
    return intervene(batch, SPOTS).T


def _ablated(batch: Contrast) -> Tensor:
    return ablate_nodes(batch, [keep_spots(batch.model, len(batch.units), SPOTS)]).T


QUANTITIES: dict[str, Callable[[Contrast], Tensor]] = {
    "gradient": _gradient_effects,
    "integrated": _integrated_effects,
    "measured": _measured_effects,
    "ablated": _ablated,
}


@pytest.mark.parametrize(
    ("quantity", "linearization", "policy"),
    [
        ("gradient", "full", "hold"),
        ("gradient", "secant", "recompute"),
        ("integrated", "frozen", "hold"),
        ("measured", "secant", "hold"),
        ("measured", "full", "recompute"),
        ("ablated", "full", "hold"),
        ("ablated", "frozen", "recompute"),
    ],
)
def test_neither_batches_nor_padding_matter(
    toy_uneven: Toy, quantity: str, linearization: str, policy: str
) -> None:
    # Prompts of 6, 5 and 7 tokens: alone none is padded, in twos one is, together two are.
    found = []
    for batch_size in (1, 2, 32):
        batches = _batches(
            toy_uneven.model,
            toy_uneven.prompts.subset(range(3)),
            batch_size=batch_size,
            linearization=linearization,
            error_policy=policy,
        )
        found.append(torch.cat([QUANTITIES[quantity](batch) for batch in batches]))
    assert found[0].abs().max() > 0.1
    torch.testing.assert_close(found[1], found[0], **CLOSE)
    torch.testing.assert_close(found[2], found[0], **CLOSE)


@pytest.mark.parametrize("baseline", ["corrupted", "mean", "zero", "resample"])
def test_baselines_do_not_depend_on_the_batch(toy_uneven: Toy, baseline: str) -> None:
    model, prompts = toy_uneven.model, toy_uneven.prompts
    whole = _batches(model, prompts, batch_size=32, baseline=baseline)
    parts = _batches(model, prompts, batch_size=2, baseline=baseline)
    assert [len(part.prompts) for part in parts] == [2, 2, 1]
    effects = [_gradient_effects(batch) for batch in parts]
    torch.testing.assert_close(torch.cat(effects), _gradient_effects(whole[0]), **CLOSE)


def test_effects_of_batches_join_in_order(toy_uneven: Toy) -> None:
    parts = [
        node_effects(batch, clean_gradients(batch))
        for batch in _batches(toy_uneven.model, toy_uneven.prompts, batch_size=2)
    ]
    whole = joined(parts)
    assert whole.effects.shape == (5, whole.index.size)
    for name in ("effects", "activations", "baselines"):
        rows = torch.cat([torch.tensor(getattr(part, name).toarray()) for part in parts])
        found = torch.tensor(getattr(whole, name).toarray())
        torch.testing.assert_close(found, rows, rtol=0, atol=0)


@pytest.mark.parametrize("linearization", LINEARIZATIONS)
@pytest.mark.parametrize("policy", POLICIES)
def test_run_with_the_clean_value_is_the_clean_run(
    toy_mixed: Toy, linearization: str, policy: str
) -> None:
    contrast = make_contrast(
        toy_mixed.model, toy_mixed.prompts, linearization=linearization, error_policy=policy
    )
    with torch.no_grad():
        clean = hand_metric(
            toy_mixed.model.bridge(toy_mixed.prompts.clean_tokens), contrast.prompts
        )
        for place in contrast.places:
            twice = contrast.run_with(place, contrast.clean_value(place).repeat(2, 1, 1))
            torch.testing.assert_close(twice, torch.stack([clean, clean]), **CLOSE)


@pytest.mark.parametrize("linearization", LINEARIZATIONS)
@pytest.mark.parametrize("policy", POLICIES)
def test_run_with_is_one_hook_on_the_bare_bridge(
    toy_mixed: Toy, linearization: str, policy: str
) -> None:
    contrast = make_contrast(
        toy_mixed.model, toy_mixed.prompts, linearization=linearization, error_policy=policy
    )
    raw = Raw(contrast)
    with torch.no_grad():
        for place in contrast.places:
            values = torch.randn_like(contrast.clean_value(place)) + contrast.clean_value(place)
            # Sites before the place are overwritten with it, whatever they pass on.
            expected = raw.metric({place: lambda read, written, values=values: values})
            torch.testing.assert_close(contrast.run_with(place, values)[0], expected, **CLOSE)
