"""Cross-layer transcoders hold every law that dictionaries of one place hold, by sums over places.

Each computation of the package is compared with one by hand: hooks on the bare bridge (`Hand`),
autograd through them, and dense Jacobians.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from saecircuits.edges.attribute import attribute
from saecircuits.edges.reference import ReferenceEdges
from saecircuits.nodes.ablation import Kept, ablate_nodes, keep_all, keep_none
from saecircuits.nodes.contrast import TOKENS, Contrast
from saecircuits.nodes.effects import node_effects, node_index
from saecircuits.nodes.estimators import clean_gradients
from saecircuits.nodes.features_alone import effect_by_features
from saecircuits.nodes.interventions import ERROR, Spot, intervene
from saecircuits.splicing import observe, splice
from tests.architectures import Float64Throughout, build
from tests.cross_layer import CrossLayerToy, Hand, Run, cross_layer_toy
from tests.models import Toy, make_contrast
from tests.tolerance import Tolerance

CLOSE: Tolerance = {"rtol": 0, "atol": 1e-9}
POLICIES = ["recompute", "hold"]
FAMILIES = {"gpt2": "hook_resid_mid", "llama": "mlp.hook_in", "gemma2": "hook_resid_mid"}
SKIPPING = {"gpt2 with skip weights": "gpt2", "gemma2 with skip weights": "gemma2"}


@pytest.fixture(scope="module", params=[*FAMILIES, *SKIPPING])
def crossing(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CrossLayerToy]:
    with Float64Throughout():
        name: str = request.param
        family = SKIPPING.get(name, name)
        bridge = build(family, tmp_path_factory.mktemp(family))
        yield cross_layer_toy(bridge, FAMILIES[family], with_skip=name in SKIPPING)


def _contrast(toy: CrossLayerToy, policy: str, **choices: Any) -> Contrast:
    return make_contrast(toy.model, toy.prompts, error_policy=policy, **choices)


def test_what_is_observed_is_what_is_by_hand(crossing: CrossLayerToy) -> None:
    hand = Hand(crossing, _contrast(crossing, "recompute")).clean
    run = observe(crossing.model, crossing.prompts.clean_tokens)
    for index, site in enumerate(run.sites):
        torch.testing.assert_close(site.features, hand.acts[index], **CLOSE)
        torch.testing.assert_close(site.error, hand.errors[index], **CLOSE)
        whole = run.written(crossing.model, index)
        torch.testing.assert_close(whole[:, 1:], hand.written[index][:, 1:], **CLOSE)
        assert 0.1 < (site.features > 0).double().mean() < 0.6
    bare = crossing.model.bridge(crossing.prompts.clean_tokens)
    torch.testing.assert_close(run.logits, bare, **CLOSE)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("baseline", ["corrupted", "zero"])
def test_effects_are_autograd_s(crossing: CrossLayerToy, policy: str, baseline: str) -> None:
    contrast = _contrast(crossing, policy, baseline=baseline)
    places, slopes = range(len(crossing.model.splices)), _slopes(Hand(crossing, contrast))
    effects = node_effects(contrast, clean_gradients(contrast))
    for place in places:
        clean, base = (run.sites[place] for run in (contrast.clean, contrast.baseline))
        of_features = slopes[place] * (clean.features - base.features)
        of_error = (slopes[len(places) + place] * (clean.error - base.error)).sum(-1)
        expected = torch.cat([of_features, of_error[..., None]], dim=-1)[:, 1:]
        found = torch.as_tensor(effects.effects[:, effects.index.columns(place)].toarray())
        torch.testing.assert_close(found.reshape(expected.shape), expected, **CLOSE)
        assert expected.abs().max() > 1e-3


def test_what_passes_through_no_error_is_the_slope_with_errors_held(
    crossing: CrossLayerToy,
) -> None:
    held, free = (_contrast(crossing, policy) for policy in ("hold", "recompute"))
    expected = clean_gradients(held)[TOKENS].explained
    torch.testing.assert_close(effect_by_features(free), expected, **CLOSE)
    assert (clean_gradients(free)[TOKENS].explained - expected).abs().max() > 1e-3


@pytest.mark.parametrize("policy", POLICIES)
def test_one_node_moved_is_by_hand(crossing: CrossLayerToy, policy: str) -> None:
    contrast = _contrast(crossing, policy)
    hand = Hand(crossing, contrast)
    for place, pos, feature in [
        (0, 2, _active(hand, 0, 2)),
        (1, 4, _active(hand, 1, 4)),
        (0, 2, ERROR),
    ]:
        base = contrast.baseline.sites[place]

        def moved(values: Tensor, base=base, pos=pos, feature=feature) -> Tensor:
            there = values.clone()
            if feature == ERROR:
                there[:, pos] = base.error[:, pos]
            else:
                there[:, pos, feature] = base.features[:, pos, feature]
            return there

        edits = ({}, {place: moved}) if feature == ERROR else ({place: moved}, {})
        expected = hand.clean.metric - hand.run(*edits).metric
        found = intervene(contrast, [Spot(place, pos - 1, feature)])[0]
        torch.testing.assert_close(found, expected.detach(), **CLOSE)


def _active(hand: Hand, place: int, pos: int) -> int:
    """A feature that is active there in some prompts and not in others, so that gates count."""
    share = (hand.clean.acts[place][:, pos] > 0).double().mean(0)
    return int((share - 0.6).abs().argmin())


@pytest.mark.parametrize("policy", POLICIES)
def test_node_ablation_is_by_hand(crossing: CrossLayerToy, policy: str) -> None:
    contrast = _contrast(crossing, policy)
    hand, n_unit = Hand(crossing, contrast), len(contrast.units)
    draw = torch.Generator().manual_seed(3)
    whole = keep_all(crossing.model, n_unit)
    some = Kept.of(tuple(torch.rand(m.shape, generator=draw) < 0.5 for m in whole.masks))
    for kept in (some, some.complement(), some.without_errors()):
        features, errors = {}, {}
        for place, mask in enumerate(kept.masks):
            base, at = contrast.baseline.sites[place], torch.ones(1 + n_unit, mask.shape[1]).bool()
            at[1:] = mask
            features[place] = lambda x, base=base, at=at: torch.where(at[:, :-1], x, base.features)
            errors[place] = lambda x, base=base, at=at: torch.where(at[:, -1:], x, base.error)
        expected = hand.run(features, errors).metric
        (found,) = ablate_nodes(contrast, [kept])
        torch.testing.assert_close(found, expected.detach(), **CLOSE)
        assert (found - hand.clean.metric).abs().max() > 1e-3


@pytest.mark.parametrize("policy", POLICIES)
def test_the_ends_of_ablation(crossing: CrossLayerToy, policy: str) -> None:
    contrast, n_unit = _contrast(crossing, policy), 5
    ends = [keep_all(crossing.model, n_unit), keep_none(crossing.model, n_unit)]
    whole, empty = ablate_nodes(contrast, ends)
    hand = Hand(crossing, contrast)
    torch.testing.assert_close(whole, hand.clean.metric, **CLOSE)
    base = contrast.baseline.sites
    nothing = hand.run(
        {p: lambda x, p=p: base[p].features for p in range(len(base))},
        {p: lambda x, p=p: base[p].error for p in range(len(base))},
    )
    torch.testing.assert_close(empty, nothing.metric, **CLOSE)
    assert (whole - empty).abs().max() > 1e-2


def _slopes(hand: Hand) -> list[Tensor]:
    """`dm/da` of every layer's features, and then `dm/de` of its errors, all along the run."""
    places = range(hand.n_layers)
    zeros = [torch.zeros_like(x).requires_grad_() for x in (*hand.clean.acts, *hand.clean.errors)]
    features = {p: lambda acts, p=p: acts + zeros[p] for p in places}
    errors = {p: lambda error, p=p: error + zeros[hand.n_layers + p] for p in places}
    return list(torch.autograd.grad(hand.run(features, errors).metric.sum(), zeros))


