"""A circuit pruned from a real graph: prefixes of one ranking, measured on its own prompts."""

import numpy as np
import pytest

from saecircuits.circuits import prune
from saecircuits.edges.attribute import attribute
from saecircuits.edges.graph import AttributionGraph
from saecircuits.nodes.names import METRIC
from tests.models import Toy


@pytest.fixture(scope="module")
def graph(toy_uneven: Toy) -> AttributionGraph:
    return attribute(
        toy_uneven.model, toy_uneven.prompts, estimator="gradient", positions="span", max_nodes=40
    )


def test_circuits_are_nested(graph: AttributionGraph) -> None:
    small, large = prune(graph, nodes=5), prune(graph, nodes=20)
    assert large.members[:5] == small.members
    inside = set(small.nodes["node"])
    expected = graph.edges[graph.edges["source"].isin(inside) & graph.edges["target"].isin(inside)]
    assert len(small.edges) == len(expected) > 0
    ends = ["source", "target"]
    summed = small.edge_parts.groupby(ends)["effect"].sum()
    effects = small.edges.set_index(ends)["effect"]
    np.testing.assert_allclose(summed.reindex(effects.index), effects, rtol=1e-9, atol=1e-12)
    assert len(summed) == len(effects)
    assert small.nodes["node"][0] == METRIC


def test_the_whole_graph_is_faithful_and_the_search_reaches_what_it_is_asked(
    graph: AttributionGraph,
) -> None:
    measured = graph.checked(None)
    circuit = prune(graph, faithfulness=0.8)
    assert measured.faithfulness(circuit.members) >= 0.8
    if circuit.size > 1:
        assert measured.faithfulness(circuit.members[:-1]) < 0.8
    assert measured.faithfulness(circuit.candidates) == pytest.approx(1, abs=1e-9)
    assert circuit.size <= len(circuit.candidates)
