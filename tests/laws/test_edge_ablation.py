"""Edge ablation: its ends, its agreement with node ablation, and a slow one node by node."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from saecircuits.edges.ablation import Edge, Wiring, ablate_edges, wire, wire_all
from saecircuits.nodes.ablation import ablate_nodes, keep_all, keep_none, keep_spots
from saecircuits.nodes.contrast import TOKENS, Contrast
from saecircuits.nodes.interventions import ERROR, Spot, node_change
from saecircuits.splicing import splice
from tests.architectures import Float64Throughout, build
from tests.by_hand import Raw
from tests.models import Toy, make_contrast, random_sae, toy_prompts
from tests.tolerance import Tolerance

CLOSE: Tolerance = {"rtol": 1e-9, "atol": 1e-11}
POLICIES = ["recompute", "hold"]
BASELINES = ["corrupted", "mean", "zero", "resample"]


def _spots(contrast: Contrast, share: float, seed: int = 0) -> list[Spot]:
    """Features that differ from their baseline somewhere, and error nodes: a random share."""
    found = []
    for place in contrast.places[1:]:
        changed = contrast.feature_change(place).dense() != 0
        for unit in range(len(contrast.units)):
            there = changed[contrast.units.clean == unit].any(0).nonzero()[:, 0].tolist()
            found += [Spot(place, unit, feature) for feature in (*there, ERROR)]
    return random.Random(seed).sample(found, int(share * len(found)))


def _random_edges(contrast: Contrast, spots: list[Spot], share: float) -> list[Edge]:
    generator = random.Random(1)
    every = wire_all(spots, n_unit=len(contrast.units))
    pairs = [(u, v) for v, parents in every.parents.items() for u in sorted(parents)]
    return [pair for pair in pairs if generator.random() < share]


def _ablate_by_hand(contrast: Contrast, wiring: Wiring) -> Tensor:
    """Every node by a run of its own on the bare bridge, from the first token to the last."""
    raw, changes = Raw(contrast), dict[Spot, Tensor]()

    def run(reader: Spot | None) -> tuple[dict[int, tuple[Tensor, Tensor]], Tensor]:
        arriving: dict[int, tuple[Tensor, Tensor]] = {}
        inside = (contrast.units.clean >= 0)[..., None]

        def edit_at(place: int) -> Callable[[Tensor, Tensor], Tensor]:
            def edit(read: Tensor, written: Tensor) -> Tensor:
                arriving[place] = (read, written)
                if place == TOKENS:
                    out = written if reader is None else contrast.baseline.tokens
                else:
                    base, dictionary = contrast.baseline.sites[place], raw.dictionary(place)
                    out = dictionary.decode(base.features) + base.error + dictionary.skip(read)
                parents = wiring.parents.get(reader, frozenset())
                for spot in parents:
                    if spot.place == place and not (place == TOKENS and reader is None):
                        out = out + changes[spot]
                return torch.where(inside, out, written)

            return edit

        return arriving, raw.metric({place: edit_at(place) for place in raw.places})

    for spot in wiring.members:
        if spot.place == TOKENS:
            changes[spot] = node_change(contrast, spot)
            continue
        arriving, _ = run(spot)
        read, written = arriving[spot.place]
        dictionary, base = raw.dictionary(spot.place), contrast.baseline.sites[spot.place]
        if spot.feature == ERROR:
            error = written - dictionary.reconstruct(read)
            if contrast.error_policy == "hold":
                error = raw.error(spot.place)
            change = error - base.error
        else:
            acts = dictionary.encode(read) - base.features
            change = acts[..., spot.feature, None] * dictionary.W_dec[spot.feature]
        changes[spot] = change * (contrast.units.clean == spot.unit)[..., None]
    return run(None)[1]


def _contrast(request: pytest.FixtureRequest, fixture: str, policy: str, baseline: str) -> Contrast:
    toy: Toy = request.getfixturevalue(fixture)
    return make_contrast(
        toy.model, toy.prompts, positions="span", baseline=baseline, error_policy=policy
    )


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("baseline", ["corrupted", "resample"])
@pytest.mark.parametrize("fixture", ["toy", "toy_mixed", "toy_uneven"])
def test_a_circuit_by_hand(
    request: pytest.FixtureRequest, fixture: str, policy: str, baseline: str
) -> None:
    contrast = _contrast(request, fixture, policy, baseline)
    spots = _spots(contrast, 0.12)
    wirings = [wire(_random_edges(contrast, spots, share)) for share in (0.5, 0.8)]
    found = ablate_edges(contrast, wirings)
    with torch.no_grad():
        expected = torch.stack([_ablate_by_hand(contrast, wiring) for wiring in wirings])
    torch.testing.assert_close(found, expected, **CLOSE)
    assert (found[0] - found[1]).abs().max() > 1e-3
    # Which nodes share a run does not matter.
    torch.testing.assert_close(ablate_edges(contrast, wirings, tokens_at_once=1), found, **CLOSE)


@pytest.mark.parametrize(
    ("fixture", "policy", "baseline"),
    [("toy_unusual", "recompute", "corrupted"), ("toy_places", "hold", "resample")],
)
def test_a_small_circuit_of_unusual_dictionaries_by_hand(
    request: pytest.FixtureRequest, fixture: str, policy: str, baseline: str
) -> None:
    toy: Toy = request.getfixturevalue(fixture)
    contrast = make_contrast(
        toy.model, toy.prompts, positions="sum", baseline=baseline, error_policy=policy
    )
    wirings = [wire(_random_edges(contrast, _spots(contrast, 0.2), 0.7)), wire([])]
    found = ablate_edges(contrast, wirings)
    with torch.no_grad():
        torch.testing.assert_close(found[0], _ablate_by_hand(contrast, wirings[0]), **CLOSE)
    assert (found[0] - found[1]).abs().max() > 1e-3


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize(
    "fixture", ["toy", "toy_mixed", "toy_uneven", "toy_crossing", "toy_places"]
)
def test_all_edges_are_node_ablation_and_the_ends_are_the_ends(
    request: pytest.FixtureRequest, fixture: str, policy: str, baseline: str
) -> None:
    contrast = _contrast(request, fixture, policy, baseline)
    n_unit, spots = len(contrast.units), _spots(contrast, 0.3)
    kept = keep_spots(contrast.model, n_unit, spots)
    nodes = ablate_nodes(
        contrast,
        [kept, keep_none(contrast.model, n_unit), keep_all(contrast.model, n_unit)],
    )
    all_of_them = wire_all(spots, n_unit=n_unit)
    edges = ablate_edges(contrast, [all_of_them, wire([]), wire([]).complement()])
    torch.testing.assert_close(edges, nodes, **CLOSE)
    assert (nodes[0] - nodes[1]).abs().max() > 1e-3


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("fixture", ["toy", "toy_mixed", "toy_crossing"])
def test_all_other_edges_by_naming_them(
    request: pytest.FixtureRequest, fixture: str, policy: str
) -> None:
    # Of all nodes that differ from their baseline, the edges cut here and those kept there are the
    # same set; what does not differ carries nothing as long as it reads what it read.
    toy: Toy = request.getfixturevalue(fixture)
    contrast = make_contrast(toy.model, toy.prompts, positions="sum", error_policy=policy)
    every = [
        Spot(place, 0, feature)
        for place in contrast.places[1:]
        for feature in range(ERROR, contrast.model.splices[place].dictionary.d_sae)
    ]
    cut = _random_edges(contrast, random.Random(2).sample(every, 19), 0.5)
    pairs = wire_all(every, n_unit=1).parents
    named = set(cut)
    kept = wire([(u, v) for v, parents in pairs.items() for u in parents if (u, v) not in named])
    found = ablate_edges(contrast, [wire(cut).complement(), kept])
    torch.testing.assert_close(found[0], found[1], **CLOSE)
    whole = ablate_edges(contrast, [wire([]).complement()])[0]
    assert (found[0] - whole).abs().max() > 1e-3


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("family", ["gpt2", "neox", "llama", "gemma2", "qwen3", "gptj", "bloom"])
def test_all_edges_are_node_ablation_in_every_family(
    family: str, policy: str, tmp_path: Path
) -> None:
    with Float64Throughout():
        bridge = build(family, tmp_path)
        width = bridge.cfg.d_model
        dictionaries = {
            "blocks.0.hook_attn_out": random_sae("jumprelu", d_in=width, seed=1),
            "blocks.0.hook_resid_post": random_sae("jumprelu", d_in=width, seed=2),
            "blocks.1.hook_mlp_out": random_sae("gated", d_in=width, seed=3),
            "blocks.1.hook_resid_post": random_sae("topk", d_in=width, seed=4, k=7),
        }
        model = splice(bridge, dictionaries, name=family)
        contrast = make_contrast(model, toy_prompts(bridge), positions="span", error_policy=policy)
        n_unit, spots = len(contrast.units), _spots(contrast, 0.4)
        nodes = ablate_nodes(contrast, [keep_spots(model, n_unit, spots), keep_none(model, n_unit)])
        edges = ablate_edges(contrast, [wire_all(spots, n_unit=n_unit), wire([])])
    torch.testing.assert_close(edges, nodes, **CLOSE)
    assert (nodes[0] - nodes[1]).abs().max() > 1e-3


def test_an_edge_that_is_not_there_carries_nothing(toy: Toy) -> None:
    # A node whose way to the metric is cut might as well be out.
    contrast = make_contrast(toy.model, toy.prompts, positions="span")
    spots = [Spot(place, unit, ERROR) for place in (0, 1, 2) for unit in (1, 2)]
    lost = Spot(1, 2, ERROR)
    every = wire_all(spots, n_unit=3).parents
    cut = Wiring({reader: parents - {lost} for reader, parents in every.items()})
    without = wire_all([spot for spot in spots if spot != lost], n_unit=3)
    found = ablate_edges(contrast, [cut, without, Wiring(every)])
    torch.testing.assert_close(found[0], found[1], **CLOSE)
    assert (found[0] - found[2]).abs().max() > 1e-3