@dataclass(frozen=True, eq=False)
class Cut:
    """The clean run with every MLP's output held but for what is added, and what then arrives."""

    features: list[Tensor]
    errors: list[Tensor]
    tokens: Tensor
    run: Run

    def pulled(self, value: Tensor, vectors: Tensor) -> list[Tensor | None]:
        """Vector-Jacobian products at all that is added, vectors one after the other."""
        added = [*self.features, *self.errors, self.tokens]
        found = torch.autograd.grad(
            value, added, vectors, is_grads_batched=True, retain_graph=True, allow_unused=True
        )
        return list(found)


def _cut(hand: Hand) -> Cut:
    clean, w, contrast = hand.clean, hand.weights, hand.contrast
    features, errors = (
        [torch.zeros_like(x).requires_grad_() for x in of] for of in (clean.acts, clean.errors)
    )
    tokens = torch.zeros_like(contrast.clean.tokens).requires_grad_()

    def writes(layer: int, out: Tensor, skipped: Tensor) -> Tensor:
        added = [features[s] @ w.W_dec[s][:, layer - s] for s in range(layer + 1)]
        # Skip weights belong to no node: they pass on what arrives.
        arrived = skipped - clean.skipped[layer]
        return clean.written[layer] + arrived + sum(added, errors[layer])

    run = hand.run(writes=writes, tokens=lambda embedded: embedded + tokens, is_held=False)
    return Cut(features, errors, tokens, run)


