"""Every choice that `attribute` takes: estimators, baselines, operators, policies, places."""

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from saecircuits.choices import looked_up
from saecircuits.edges.attribute import attribute
from saecircuits.edges.engines import Reference
from saecircuits.edges.estimators import ESTIMATORS, Estimator
from saecircuits.edges.interventions import intervene_on_edges
from saecircuits.edges.settings import AttributionSettings
from saecircuits.errors import InputError, TaskError, UnknownNameError
from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.estimators import IntegrationSettings, PlaceGradient, clean_gradients
from saecircuits.nodes.interventions import Spot, intervene
from saecircuits.nodes.names import METRIC, node_id, parse_node_id
from saecircuits.splicing import observe
from tests.edges.test_attribute import GRADIENT
from tests.models import Toy, make_contrast


@pytest.mark.parametrize("policy", ["recompute", "hold"])
def test_measured_graphs_hold_measured_effects(toy: Toy, policy: str) -> None:
    choices: dict[str, Any] = {"error_policy": policy}
    graph = attribute(
        toy.model,
        toy.prompts,
        estimator="intervention",
        positions="span",
        max_nodes=12,
        batch_size=3,
        **choices,
    )
    contrast = make_contrast(toy.model, toy.prompts, positions="span", **choices)
    names = contrast.units.names
    nodes = graph.nodes.iloc[1:]
    spots = [parse_node_id(toy.model, names, node) for node in nodes["node"]]
    measured = intervene(contrast, spots).mean(1)
    np.testing.assert_allclose(nodes["effect"], measured, rtol=1e-8, atol=1e-10)
    pairs = [
        (
            parse_node_id(toy.model, names, source),
            None if target == METRIC else parse_node_id(toy.model, names, target),
        )
        for source, target in zip(graph.edges["source"], graph.edges["target"], strict=True)
    ]
    measured = intervene_on_edges(contrast, pairs).mean(1)
    np.testing.assert_allclose(graph.edges["effect"], measured, rtol=1e-8, atol=1e-10)
    # No node that moves is left out, whatever its gradient says.
    for place in range(3):
        moved = contrast.feature_change(place).dense().abs().sum(0)
        for unit in range(3):
            here = moved[contrast.units.clean[0] == unit].sum(0).nonzero().flatten().tolist()
            ids = {node_id(toy.model, names, Spot(place, unit, feature)) for feature in here}
            assert ids <= set(nodes["node"])


def test_what_a_closed_gate_hides_is_measured_all_the_same(toy: Toy) -> None:
    # Every feature of the second site is closed in the clean run, so under `hold` no gradient
    # reaches the first. Taking a node out opens some of them, and that has an effect.
    first, second = toy.model.splices[:2]
    dictionary = replace(second.dictionary, kind="relu", threshold=None)
    streams = observe(toy.model, toy.prompts.clean_tokens).written(toy.model, 1)
    highest = ((streams - dictionary.shift) @ dictionary.W_enc).amax((0, 1))
    closed = replace(second, dictionary=replace(dictionary, b_enc=-highest - 1e-3))
    model = replace(toy.model, splices=(first, closed))
    graphs = [
        attribute(
            model,
            toy.prompts,
            estimator=estimator,
            positions="sum",
            error_policy="hold",
            max_nodes=1,
        )
        for estimator in ("gradient", "intervention")
    ]
    effects = [
        graph.nodes.loc[graph.nodes["site"] == first.site.hook, "effect"].abs() for graph in graphs
    ]
    assert effects[0].max() == 0
    assert effects[1].max() > 1e-2


@pytest.mark.parametrize("baseline", ["corrupted", "mean", "zero", "resample"])
@pytest.mark.parametrize("estimator", ["gradient", "integrated_gradients", "intervention"])
def test_every_baseline_and_estimator_runs(toy_uneven: Toy, baseline: str, estimator: str) -> None:
    graph = attribute(
        toy_uneven.model,
        toy_uneven.prompts.subset([0, 4]),
        baseline=baseline,
        estimator=estimator,
        positions="sum",
        max_nodes=20,
        tolerance=0.05,
    )
    assert (graph.settings.baseline, graph.settings.estimator) == (baseline, estimator)
    assert np.isfinite(graph.nodes["effect"]).all()
    assert np.isfinite(graph.edges["effect"]).all()
    assert len(graph.edges) >= 6
    assert ("token" in set(graph.nodes["kind"])) == (baseline != "zero")
    gaps = [place.get("completeness_gap") for place in graph.summary["places"]]
    if estimator == "integrated_gradients":
        for gap, place in zip(gaps, graph.summary["places"], strict=True):
            assert gap <= 0.05 or place["steps"] == 64
    else:
        assert gaps == [None] * 4
    assert [place["site"] for place in graph.summary["places"]] == [
        "hook_embed",
        *toy_uneven.model.hooks,
    ]


