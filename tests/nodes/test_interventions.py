"""Measured effects against interventions made by hand on the bare bridge."""

import pytest
import torch
from torch import Tensor

from saecircuits.nodes.contrast import TOKENS, Contrast
from saecircuits.nodes.effects import node_effects
from saecircuits.nodes.estimators import clean_gradients
from saecircuits.nodes.interventions import (
    ERROR,
    Spot,
    effects_of_changes,
    intervene,
    node_change,
)
from saecircuits.nodes.units import Positions
from saecircuits.splicing import observe
from tests.by_hand import Raw
from tests.models import D_SAE, Toy, make_contrast
from tests.tolerance import Tolerance

CLOSE: Tolerance = {"rtol": 1e-9, "atol": 1e-11}
LINEARIZATIONS = ["full", "frozen", "secant"]
POLICIES = ["recompute", "hold"]


def _some_spots(contrast: Contrast, *, per_unit: int = 2) -> list[Spot]:
    """Every token and error node, and in each unit the features that change most."""
    spots = [Spot(TOKENS, unit, ERROR) for unit in range(len(contrast.units))]
    for place in contrast.places[1:]:
        moved = contrast.feature_change(place).dense().abs().sum(0)  # [pos, d_sae]
        for unit in range(len(contrast.units)):
            here = moved[contrast.units.clean[0] == unit].sum(0)
            spots += [Spot(place, unit, int(f)) for f in here.topk(per_unit).indices]
            spots.append(Spot(place, unit, ERROR))
    return spots


def _changes_by_hand(toy: Toy, contrast: Contrast, spots: list[Spot]) -> list[Tensor]:
    """Clean minus corrupted of what each node writes, prompts of equal length, token by token."""
    clean = observe(toy.model, toy.prompts.clean_tokens)
    corrupted = observe(toy.model, toy.prompts.corrupted_tokens)
    changes = []
    for spot in spots:
        if spot.place == TOKENS:
            change = clean.tokens - corrupted.tokens
        elif spot.feature == ERROR:
            change = clean.sites[spot.place].error - corrupted.sites[spot.place].error
        else:
            direction = toy.model.splices[spot.place].dictionary.W_dec[spot.feature]
            before, after = (
                run.sites[spot.place].features[:, :, spot.feature] for run in (clean, corrupted)
            )
            change = torch.einsum("bp,d->bpd", before - after, direction)
        for position, unit in enumerate(contrast.units.clean[0].tolist()):
            if unit != spot.unit:
                change[:, position] = 0
        changes.append(change)
    return changes


@pytest.mark.parametrize(
    ("fixture", "positions", "linearization", "policy"),
    [
        ("toy_mixed", "span", "full", "recompute"),
        ("toy_mixed", "span", "frozen", "hold"),
        ("toy_mixed", "span", "secant", "recompute"),
        ("toy", "each", "full", "hold"),
        ("toy", "each", "frozen", "recompute"),
    ],
)
def test_effects_are_those_of_hooks_made_by_hand(
    request: pytest.FixtureRequest,
    fixture: str,
    positions: Positions,
    linearization: str,
    policy: str,
) -> None:
    toy = request.getfixturevalue(fixture)
    contrast = make_contrast(
        toy.model,
        toy.prompts,
        positions=positions,
        linearization=linearization,
        error_policy=policy,
    )
    spots = _some_spots(contrast, per_unit=1)
    measured = intervene(contrast, spots)
    assert measured.shape == (len(spots), 5)
    raw = Raw(contrast)
    with torch.no_grad():
        clean = raw.metric()
        for row, change in enumerate(_changes_by_hand(toy, contrast, spots)):
            less = raw.plus(spots[row].place, -change)
            torch.testing.assert_close(measured[row], clean - less, **CLOSE)
    for place in contrast.places:
        rows = [row for row, spot in enumerate(spots) if spot.place == place]
        assert measured[rows].abs().max() > 1e-3


def test_the_policies_measure_different_things(toy: Toy) -> None:
    both = []
    for policy in POLICIES:
        contrast = make_contrast(toy.model, toy.prompts, error_policy=policy)
        both.append(intervene(contrast, [Spot(0, 1, ERROR), Spot(TOKENS, 1, ERROR)]))
    assert (both[0] - both[1]).abs().max() > 1e-2


