"""What goes by features and what by errors: two computations of each way of counting agree."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from saecircuits.edges.attribute import attribute
from saecircuits.edges.graph import AttributionGraph
from saecircuits.edges.graph_scores import GraphScores, graph_scores
from saecircuits.edges.linear import linear_graph
from saecircuits.nodes.contrast import TOKENS
from saecircuits.nodes.estimators import clean_gradients
from saecircuits.nodes.features_alone import effect_by_features, token_effects
from saecircuits.splicing.operators import Linearization
from saecircuits.theory.graph_scores import UnsignedScores, unsigned_scores
from tests.architectures import EACH_KIND, Float64Throughout, family_toy
from tests.models import Toy, make_contrast

EVERYTHING: dict[str, Any] = {"max_nodes": None, "max_edges": 10**6, "parts": False}
FIXTURES = ["toy", "toy_mixed", "toy_unusual", "toy_places", "toy_crossing"]


def _scores(graph: AttributionGraph) -> GraphScores:
    found = GraphScores.of(graph.summary)
    assert found is not None
    return found


def _of_table(graph: AttributionGraph) -> UnsignedScores:
    """From the table of edges of one prompt, without the features that nothing comes into."""
    kind = graph.nodes.set_index("node")["kind"]
    edges = graph.edges[graph.edges["target"].map(kind) != "error"]
    while len(idle := _idle(kind, edges)):
        edges = edges[~edges["source"].isin(idle)]
    place = {node: number for number, node in enumerate(kind.index)}
    ends = edges["target"].map(place), edges["source"].map(place)
    A = sparse.csr_matrix((edges["effect"], ends), shape=(len(kind), len(kind)))
    kinds = kind.to_numpy(str)
    readout = (kinds == "metric").astype(float)
    return unsigned_scores(A, is_token=kinds == "token", is_error=kinds == "error", readout=readout)


def _idle(kind: pd.Series, edges: pd.DataFrame) -> set[str]:
    begins = set(edges["source"]) - set(edges["target"])
    return {node for node in begins if kind[node] == "feature"}


@pytest.mark.parametrize("policy", ["recompute", "hold"])
@pytest.mark.parametrize("fixture", FIXTURES)
def test_going_forward_is_going_back_prompt_by_prompt(
    request: pytest.FixtureRequest, fixture: str, policy: str
) -> None:
    toy = request.getfixturevalue(fixture)
    choices = {**EVERYTHING, "error_policy": policy, "positions": "span", "batch_size": 2}
    whole = attribute(toy.model, toy.prompts, **choices)
    alone = [
        attribute(toy.model, toy.prompts.subset([number]), thresholds="held", **choices)
        for number in range(len(toy.prompts))
    ]
    expected = np.array([_of_table(graph) for graph in alone])
    for graph, (replacement, completeness) in zip(alone, expected, strict=True):
        scores = _scores(graph)
        assert scores.replacement == pytest.approx(replacement, rel=1e-9)
        assert scores.completeness == pytest.approx(completeness, rel=1e-9)
        assert scores.replacement_low is None and scores.features_share_low is None
    # Thresholds that the graph's edges cross are nothing to them.
    scores = _scores(whole)
    assert scores.replacement == pytest.approx(expected[:, 0].mean(), rel=1e-9)
    assert scores.completeness == pytest.approx(expected[:, 1].mean(), rel=1e-9)
    assert expected[:, 0].min() > 0.02 and np.ptp(expected[:, 0]) > 0.01
    assert scores.replacement_low is not None and scores.replacement_high is not None
    assert scores.replacement_low < expected[:, 0].mean() < scores.replacement_high


def test_errors_have_no_inputs_under_either_policy(toy: Toy) -> None:
    # Where a unit has several tokens, they are weighted by what they do, which is not the same.
    choices = {"positions": "each", **EVERYTHING}
    found = [
        _scores(attribute(toy.model, toy.prompts, error_policy=policy, **choices))
        for policy in ("recompute", "hold")
    ]
    for name, value in found[0]:
        assert getattr(found[1], name) == pytest.approx(value, rel=1e-9), name


@pytest.mark.parametrize("fixture", FIXTURES)
@pytest.mark.parametrize("linearization", ["full", "frozen", "secant"])
@pytest.mark.parametrize("baseline", ["corrupted", "mean"])
def test_what_goes_by_features_is_the_slope_with_errors_held(
    request: pytest.FixtureRequest, fixture: str, linearization: Linearization, baseline: str
) -> None:
    toy = request.getfixturevalue(fixture)
    choices: dict[str, Any] = {"linearization": linearization, "baseline": baseline}
    held = make_contrast(toy.model, toy.prompts, error_policy="hold", **choices)
    free = make_contrast(toy.model, toy.prompts, **choices)
    expected = clean_gradients(held)[TOKENS].explained
    for contrast in (held, free):
        torch.testing.assert_close(effect_by_features(contrast), expected, rtol=1e-9, atol=1e-11)
        both = token_effects(contrast)
        whole = clean_gradients(free)[TOKENS].explained
        torch.testing.assert_close(both, torch.stack([whole, expected]), rtol=1e-9, atol=1e-11)
    assert (expected - whole).abs().max() > 0.01 and expected.abs().max() > 1e-3


@pytest.mark.parametrize("fixture", ["toy", "toy_mixed", "toy_unusual", "toy_uneven"])
def test_it_is_the_sum_over_all_paths_of_features(
    request: pytest.FixtureRequest, fixture: str
) -> None:
    # Cell by cell, by inverting the matrix of direct derivatives, in which no error is passed.
    toy = request.getfixturevalue(fixture)
    graph = attribute(toy.model, toy.prompts, **EVERYTHING)
    linear = linear_graph(graph)
    cells, names = linear.pooled.cell_node, linear.nodes
    begins = linear.cells_of([n for n, name in enumerate(names) if name.startswith("token")])
    inverse = np.linalg.inv(np.eye(len(cells)) - linear.pooled.A.toarray())
    readout = np.where(cells == len(names) - 1, linear.average, 0.0)
    expected = readout @ inverse @ np.where(begins, linear.change, 0.0)
    scores = _scores(graph)
    assert scores.by_features == pytest.approx(expected, rel=1e-9)
    tokens = graph.nodes.loc[graph.nodes["kind"] == "token", "effect"].sum()
    assert scores.tokens == pytest.approx(tokens, rel=1e-9)
    assert scores.features_share == pytest.approx(expected / tokens, rel=1e-9)


@pytest.mark.parametrize("family", EACH_KIND)
def test_so_it_is_with_every_kind_of_part(family: str, tmp_path: Path) -> None:
    with Float64Throughout():
        toy = family_toy(family, tmp_path)
        held = make_contrast(toy.model, toy.prompts, error_policy="hold")
        expected = clean_gradients(held)[TOKENS].explained
        torch.testing.assert_close(effect_by_features(held), expected, rtol=1e-9, atol=1e-11)


def test_the_estimator_decides_about_the_edges_alone(toy: Toy) -> None:
    slopes, averaged = (
        _scores(attribute(toy.model, toy.prompts, estimator=name, max_nodes=40))
        for name in ("gradient", "integrated_gradients")
    )
    assert averaged.tokens == pytest.approx(slopes.tokens, rel=1e-9)
    assert averaged.by_features == pytest.approx(slopes.by_features, rel=1e-9)
    assert averaged.replacement != pytest.approx(slopes.replacement, rel=1e-3)


def test_without_a_token_that_changes_there_is_no_share(toy: Toy) -> None:
    scores = _scores(attribute(toy.model, toy.prompts, baseline="zero", max_nodes=40))
    assert scores.replacement is None and scores.features_share is None
    assert scores.tokens == 0 and scores.completeness is not None


def test_of_little_no_share_is_given() -> None:
    by_size, effects = np.array([[0.5, np.nan], [0.75, np.nan]]), np.array([[1.0, 0.9], [0.2, 0.3]])

    def found(change: float) -> GraphScores:
        ends = np.array([[change, change], [0.0, 0.0]])
        return graph_scores(by_size, effects, ends, has_tokens=True, seed=0)

    assert found(9.4).features_share == pytest.approx(0.5 / 1.9)
    assert found(9.6).features_share is None and found(9.6).by_features == 0.25
    # A prompt whose metric nothing reaches has no graph.
    assert found(9.4).replacement == 0.5 and found(9.4).replacement_low is None
