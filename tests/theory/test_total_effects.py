"""Sums over all paths by solving equal the sums of paths that were enumerated."""

import numpy as np
import pytest

from saecircuits.errors import InputError
from saecircuits.theory.total_effects import adjacency, arriving, influence
from tests.theory.graphs import layered_graph, random_graph
from tests.tolerance import Tolerance

CLOSE: Tolerance = {"rtol": 1e-12, "atol": 1e-12}


@pytest.mark.parametrize("seed", range(12))
def test_solving_equals_enumeration(seed: int) -> None:
    graph = random_graph(seed)
    A = adjacency(graph.source, graph.target, graph.weight, graph.n_node)
    x = arriving(A, graph.start)
    for end in range(graph.n_node):
        total = sum(effect for effect, _ in graph.paths(end)) + graph.start[end]
        y = influence(A, np.eye(graph.n_node)[end])
        np.testing.assert_allclose([x[end], graph.start @ y], total, **CLOSE)


def test_millions_of_paths_take_one_solve() -> None:
    # 2^40 paths of effect 2^-40 each, by 40 rungs of two links of 1/2.
    source = np.repeat(np.arange(40), 2)
    A = adjacency(source, source + 1, np.full(80, 0.5), 41)
    assert influence(A, np.eye(41)[40])[0] == pytest.approx(1.0, rel=1e-12)


def test_both_directions_agree_on_a_large_graph() -> None:
    graph = layered_graph(n_layer=20, width=50, n_link=20_000, reach=4)
    A = adjacency(graph.source, graph.target, graph.weight / 3, graph.n_node)
    readout = np.eye(graph.n_node)[-1]
    total = graph.start @ influence(A, readout)
    assert arriving(A, graph.start) @ readout == pytest.approx(total, rel=1e-9)
    assert abs(total) > 1e-3


def test_a_graph_without_links() -> None:
    A = adjacency(np.array([], int), np.array([], int), np.array([], float), 3)
    np.testing.assert_array_equal(arriving(A, np.arange(3.0)), np.arange(3.0))


def test_links_back_are_refused() -> None:
    with pytest.raises(InputError, match="must point forward"):
        adjacency(np.array([1]), np.array([1]), np.array([1.0]), 2)
