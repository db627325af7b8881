"""What edges leave out is known node by node: a node's effect is its out-edges and the rest.

Exactly so with gates held. Where thresholds are crossed, what an edge into a feature gains the edge
into its error node loses, so nothing changes as long as that error node is expanded too.
"""

from typing import Any

import numpy as np
import pytest

from saecircuits.edges.attribute import attribute
from saecircuits.edges.graph import AttributionGraph
from saecircuits.nodes.names import METRIC
from tests.models import Toy

EVERYTHING: dict[str, Any] = {
    "estimator": "gradient",
    "positions": "span",
    "error_policy": "recompute",
    "thresholds": "held",
    "max_nodes": None,
}


@pytest.fixture(scope="module", params=["toy_mixed", "toy_uneven", "toy_crossing"])
def toy_of_either(request: pytest.FixtureRequest) -> Toy:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def whole(toy_of_either: Toy) -> AttributionGraph:
    return attribute(toy_of_either.model, toy_of_either.prompts, **EVERYTHING)


@pytest.fixture(scope="module")
def crossed(toy_of_either: Toy) -> AttributionGraph:
    choices = {**EVERYTHING, "thresholds": "crossed"}
    return attribute(toy_of_either.model, toy_of_either.prompts, **choices)


def _assert_left_out(
    graph: AttributionGraph, whole: AttributionGraph, is_missing: Any, *, least: float
) -> None:
    """What every node leaves out is the sum of its edges of the whole graph that are missing."""
    found = graph.nodes.iloc[1:].set_index("node")["left_out"].dropna()
    expected = whole.edges[is_missing].groupby("source")["effect"].sum()
    expected = expected.reindex(found.index).fillna(0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)
    assert expected.abs().max() > least


def test_crossing_leaves_nothing_out_where_every_node_is_expanded(
    crossed: AttributionGraph, whole: AttributionGraph
) -> None:
    np.testing.assert_allclose(crossed.nodes["left_out"].dropna(), 0, rtol=0, atol=1e-11)
    ends = ["source", "target"]
    moved = crossed.edges.set_index(ends)["effect"] - whole.edges.set_index(ends)["effect"]
    assert moved.abs().max() > 0.1


def test_nothing_is_left_out_where_every_node_is_expanded(whole: AttributionGraph) -> None:
    nodes = whole.nodes.iloc[1:].set_index("node")
    np.testing.assert_allclose(nodes["left_out"].dropna(), 0, rtol=0, atol=1e-11)
    # Every node that has an effect was expanded, and the metric is no source.
    assert (nodes["left_out"].notna() == (nodes["effect"] != 0)).all()
    assert np.isnan(whole.nodes["left_out"][0])
    assert (nodes["effect"].abs() > 0.01).sum() > 10


def test_a_threshold_leaves_out_the_edges_into_what_is_below_it(
    toy_of_either: Toy, whole: AttributionGraph
) -> None:
    effects = whole.nodes.set_index("node")["effect"].abs()
    threshold = float(effects[whole.edges["target"].unique()].drop(METRIC).quantile(0.75))
    effects[METRIC] = np.inf  # always expanded
    graph = attribute(
        toy_of_either.model, toy_of_either.prompts, target_threshold=threshold, **EVERYTHING
    )
    is_below = whole.edges["target"].map(effects) < threshold
    assert len(graph.edges) == (~is_below).sum()
    _assert_left_out(graph, whole, is_below, least=1e-3)


def test_few_nodes_leave_out_the_edges_into_the_others(
    toy_of_either: Toy, whole: AttributionGraph
) -> None:
    graph = attribute(toy_of_either.model, toy_of_either.prompts, **{**EVERYTHING, "max_nodes": 20})
    inside = set(graph.edges["target"])
    _assert_left_out(graph, whole, ~whole.edges["target"].isin(inside), least=1e-3)


def test_edges_that_are_computed_and_not_kept_are_not_left_out(
    toy_of_either: Toy, whole: AttributionGraph
) -> None:
    graph = attribute(toy_of_either.model, toy_of_either.prompts, max_edges=10, **EVERYTHING)
    assert len(graph.edges) == 10
    np.testing.assert_array_equal(graph.nodes["left_out"], whole.nodes["left_out"])
