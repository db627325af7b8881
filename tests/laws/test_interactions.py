"""Interactions of a model: where they add up, where they vanish, and what their grade means."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from saecircuits.nodes.ablation import ablate_nodes, keep_none, keep_spots
from saecircuits.nodes.contrast import TOKENS, Contrast
from saecircuits.nodes.interventions import ERROR, Spot
from saecircuits.nonlinearity.component_game import component_stages
from saecircuits.nonlinearity.node_game import Rest, node_stages
from saecircuits.nonlinearity.walk import walk
from saecircuits.splicing import splice
from saecircuits.splicing.components import Component, ComponentKind
from saecircuits.theory.interactions import all_subsets, dividends, grades, spectrum
from tests.architectures import Float64Throughout, build
from tests.models import Toy, make_contrast, random_sae, toy_prompts
from tests.nonlinearity.test_games import strongest_spots

WHOLE_LAYERS: tuple[ComponentKind, ...] = ("attention", "mlp")


def _dividends(contrast: Contrast, spots: list[Spot], rest: Rest) -> Tensor:
    return dividends(walk(node_stages(contrast, spots, rest), all_subsets(len(spots))))


@pytest.mark.parametrize("policy", ["recompute", "hold"])
def test_dividends_account_for_a_circuit(toy: Toy, policy: str) -> None:
    contrast = make_contrast(toy.model, toy.prompts, positions="span", error_policy=policy)
    # What the last token reads, and something of every site before it.
    ends = [Spot(site, 2, ERROR) for site in range(3)]
    spots = list(dict.fromkeys([*ends, *strongest_spots(contrast, 6)]))
    found = _dividends(contrast, spots, "baseline")
    n_unit = len(contrast.units)
    whole, empty = ablate_nodes(
        contrast, [keep_spots(contrast.model, n_unit, spots), keep_none(contrast.model, n_unit)]
    )
    torch.testing.assert_close(found[1:].sum(0), whole - empty, rtol=1e-9, atol=1e-11)
    assert (whole - empty).abs().max() > 0.05


@pytest.mark.parametrize("fixture", ["toy", "toy_mixed"])
def test_tokens_do_not_interact_under_the_secant_operator(
    request: pytest.FixtureRequest, fixture: str
) -> None:
    # With `recompute` the splices are the identity, and the operator is affine in the embeddings.
    toy: Toy = request.getfixturevalue(fixture)
    spots = [Spot(TOKENS, unit, ERROR) for unit in range(3)]
    large = {}
    for kind in ("secant", "full"):
        contrast = make_contrast(
            toy.model, toy.prompts, positions="span", baseline="mean", linearization=kind
        )
        found = _dividends(contrast, spots, "clean")
        assert found[grades(3) == 1].abs().max() > 0.1
        large[kind] = found[grades(3) > 1].abs().max()
    assert large["secant"] < 1e-10
    assert large["full"] > 0.01


@pytest.mark.parametrize("fixture", ["toy", "toy_mixed"])
def test_held_errors_do_not_interact_where_features_are_at_baseline(
    request: pytest.FixtureRequest, fixture: str
) -> None:
    # Held errors and baseline features are constants: what sites write is affine in S, and no
    # dictionary is asked what it makes of a changed stream. Skip weights are linear.
    toy: Toy = request.getfixturevalue(fixture)
    sites = range(len(toy.model.splices))
    spots = [Spot(site, 2, ERROR) for site in sites] + [Spot(sites[-1], 1, ERROR)]
    contrast = make_contrast(
        toy.model, toy.prompts, positions="span", linearization="secant", error_policy="hold"
    )
    found, grade = _dividends(contrast, spots, "baseline"), grades(len(spots))
    assert found[grade == 1].abs().max() > 0.05
    assert found[grade > 1].abs().max() < 1e-10
    # Not so where features follow: their masks change with what they read.
    features = strongest_spots(contrast, len(spots))
    assert _dividends(contrast, features, "clean")[grade > 1].abs().max() > 1e-3


def _scaled_by_hand(contrast: Contrast, share: float) -> Tensor:
    """The metric under the secant operator, every component's result times a share, BOS apart."""

    def scale(tensor: Tensor, hook: object) -> Tensor:
        out = tensor * share
        out[:, :1] = tensor[:, :1]
        return out

    edits = [
        (f"blocks.{layer}.{name}", scale)
        for layer in range(contrast.model.n_layers)
        for name in ("hook_attn_out", "hook_mlp_out")
    ]
    with torch.no_grad():
        logits = contrast.model.forward(contrast.tokens, operator=contrast.operator, edits=edits)
    return contrast.metric(logits)[0]


@pytest.mark.parametrize("family", ["gpt2", "llama", "neox", "gptj", "qwen3"])
def test_grades_of_components_are_the_degrees_of_the_frozen_operator(
    family: str, tmp_path: Path
) -> None:
    # With zero for a baseline, v is the sum over paths among the active components (biases as
    # sources of degree 1): a subset's dividend is its one path, its grade the path's degree.
    with Float64Throughout():
        bridge = build(family, tmp_path)
        sae = random_sae("jumprelu", d_in=bridge.cfg.d_model)
        model = splice(bridge, {"blocks.0.hook_resid_post": sae})
        contrast = make_contrast(model, toy_prompts(bridge), linearization="secant")
        members = [
            Component(layer, kind) for layer in range(model.n_layers) for kind in WHOLE_LAYERS
        ]
        count = len(members)
        values = walk(component_stages(contrast, members, "clean", "zero"), all_subsets(count))
        shares = np.linspace(0, 1, count + 1)
        curve = torch.stack([_scaled_by_hand(contrast, share) for share in shares.tolist()])
    found = spectrum(dividends(values)).numpy()
    degrees = np.linalg.solve(np.vander(shares, increasing=True), curve.numpy())
    np.testing.assert_allclose(found, degrees, rtol=0, atol=1e-9 * np.abs(found).max())
    assert np.abs(found[2:]).max() > 0.01
