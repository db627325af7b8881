"""Cross-layer transcoders in runs that are measured: edges, masks and whole sites, each by hand."""

import random
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from saecircuits.circuits.soft_ablation import SoftAblation
from saecircuits.edges.ablation import Wiring, ablate_edges, wire, wire_all
from saecircuits.edges.interventions import intervene_on_edges
from saecircuits.nodes.contrast import TOKENS, Contrast
from saecircuits.nodes.estimators import integrated_gradients
from saecircuits.nodes.interventions import ERROR, Spot
from tests.architectures import Float64Throughout, build
from tests.cross_layer import CrossLayerToy, Hand, cross_layer_toy
from tests.models import make_contrast
from tests.tolerance import Tolerance

CLOSE: Tolerance = {"rtol": 0, "atol": 1e-9}
POLICIES = ["recompute", "hold"]
FAMILIES = {"gpt2": "hook_resid_mid", "llama": "mlp.hook_in"}


@pytest.fixture(scope="module", params=FAMILIES)
def crossing(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CrossLayerToy]:
    with Float64Throughout():
        bridge = build(request.param, tmp_path_factory.mktemp(request.param))
        yield cross_layer_toy(bridge, FAMILIES[request.param], seed=4)


@pytest.fixture(params=POLICIES)
def contrast(request: pytest.FixtureRequest, crossing: CrossLayerToy) -> Contrast:
    # Of another prompt, so that all positions differ.
    return make_contrast(
        crossing.model, crossing.prompts, baseline="resample", error_policy=request.param
    )


def _changed(contrast: Contrast, count: int, seed: int = 0) -> list[Spot]:
    """Random features that differ from their baseline, and every site's error at the last token."""
    found = []
    for place in contrast.places[1:]:
        there = contrast.feature_change(place).dense() != 0
        for unit in range(len(contrast.units)):
            features = there[:, unit + 1].any(0).nonzero()[:, 0].tolist()
            found += [Spot(place, unit, feature) for feature in features]
    draw = random.Random(seed)
    errors = [Spot(place, 4, ERROR) for place in contrast.places[1:]]
    return sorted([*draw.sample(found, count), *errors])


class _Values:
    """Values of nodes by hand: at their baselines, in the clean run, and what they write."""

    def __init__(self, hand: Hand) -> None:
        self.hand, self.base = hand, hand.contrast.baseline

    def base_of(self, spot: Spot) -> Tensor:
        if spot.place == TOKENS:
            return self.base.tokens[:, spot.unit + 1]
        site = self.base.sites[spot.place]
        return self.read(site.features, site.error, spot)

    def read(self, acts: Tensor, error: Tensor, spot: Spot) -> Tensor:
        at = error if spot.feature == ERROR else acts[..., spot.feature, None]
        return at[:, spot.unit + 1]

    def written(self, layer: int, moved: dict[Spot, Tensor]) -> Tensor:
        """What is written at a layer with these changes of nodes from their baselines."""
        w, base = self.hand.weights, self.base.sites
        features = [site.features.clone() for site in base[: layer + 1]]
        error = base[layer].error.clone()
        for spot, change in moved.items():
            if spot.feature != ERROR and spot.place <= layer:
                features[spot.place][:, spot.unit + 1, spot.feature] += change[:, 0]
            elif spot.place == layer:
                error[:, spot.unit + 1] += change
        decoded = (acts @ w.W_dec[s][:, layer - s] for s, acts in enumerate(features))
        return sum(decoded, error + w.b_dec[layer])


def _ablate_by_hand(hand: Hand, wiring: Wiring) -> Tensor:
    """Every node by a run of its own, from the first token to the last."""
    values, moved = _Values(hand), dict[Spot, Tensor]()

    def run(reader: Spot | None):
        parents = {u: moved[u] for u in wiring.parents.get(reader, frozenset())}

        def tokens(embedded: Tensor) -> Tensor:
            out = values.base.tokens.clone()
            for spot, change in parents.items():
                if spot.place == TOKENS:
                    out[:, spot.unit + 1] += change
            return embedded if reader is None else out

        return hand.run(
            writes=lambda layer, out, _: values.written(layer, parents),
            tokens=tokens,
            is_held=False,
        )

    for spot in wiring.members:
        if spot.place == TOKENS:
            now = hand.contrast.clean.tokens[:, spot.unit + 1]
        else:
            found = run(spot)
            error = (hand.clean if hand.is_held else found).errors[spot.place]
            now = values.read(found.acts[spot.place], error, spot)
        moved[spot] = now - values.base_of(spot)
    return run(None).metric


def test_edge_ablation_is_by_hand(crossing: CrossLayerToy, contrast: Contrast) -> None:
    hand, draw = Hand(crossing, contrast), random.Random(1)
    every = wire_all(_changed(contrast, 14), n_unit=5).parents
    pairs = [(u, v) for v, parents in every.items() for u in sorted(parents)]
    wirings = [wire([pair for pair in pairs if draw.random() < share]) for share in (0.5, 0.8)]
    found = ablate_edges(contrast, wirings)
    with torch.no_grad():
        expected = torch.stack([_ablate_by_hand(hand, wiring) for wiring in wirings])
    torch.testing.assert_close(found, expected, **CLOSE)
    assert (found[0] - found[1]).abs().max() > 1e-3


