"""The k best are the k best of all paths, enumerated; and they come quickly on large graphs."""

import time

import numpy as np
import pytest

from saecircuits.errors import InputError, UnknownNameError
from saecircuits.theory.best_paths import Sign, check_search, strongest_paths
from tests.theory.graphs import SHAPES, layered_graph, random_graph

SIGNS: dict[Sign, int | None] = {"either": None, "positive": 1, "negative": -1}


def _expected(graph, end: int, sign: Sign) -> list[tuple[float, tuple[int, ...]]]:
    wanted = SIGNS[sign]
    every = [
        path for path in graph.paths(end) if path[0] != 0 and wanted in (None, np.sign(path[0]))
    ]
    return sorted(every, key=lambda path: -abs(path[0]))


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("seed", range(12))
def test_equal_brute_force(seed: int, sign: Sign) -> None:
    graph = random_graph(seed)
    checked = 0
    for end in (12, 11, 9):
        expected = _expected(graph, end, sign)
        for k in (1, 7, len(expected) + 3):
            found = strongest_paths(*graph.search(), end=end, k=k, sign=sign)
            assert len(found) == min(k, len(expected))
            for path, (effect, links) in zip(found, expected, strict=False):
                assert path.links == links
                assert path.effect == pytest.approx(effect, rel=1e-12)
                checked += 1
    assert checked > 5


def test_a_graph_worked_out_by_hand() -> None:
    # 0 -> 1 -> 3 by 2 * (-3) = -6, doubled by a parallel link of 4 * (-3) = -12; 0 -> 3 by 5;
    # 2 -> 3 begins with 0.5 and carries 0.5 * 8 = 4. A greedy walk would take 5 first.
    source, target = np.array([0, 0, 0, 1, 2]), np.array([1, 1, 3, 3, 3])
    weight, start = np.array([2.0, 4.0, 5.0, -3.0, 8.0]), np.array([1.0, 0.0, 0.5, 0.0])
    found = strongest_paths(source, target, weight, start, end=3, k=9)
    assert [(p.effect, p.links) for p in found] == [
        (-12.0, (1, 3)),
        (-6.0, (0, 3)),
        (5.0, (2,)),
        (4.0, (4,)),
    ]
    positive = strongest_paths(source, target, weight, start, end=3, k=1, sign="positive")
    assert positive[0].links == (2,)


def test_ties_are_all_found_once() -> None:
    # A ladder of 10 rungs with two equal links each: 2^10 paths, all of effect 1.
    source = np.repeat(np.arange(10), 2)
    found = strongest_paths(
        source, source + 1, np.tile([1.0, -1.0], 10), np.eye(11)[0], end=10, k=2000
    )
    assert len(found) == len({path.links for path in found}) == 2**10
    assert {abs(path.effect) for path in found} == {1.0}
    assert sum(path.effect for path in found) == 0.0


@pytest.mark.parametrize("shape", SHAPES)
def test_a_thousand_best_of_a_hundred_thousand_edges_are_quick(shape: str) -> None:
    graph = layered_graph(n_link=100_000, **SHAPES[shape])
    started = time.process_time()
    found = strongest_paths(*graph.search(), end=graph.n_node - 1, k=1000)
    assert time.process_time() - started < 5
    assert len({path.links for path in found}) == 1000
    sizes = [abs(path.effect) for path in found]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 0}, "0 paths were asked for"),
        ({"target": np.array([0])}, "every source < target"),
        ({"weight": np.array([np.nan])}, "finite numbers"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes: dict, message: str) -> None:
    given = {
        "source": np.array([0]),
        "target": np.array([1]),
        "weight": np.array([1.0]),
        "start": np.array([1.0, 0.0]),
        "end": 1,
        "k": 1,
        **changes,
    }
    with pytest.raises(InputError, match=message):
        strongest_paths(**given)


def test_the_order_holds_where_products_leave_the_numbers() -> None:
    # 0 -> 1 -> 2 by 1e200 * 1e-200 = 1 and 0 -> 2 by 3: no product overflows on the way.
    source, target = np.array([0, 1, 0]), np.array([1, 2, 2])
    weight = np.array([1e-200, 1e200, 3.0])
    found = strongest_paths(source, target, weight, np.array([1.0, 0, 0]), end=2, k=2)
    assert [path.links for path in found] == [(2,), (0, 1)]
    with pytest.raises(InputError, match="path of 2 links is too large"):
        strongest_paths(source, target, np.array([1e200, 1e200, 3.0]), np.eye(3)[0], end=2, k=1)


def test_unknown_signs_are_named() -> None:
    with pytest.raises(UnknownNameError, match="unknown sign 'both'"):
        check_search(1, "both")
