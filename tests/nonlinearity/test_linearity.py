"""Orders of nodes, edges and components against interventions, and the profile by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import saecircuits as sc
from saecircuits.edges.interventions import intervene_on_edges
from saecircuits.nodes.contrast import TOKENS
from saecircuits.nodes.estimators import clean_gradients
from saecircuits.nodes.interventions import ERROR, Spot, intervene, node_change
from saecircuits.nonlinearity.component_game import component_stages
from saecircuits.nonlinearity.curves import (
    component_orders,
    edge_orders,
    first_order_of_all,
    node_orders,
)
from saecircuits.nonlinearity.profile import stream_curves
from saecircuits.nonlinearity.walk import walk
from saecircuits.splicing.components import Component
from tests.by_hand import Raw, hand_metric
from tests.models import Toy, make_contrast
from tests.nonlinearity.test_games import strongest_spots
from tests.tolerance import Tolerance

CLOSE: Tolerance = {"rtol": 1e-9, "atol": 1e-11}


@pytest.mark.parametrize("policy", ["recompute", "hold"])
def test_orders_of_nodes(each_toy: Toy, policy: str) -> None:
    contrast = make_contrast(
        each_toy.model, each_toy.prompts, positions="span", error_policy=policy
    )
    spots = [Spot(TOKENS, 1, ERROR), *strongest_spots(contrast, 4), Spot(0, 2, ERROR)]
    found = node_orders(contrast, spots, tokens_at_once=90)
    torch.testing.assert_close(found.measured, intervene(contrast, spots), **CLOSE)
    gradients = clean_gradients(contrast)
    raw, known = Raw(contrast), 0
    for row, spot in enumerate(spots):
        change = node_change(contrast, spot)
        first = (gradients[spot.place].gradient * change).sum((1, 2))
        torch.testing.assert_close(found.first[row], first, **CLOSE)
        bends = []
        for step in (1e-5, 5e-6):
            with torch.no_grad():
                ahead, here, behind = (
                    raw.plus(spot.place, size * change) for size in (step, 0.0, -step)
                )
            bends.append((ahead - 2 * here + behind) / step**2)
        # Where a feature further on begins to be active within a step, there is a kink.
        is_smooth = (bends[0] - bends[1]).abs() < 1e-3
        known += int(is_smooth.sum())
        expected = first - bends[0] / 2
        torch.testing.assert_close(
            found.second[row][is_smooth], expected[is_smooth], rtol=1e-4, atol=1e-4
        )
    assert known >= found.first.numel() - 2
    assert (found.first - found.second).abs().max() > 0.01


def test_orders_of_edges(toy: Toy) -> None:
    contrast = make_contrast(toy.model, toy.prompts, positions="span")
    spots = strongest_spots(contrast, 9)
    sources = [spot for spot in spots if spot.place == 0]
    edges = [(s, t) for s in sources for t in spots if t.place > 0]
    edges += [(spots[-1], None), (Spot(TOKENS, 1, ERROR), sources[0])]
    found = edge_orders(contrast, edges)
    torch.testing.assert_close(found.measured, intervene_on_edges(contrast, edges), **CLOSE)
    assert found.first.abs().max() > 0.01
    # The direct edge to the metric is the node itself where no site comes after.
    alone = node_orders(contrast, [spots[-1]]).second[0]
    torch.testing.assert_close(found.second[len(edges) - 2], alone, **CLOSE)


def test_orders_are_taken_along_the_line_that_is_measured(toy: Toy) -> None:
    # On an affine operator and a direct edge to the metric both orders are exact.
    contrast = make_contrast(toy.model, toy.prompts, positions="span", linearization="secant")
    spots = strongest_spots(contrast, 6)
    for found in (
        node_orders(contrast, spots),
        edge_orders(contrast, [(spot, None) for spot in spots]),
    ):
        torch.testing.assert_close(found.first, found.measured, rtol=0, atol=1e-10)
        torch.testing.assert_close(found.second, found.measured, rtol=0, atol=1e-10)


@pytest.mark.parametrize("fixture", ["toy", "llama", "gemma2"])
def test_orders_of_components(request: pytest.FixtureRequest, fixture: str) -> None:
    toy: Toy = request.getfixturevalue(fixture)
    contrast = make_contrast(toy.model, toy.prompts)
    members = [
        Component(0, "head", 1),
        Component(1, "mlp"),
        Component(0, "neuron", 5),
        Component(1, "attention"),
        Component(0, "neuron", 22),
    ]
    found = component_orders(contrast, members, "corrupted")
    for row, member in enumerate(members):
        game = component_stages(contrast, [member], "clean", "corrupted")
        without, whole = walk(game, torch.tensor([[False], [True]]))
        torch.testing.assert_close(
            found.measured[row], whole - without, rtol=0, atol=10 * toy.rounding
        )
    first = first_order_of_all(contrast, 0, "neuron", "corrupted")
    torch.testing.assert_close(found.first[[2, 4]], first[[5, 22]], rtol=0, atol=toy.rounding)


def test_the_profile_by_hand(toy: Toy) -> None:
    contrast = make_contrast(toy.model, toy.prompts, positions="each")
    with torch.no_grad():
        curves = stream_curves(contrast, 5, tokens_at_once=60)
        clean, corrupted = (
            toy.model.bridge.run_with_cache(tokens)[1]
            for tokens in (toy.prompts.clean_tokens, toy.prompts.corrupted_tokens)
        )
    names = [f"blocks.{layer}.hook_resid_pre" for layer in range(3)] + ["ln_final.hook_in"]
    assert len(curves) == len(names)
    for name, curve in zip(names, curves, strict=True):
        for at, share in enumerate([0.0, 0.25, 0.5, 0.75, 1.0]):

            def move(tensor: Tensor, hook: object, share=share, name=name) -> Tensor:
                return (1 - share) * corrupted[name] + share * clean[name]

            with torch.no_grad():
                logits = toy.model.bridge.run_with_hooks(
                    toy.prompts.clean_tokens, fwd_hooks=[(name, move)]
                )
            expected = hand_metric(logits, toy.prompts)
            torch.testing.assert_close(curve[at], expected, rtol=0, atol=1e-10)


def test_tables(toy: Toy) -> None:
    found = sc.linearity(
        toy.model, toy.prompts, n_nodes=6, n_edges=5, n_neurons=3, points=5, batch_size=3
    )
    kinds = found.agreement[found.agreement["layer"] == "all"].set_index("kind")["members"]
    assert kinds["head"] == 6
    assert kinds["neuron"] == 9
    assert kinds["edge"] == 5
    features = found.members[found.members["kind"].isin(["feature", "error", "token"])]
    assert len(features) == 6
    single = sc.linearity(
        toy.model, toy.prompts, n_nodes=6, n_edges=5, n_neurons=3, points=5, batch_size=5
    )
    np.testing.assert_allclose(found.members["second"], single.members["second"], rtol=1e-8)
    assert list(found.profile["layer"]) == [0, 1, 2, 3]
    np.testing.assert_allclose(found.profile["change"], found.profile["change"][0], rtol=1e-9)
    ends = found.curves[found.curves["layer"] == 2]["metric"]
    assert ends.iloc[-1] - ends.iloc[0] == pytest.approx(found.profile["change"][2])
    assert len(found.to_json()["curves"]) == 20


@pytest.mark.parametrize(
    ("choices", "message"),
    [({"points": 4}, "must be odd"), ({"n_neurons": 0}, "at least 1")],
)
def test_numbers_that_have_no_meaning(toy: Toy, choices: dict[str, Any], message: str) -> None:
    with pytest.raises(sc.InputError, match=message):
        sc.linearity(toy.model, toy.prompts, **choices)