@pytest.mark.parametrize("baseline", ["mean", "zero"])
def test_other_baselines_by_hand(toy: Toy, baseline: str) -> None:
    contrast = make_contrast(toy.model, toy.prompts, baseline=baseline)
    feature = int(contrast.clean.sites[1].features[:, 3].amin(0).argmax())
    acts = contrast.clean.sites[1].features[:, :, feature]
    base = acts.mean(0, keepdim=True) if baseline == "mean" else torch.zeros_like(acts)
    direction = toy.model.splices[1].dictionary.W_dec[feature]
    change = torch.zeros(5, 6, 14, dtype=torch.float64)
    change[:, 3] = (acts - base)[:, 3, None] * direction  # unit 2 is position 3
    assert change.abs().max() > 0.1
    torch.testing.assert_close(
        node_change(contrast, Spot(1, 2, feature)), change, rtol=0, atol=1e-7
    )


def test_a_unit_s_tokens_change_together(toy: Toy) -> None:
    # The span `rest` is positions 3 to 5: as one node their changes are made at once.
    spans = make_contrast(toy.model, toy.prompts, positions="span")
    alone = make_contrast(toy.model, toy.prompts, positions="each")
    together = node_change(spans, Spot(0, 2, ERROR))
    parts = [node_change(alone, Spot(0, unit, ERROR)) for unit in (2, 3, 4)]
    torch.testing.assert_close(together, sum(parts), **CLOSE)


@pytest.mark.parametrize("tokens_at_once", [1, 100, 10_000])
def test_how_many_are_tried_at_once_does_not_matter(toy: Toy, tokens_at_once: int) -> None:
    contrast = make_contrast(toy.model, toy.prompts, positions="span")
    spots = _some_spots(contrast)
    torch.testing.assert_close(
        intervene(contrast, spots, tokens_at_once=tokens_at_once),
        intervene(contrast, spots),
        **CLOSE,
    )


def test_no_nodes_no_effects(toy: Toy) -> None:
    contrast = make_contrast(toy.model, toy.prompts)
    assert intervene(contrast, []).shape == (0, 5)


@pytest.mark.parametrize("policy", POLICIES)
def test_changes_are_made_at_their_own_place_alone(each_family: Toy, policy: str) -> None:
    contrast = make_contrast(each_family.model, each_family.prompts, error_policy=policy)
    raw = Raw(contrast)
    changes = {place: torch.randn_like(raw.written[place]) for place in contrast.places}
    measured = effects_of_changes(
        contrast, [(place, lambda c=change: c) for place, change in changes.items()]
    )
    with torch.no_grad():
        expected = [raw.metric() - raw.plus(place, -change) for place, change in changes.items()]
    torch.testing.assert_close(
        measured, torch.stack(expected), rtol=0, atol=10 * each_family.rounding
    )


@pytest.mark.parametrize("linearization", LINEARIZATIONS)
def test_gradient_effects_are_measured_ones_where_the_model_is_affine(
    each_toy: Toy, linearization: str
) -> None:
    # Everywhere in the secant operator; otherwise only behind the last non-linearity, and in no
    # other place do the two agree.
    contrast = make_contrast(each_toy.model, each_toy.prompts, linearization=linearization)
    estimated = node_effects(contrast, clean_gradients(contrast))
    spots = _some_spots(contrast, per_unit=1)
    columns = [estimated.index.column(spot) for spot in spots]
    effects = torch.tensor(estimated.effects[:, columns].toarray().T)
    measured = intervene(contrast, spots)
    if linearization == "secant":
        torch.testing.assert_close(effects, measured, rtol=1e-8, atol=1e-10)
    else:
        assert (effects - measured).abs().max() > 1e-2


def test_spots_sort_in_forward_order() -> None:
    spots = [Spot(1, 0, 3), Spot(TOKENS, 2, ERROR), Spot(1, 0, ERROR), Spot(0, 4, D_SAE - 1)]
    assert [spot.place for spot in sorted(spots)] == [TOKENS, 0, 1, 1]
