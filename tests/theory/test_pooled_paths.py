"""Paths of many cells: equal to enumeration, and to the plain search where a node has one cell."""

import numpy as np
import pytest

from saecircuits.theory.best_paths import Sign, strongest_paths
from saecircuits.theory.pooled_paths import PooledGraph, strongest_pooled_paths
from saecircuits.theory.total_effects import arriving, influence
from tests.theory.graphs import random_graph


def _pooled(seed: int, *, n_node: int = 9, n_link: int = 30) -> tuple[PooledGraph, np.ndarray]:
    """Nodes of 1 to 4 cells and links that are random matrices, some parallel; with starts."""
    graph, draw = random_graph(seed, n_node=n_node, n_link=n_link), np.random.default_rng(seed)
    counts = draw.integers(1, 5, size=n_node)
    first = np.r_[0, counts.cumsum()]
    entries = [
        (link, row, column, graph.weight[link] * draw.normal())
        for link in range(n_link)
        for row in range(first[graph.target[link]], first[graph.target[link] + 1])
        for column in range(first[graph.source[link]], first[graph.source[link] + 1])
        if draw.random() < 0.7
    ]
    link, row, column, weight = (np.array(values) for values in zip(*entries, strict=True))
    pooled = PooledGraph(
        n_node=n_node,
        cell_node=np.repeat(np.arange(n_node), counts),
        link_source=graph.source,
        link_target=graph.target,
        entry_link=link,
        entry_row=row,
        entry_column=column,
        entry_weight=weight,
    )
    return pooled, graph.start.repeat(counts) * draw.normal(size=first[-1])


def _every(graph: PooledGraph, start: np.ndarray, readout: np.ndarray, end: int):
    """Every path with its effect, by products of dense matrices."""
    n_cell = graph.n_cell
    matrices = np.zeros((len(graph.link_source), n_cell, n_cell))
    matrices[graph.entry_link, graph.entry_row, graph.entry_column] = graph.entry_weight

    def before(node: int, row: np.ndarray, links: tuple[int, ...]):
        here = graph.cell_node == node
        if links and (row[here] * start[here]).any():
            yield float(row[here] @ start[here]), links
        for link in np.nonzero(graph.link_target == node)[0]:
            yield from before(
                int(graph.link_source[link]), row @ matrices[link], (int(link), *links)
            )

    return list(before(end, readout * (graph.cell_node == end), ()))


@pytest.mark.parametrize("sign", ["either", "positive", "negative"])
@pytest.mark.parametrize("seed", range(10))
def test_equal_enumeration_by_matrices(seed: int, sign: Sign) -> None:
    graph, start = _pooled(seed)
    end = graph.n_node - 1 - seed % 2
    readout = np.where(graph.cell_node == end, np.random.default_rng(seed).normal(), 0.0)
    every = _every(graph, start, readout, end)
    wanted = {"either": (1, -1), "positive": (1,), "negative": (-1,)}[sign]
    expected = sorted(
        (path for path in every if np.sign(path[0]) in wanted), key=lambda path: -abs(path[0])
    )
    for k in (3, len(every) + 1):
        found = strongest_pooled_paths(graph, start, readout, end=end, k=k, sign=sign).paths
        assert [path.links for path in found] == [links for _, links in expected[:k]]
        np.testing.assert_allclose(
            [path.effect for path in found], [effect for effect, _ in expected[:k]], rtol=1e-11
        )
    assert expected


@pytest.mark.parametrize("seed", range(4))
def test_solving_gives_the_sum_of_all_paths(seed: int) -> None:
    graph, start = _pooled(seed)
    end = graph.n_node - 1
    readout = np.where(graph.cell_node == end, 0.25, 0.0)
    start = np.where(graph.cell_node == end, 0.0, start)
    total = sum(effect for effect, _ in _every(graph, start, readout, end))
    assert start @ influence(graph.A, readout) == pytest.approx(total, rel=1e-11)
    assert arriving(graph.A, start) @ readout == pytest.approx(total, rel=1e-11)


def test_one_cell_to_a_node_is_the_plain_search() -> None:
    plain = random_graph(3, n_node=17, n_link=60)
    numbers = np.arange(len(plain.source))
    graph = PooledGraph(
        plain.n_node,
        np.arange(plain.n_node),
        plain.source,
        plain.target,
        numbers,
        plain.target,
        plain.source,
        plain.weight,
    )
    expected = strongest_paths(*plain.search(), end=16, k=30)
    found = strongest_pooled_paths(graph, plain.start, np.eye(17)[16], end=16, k=30)
    assert [path.links for path in found.paths] == [path.links for path in expected]


def test_opposite_ways_cancel_within_a_path_and_not_between_paths() -> None:
    # Two prompts: 0 -> 1 -> 3 carries +4 and -4, 0 -> 2 -> 3 carries +1 and +1. The mean of the
    # first is no effect; its bound, 4, is looked at first all the same.
    cells = np.arange(8)
    graph = PooledGraph(
        n_node=4,
        cell_node=cells // 2,
        link_source=np.array([0, 0, 1, 2]),
        link_target=np.array([1, 2, 3, 3]),
        entry_link=np.repeat(np.arange(4), 2),
        entry_row=np.array([2, 3, 4, 5, 6, 7, 6, 7]),
        entry_column=np.array([0, 1, 0, 1, 2, 3, 4, 5]),
        entry_weight=np.array([4.0, -4.0, 1, 1, 1, 1, 1, 1]),
    )
    start, readout = (cells < 2).astype(float), np.where(cells >= 6, 0.5, 0.0)
    found = strongest_pooled_paths(graph, start, readout, end=3, k=5)
    assert [(path.effect, path.links) for path in found.paths] == [(1.0, (1, 3))]
    assert found.examined == 3


def test_a_search_that_is_ended_keeps_what_is_proven() -> None:
    graph, start = _pooled(1)
    readout = np.where(graph.cell_node == graph.n_node - 1, 1.0, 0.0)
    end = graph.n_node - 1
    whole = strongest_pooled_paths(graph, start, readout, end=end, k=99)
    part = strongest_pooled_paths(graph, start, readout, end=end, k=99, most=9)
    assert whole.is_complete and not part.is_complete
    assert 0 < len(part.paths) < len(whole.paths)
    assert part.paths == whole.paths[: len(part.paths)]