@pytest.mark.filterwarnings("ignore:A forward hook edited hook_scale")
@pytest.mark.parametrize("linearization", ["full", "frozen"])
@pytest.mark.parametrize("policy", POLICIES)
def test_edges_are_the_dense_jacobian(
    crossing: CrossLayerToy, policy: str, linearization: str
) -> None:
    contrast = _contrast(crossing, policy, linearization=linearization)
    hand = Hand(crossing, contrast)
    slopes, cut, n = _slopes(hand), _cut(hand), hand.n_layers
    engine = ReferenceEdges(contrast, clean_gradients(contrast), _spots(contrast))
    met = 0
    for place in range(n):
        here = [spot for spot in _spots(contrast) if spot.place == place]
        features = tuple(spot for spot in here if spot.feature != ERROR)
        at = [[spot.unit + 1 for spot in features], [spot.feature for spot in features]]
        one = torch.zeros(len(features), *hand.clean.acts[place].shape)
        one[range(len(features)), :, at[0], at[1]] = 1.0
        pulled = cut.pulled(cut.run.acts[place], one.double())
        slope = slopes[place][:, at[0], at[1]].T
        met += _compare(contrast, engine, features, pulled, slope)
        if policy == "recompute":
            units = [torch.arange(6) == 1 + unit for unit in range(5)]
            vectors = torch.stack([slopes[n + place] * unit[:, None] for unit in units])
            targets = tuple(Spot(place, unit, ERROR) for unit in range(5))
            pulled = cut.pulled(cut.run.errors[place], vectors)
            met += _compare(contrast, engine, targets, pulled, torch.ones(5, 5))
    pulled = cut.pulled(cut.run.metric, torch.ones(1, 5).double())
    met += _compare(contrast, engine, None, pulled, torch.ones(1, 5))
    assert met > 500


def _spots(contrast: Contrast) -> list[Spot]:
    index = node_index(contrast)
    return [index.spot(column) for column in range(index.size)]


def _compare(
    contrast: Contrast,
    engine: ReferenceEdges,
    targets: tuple[Spot, ...] | None,
    pulled: list[Tensor | None],
    slope: Tensor,
) -> int:
    """Every edge into some targets with its place in the dense Jacobian: how many are not zero.

    Args:
        pulled: by what was added, `[n_target, batch, pos, width]`.
        slope: of every target, `[n_target, batch]`.
    """
    n_site, clean, base, met = len(contrast.model.splices), contrast.clean, contrast.baseline, 0
    for block in engine.into(targets):
        place = block.sources[0].place
        unit = torch.tensor([spot.unit + 1 for spot in block.sources])
        feature = torch.tensor([spot.feature for spot in block.sources])
        weights, change = torch.zeros(2, *block.weights.shape, dtype=torch.float64)
        is_feature = feature != ERROR
        if place == TOKENS:
            of_whole, moved = pulled[2 * n_site], clean.tokens - base.tokens
        else:
            of_whole = pulled[n_site + place]
            moved = clean.sites[place].error - base.sites[place].error
            acts = clean.sites[place].features - base.sites[place].features
            direct, at = pulled[place], (unit[is_feature], feature[is_feature])
            assert direct is not None
            weights[:, is_feature] = direct[:, :, at[0], at[1]].transpose(1, 2)
            change[:, is_feature] = acts[:, at[0], at[1]].T
        if of_whole is not None:
            whole = (of_whole * moved).sum(-1)[..., unit[~is_feature]]
            weights[:, ~is_feature] = whole.transpose(1, 2)
        change[:, ~is_feature] = 1.0
        effects = weights * change * slope[:, None]
        torch.testing.assert_close(block.effects, effects, **CLOSE)
        if targets is None or targets[0].feature != ERROR:
            torch.testing.assert_close(block.weights, weights, **CLOSE)
        met += int((effects.abs() > 1e-3).sum())
    return met


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"thresholds": "held", "linearization": "frozen"},
        {"error_policy": "hold"},
        {"positions": "span"},
    ],
    ids=str,
)
def test_out_edges_add_up_to_the_node(crossing: CrossLayerToy, choices: dict[str, Any]) -> None:
    _assert_conserved(crossing, {"positions": "each", **choices})


def test_so_they_do_for_autoencoders_that_write_further_on(toy_crossing: CrossLayerToy) -> None:
    layers = toy_crossing.weights.transcoder("hook_resid_mid").layers
    given = dict(zip(toy_crossing.model.hooks, layers, strict=True))
    model = splice(toy_crossing.model.bridge, given)
    assert not any(found.site.is_transcoder for found in model.splices)
    _assert_conserved(Toy(model, toy_crossing.prompts), {"positions": "span"})


def _assert_conserved(toy: Toy, choices: dict[str, Any]) -> None:
    graph = attribute(toy.model, toy.prompts, max_nodes=10**6, parts=False, **choices)
    assert graph.summary["edge_engine"].startswith("reference")
    nodes = graph.nodes.iloc[1:].set_index("node")
    out = graph.edges.groupby("source")["effect"].sum().reindex(nodes.index).fillna(0)
    np.testing.assert_allclose(out, nodes["effect"], **CLOSE)
    assert (nodes["effect"].abs() > 0.01).sum() > 10