def test_one_edge_measured_is_by_hand(crossing: CrossLayerToy, contrast: Contrast) -> None:
    hand, values = Hand(crossing, contrast), _Values(Hand(crossing, contrast))
    nodes = _changed(contrast, 9, seed=2)
    ends = [v for v in nodes if not (hand.is_held and v.feature == ERROR)]
    every = [(u, v) for u in nodes for v in (*ends, None) if v is None or u.place < v.place]
    edges = random.Random(0).sample(every, 17)
    edges += [(u, v) for u, v in every if v is not None and v.feature == ERROR][:9]
    expected = []
    for source, target in edges:
        clean = values.read(hand.clean.acts[source.place], hand.clean.errors[source.place], source)
        moved = {source: values.base_of(source) - clean}

        def writes(
            layer: int, out: Tensor, skipped: Tensor, moved: dict[Spot, Tensor] = moved
        ) -> Tensor:
            more = values.written(layer, moved) - values.written(layer, {})
            return hand.clean.written[layer] + more

        run = hand.run(writes=writes, is_held=False)
        if target is not None:
            new = values.read(run.acts[target.place], run.errors[target.place], target)

            def put(there: Tensor, target: Spot = target, new: Tensor = new) -> Tensor:
                out = there.clone()
                if target.feature == ERROR:
                    out[:, target.unit + 1] = new
                else:
                    out[:, target.unit + 1, target.feature] = new[:, 0]
                return out

            edits = ({}, {target.place: put}) if target.feature == ERROR else ({target.place: put},)
            run = hand.run(*edits)
        expected.append(hand.clean.metric - run.metric)
    found = intervene_on_edges(contrast, edges)
    torch.testing.assert_close(found, torch.stack(expected).detach(), **CLOSE)
    assert (found.abs() > 1e-6).sum() > 10


def test_masks_and_their_gradient_are_by_hand(crossing: CrossLayerToy, contrast: Contrast) -> None:
    hand, nodes = Hand(crossing, contrast), _changed(contrast, 11, seed=3)
    draw = torch.Generator().manual_seed(5)
    values = torch.rand(len(nodes), generator=draw, dtype=torch.float64)
    values[:3] = 0.0
    masks, by_hand = (values.clone().requires_grad_() for _ in range(2))
    features, errors = {}, {}
    for place in contrast.places[1:]:
        base = contrast.baseline.sites[place]
        shares = torch.zeros(6, base.features.shape[-1] + 1, dtype=torch.float64)
        for spot, mask in zip(nodes, by_hand, strict=True):
            if spot.place == place:
                one = torch.zeros_like(shares)
                one[spot.unit + 1, spot.feature] = 1.0
                shares = shares + mask * one
        acts, error = base.features, base.error
        features[place] = lambda x, s=shares, b=acts: b + s[:, :-1] * (x - b)
        errors[place] = lambda x, s=shares, b=error: b + s[:, -1:] * (x - b)
    expected = hand.run(features, errors).metric
    found = SoftAblation(contrast, nodes).metric(masks)
    torch.testing.assert_close(found, expected, **CLOSE)
    (slopes,) = torch.autograd.grad(found.sum(), masks)
    (slopes_by_hand,) = torch.autograd.grad(expected.sum(), by_hand)
    torch.testing.assert_close(slopes, slopes_by_hand, **CLOSE)
    assert slopes[:3].abs().max() > 1e-4


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_line_of_all_places_is_by_hand(
    crossing: CrossLayerToy, contrast: Contrast, share: float
) -> None:
    hand, (at_site, _) = Hand(crossing, contrast), contrast.between(share)
    values = _Values(hand)
    for layer, clean in enumerate(hand.clean.written):
        base = values.written(layer, {})
        expected = base + share * (clean - base)
        found = at_site(layer, torch.zeros_like(clean), torch.zeros_like(clean))
        torch.testing.assert_close(found[:, 1:], expected[:, 1:], **CLOSE)


def test_integrated_gradients_are_of_the_whole_site(
    crossing: CrossLayerToy, contrast: Contrast
) -> None:
    hand = Hand(crossing, contrast)
    for place, found in integrated_gradients(contrast).items():
        if place == TOKENS:
            continue
        base = contrast.baseline.sites[place]
        gone = hand.run({place: lambda x, b=base: b.features}, {place: lambda x, b=base: b.error})
        actual = hand.clean.metric - gone.metric.detach()
        torch.testing.assert_close(found.actual, actual, **CLOSE)
        if not hand.is_held:  # held errors make steps of gates that open along the line
            gap = (found.explained - actual).abs().sum() / actual.abs().sum()
            assert gap < 0.01, (place, gap, found.steps)
