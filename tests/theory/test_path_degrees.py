"""Sums over paths by degree equal the sums of paths that were enumerated."""

from collections import defaultdict

import numpy as np
import pytest

from saecircuits.theory.path_degrees import sums_by_degree
from saecircuits.theory.total_effects import adjacency, influence
from tests.theory.graphs import random_graph


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("is_absolute", [False, True])
def test_one_pass_equals_enumeration(seed: int, is_absolute: bool) -> None:
    graph = random_graph(seed)
    size = np.abs if is_absolute else np.asarray
    degree = np.random.default_rng(seed).integers(0, 3, size=len(graph.weight))
    links = {
        d: adjacency(
            graph.source[degree == d],
            graph.target[degree == d],
            size(graph.weight)[degree == d],
            graph.n_node,
        )
        for d in range(3)
    }
    end = graph.n_node - 1
    readout = np.eye(graph.n_node)[end]
    found = sums_by_degree(links, size(graph.start), readout)
    expected: defaultdict[tuple[int, int], float] = defaultdict(float)
    for effect, path in graph.paths(end):
        expected[len(path), int(degree[list(path)].sum())] += float(size(effect))
    table = np.zeros_like(found)
    for place, total in expected.items():
        table[place] = total
    np.testing.assert_allclose(found, table, rtol=1e-12, atol=1e-12)
    whole = adjacency(graph.source, graph.target, size(graph.weight), graph.n_node)
    start = size(graph.start)
    assert found.sum() == pytest.approx(start @ influence(whole, readout) - start[end], rel=1e-12)


def test_no_links_carry_nothing() -> None:
    np.testing.assert_array_equal(sums_by_degree({}, np.ones(3), np.ones(3)), np.zeros((2, 1)))