@pytest.mark.parametrize(
    ("linearization", "policy"), [("full", "hold"), ("frozen", "recompute"), ("secant", "hold")]
)
@pytest.mark.filterwarnings("ignore:A forward hook edited hook_scale")
def test_every_operator_and_policy_runs(each_family: Toy, linearization: str, policy: str) -> None:
    graph = attribute(
        each_family.model,
        each_family.prompts.subset([0, 3]),
        linearization=linearization,
        error_policy=policy,
        **GRADIENT,
    )
    assert np.isfinite(graph.edges["effect"]).all()
    targets = graph.edges["target"].str.contains("error")
    assert bool(targets.any()) == (policy == "recompute")


def test_spans_and_sum_take_prompts_of_any_length(toy_uneven: Toy) -> None:
    with pytest.raises(TaskError, match="positions='span'"):
        attribute(toy_uneven.model, toy_uneven.prompts, positions="each")
    graph = attribute(toy_uneven.model, toy_uneven.prompts, **{**GRADIENT, "positions": "sum"})
    assert set(graph.nodes["span"]) == {"prompt"}
    # In the sum over positions a node's effect is that of its spans together.
    spans = attribute(toy_uneven.model, toy_uneven.prompts, **{**GRADIENT, "baseline": "zero"})
    whole = attribute(
        toy_uneven.model,
        toy_uneven.prompts,
        **{**GRADIENT, "baseline": "zero", "positions": "sum"},
    )
    parts = spans.nodes.iloc[1:]
    parts = parts["effect"].groupby(parts["node"].str.partition("@")[0]).sum()
    together = whole.nodes.iloc[1:].set_index("node")["effect"]
    together.index = together.index.str.partition("@").get_level_values(0)
    np.testing.assert_allclose(together, parts.reindex(together.index), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "choice",
    [
        {"estimator": "grad"},
        {"linearization": "linear"},
        {"positions": "all"},
        {"error_policy": "drop"},
        {"baseline": "patched"},
        {"max_node": 3},
    ],
)
def test_unknown_choices_are_refused(toy: Toy, choice: dict[str, Any]) -> None:
    with pytest.raises(UnknownNameError):
        attribute(toy.model, toy.prompts, **choice)


class _Mine(Reference):
    name = "mine"
    description = "the reference under another name"


def test_an_engine_of_ones_own(toy: Toy) -> None:
    found = [
        attribute(toy.model, toy.prompts, max_nodes=12, engine=engine)
        for engine in (_Mine(), "reference")
    ]
    assert found[0].summary["edge_engine"] == "mine (asked for)"
    assert found[0].settings.model_dump()["engine"] == "mine"
    assert found[0].edges.equals(found[1].edges)
    stored = AttributionSettings(**AttributionSettings.stored(found[0].settings.model_dump()))
    assert stored.model_dump() == found[0].settings.model_dump()
    with pytest.raises(InputError, match=r"mine engine does not cover.*by its name alone"):
        attribute(toy.model, toy.prompts, settings=stored)


class _Twice(Estimator):
    """Twice the gradient."""

    name = "twice"
    description = "twice the gradient"

    def gradients(self, contrast: Contrast) -> dict[int, PlaceGradient]:
        found = clean_gradients(contrast)
        return {place: replace(one, gradient=2 * one.gradient) for place, one in found.items()}


def test_an_estimator_of_ones_own(toy: Toy) -> None:
    mine = attribute(toy.model, toy.prompts, max_nodes=12, estimator=_Twice())
    plain = attribute(toy.model, toy.prompts, max_nodes=12, thresholds="held")
    effects = [graph.nodes.set_index("node")["effect"].iloc[1:] for graph in (mine, plain)]
    np.testing.assert_allclose(effects[0], 2 * effects[1].reindex(effects[0].index), rtol=1e-9)
    # Thresholds are crossed by slopes of the model as it is alone.
    assert mine.settings.thresholds == "held"
    with pytest.raises(InputError, match="estimator is an IntegrationSettings of saecircuits"):
        looked_up("estimator", cast(Any, IntegrationSettings()), ESTIMATORS, Estimator)
