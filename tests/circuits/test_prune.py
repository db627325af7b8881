"""`prune` on a small graph whose every count is known."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from saecircuits.circuits import Circuit, prune
from saecircuits.circuits.selection import smallest_prefix
from saecircuits.edges.graph import EDGE_COLUMNS, NODE_COLUMNS, PART_COLUMNS, AttributionGraph
from saecircuits.edges.settings import AttributionSettings
from saecircuits.errors import InputError
from tests.measures import Measure

# Strongest first, as `attribute` gives them: effects 9, -7, 5, 3, -1, 0.5 and two tokens between.
NODES = [
    ("metric", "metric", 12.0),
    ("A.f1@x", "feature", 9.0),
    ("token@x", "token", -8.0),
    ("A.error@x", "error", -7.0),
    ("B.f2@y", "feature", 5.0),
    ("token@y", "token", 4.0),
    ("B.error@y", "error", 3.0),
    ("B.f3@y", "feature", -1.0),
    ("B.f4@y", "feature", 0.5),
]
MEMBERS = [name for name, kind, _ in NODES if kind in ("feature", "error")]
EDGES = [
    ("A.f1@x", "B.f2@y", -6.0),
    ("token@x", "A.f1@x", 5.0),
    ("A.error@x", "metric", 4.0),
    ("A.f1@x", "B.error@y", 3.0),
    ("B.f2@y", "metric", 2.0),
    ("token@y", "metric", -1.0),
    ("B.f3@y", "metric", 0.25),
]
# Two parts for every edge, in the order of edges.
PARTS = [
    (source, target, part, share * effect)
    for source, target, effect in EDGES
    for part, share in (("residual", 0.75), ("L1.MLP", 0.25))
]


def _graph(faithfulness: Callable[[Sequence[str]], float] | None = None) -> AttributionGraph:
    nodes = pd.DataFrame(NODES, columns=["node", "kind", "effect"]).reindex(
        columns=list(NODE_COLUMNS)
    )
    edges = pd.DataFrame(EDGES, columns=["source", "target", "effect"]).reindex(
        columns=list(EDGE_COLUMNS)
    )
    parts = pd.DataFrame(PARTS, columns=["source", "target", "part", "effect"]).reindex(
        columns=list(PART_COLUMNS)
    )
    return AttributionGraph(
        nodes=nodes,
        edges=edges,
        edge_parts=parts,
        settings=AttributionSettings(max_nodes=17),
        summary={"prompts": 5},
        provenance={"model": "by hand"},
        experiment=None if faithfulness is None else Measure(faithfulness),
    )


def _edges(circuit: Circuit) -> list[tuple[str, str]]:
    return list(circuit.edges[["source", "target"]].itertuples(index=False, name=None))


def _parts(circuit: Circuit) -> list[tuple[str, str, str, float]]:
    columns = ["source", "target", "part", "effect"]
    return list(circuit.edge_parts[columns].itertuples(index=False, name=None))


def test_by_number_of_nodes() -> None:
    circuit = prune(_graph(), nodes=3)
    assert circuit.members == ("A.f1@x", "A.error@x", "B.f2@y")
    assert circuit.size == 3
    assert circuit.n_errors == 1
    # The metric and the tokens stay, and the order is the graph's.
    assert circuit.nodes["node"].tolist() == [
        "metric", "A.f1@x", "token@x", "A.error@x", "B.f2@y", "token@y",
    ]  # fmt: skip
    assert circuit.nodes.index.tolist() == list(range(6))
    # All edges between what is kept: not those to B.error and from B.f3.
    assert _edges(circuit) == [
        edge[:2] for edge in EDGES if edge[0] != "B.f3@y" and edge[1] != "B.error@y"
    ]


def test_more_nodes_than_there_are() -> None:
    assert prune(_graph(), nodes=1000).members == tuple(MEMBERS)


@pytest.mark.parametrize(
    ("threshold", "expected"), [(0.0, 6), (0.5, 6), (1.0, 5), (5.0, 3), (7.5, 1), (100.0, 0)]
)
def test_by_threshold_on_size(threshold: float, expected: int) -> None:
    # |effect| at least the threshold: -7 counts as 7, and 5 is at least 5.
    circuit = prune(_graph(), node_threshold=threshold)
    assert circuit.members == tuple(MEMBERS[:expected])


def test_by_number_of_edges() -> None:
    circuit = prune(_graph(), nodes=6, edges=3)
    assert _edges(circuit) == [edge[:2] for edge in EDGES[:3]]
    assert circuit.edges.index.tolist() == [0, 1, 2]
    assert circuit.size == 6
    assert _parts(circuit) == PARTS[:6]
    assert circuit.edge_parts.index.tolist() == list(range(6))
    none = prune(_graph(), nodes=6, edges=0)
    assert _edges(none) == _parts(none) == []


def test_edges_are_counted_among_kept_nodes() -> None:
    # With A.f1 alone the strongest edge of all is out of reach.
    circuit = prune(_graph(), nodes=1, edges=1)
    assert _edges(circuit) == [("token@x", "A.f1@x")]
    # Both ends of its other edges, but of no kept edge together.
    assert _parts(circuit) == PARTS[2:4]


def test_parts_of_an_edge_that_is_cut_go_with_it() -> None:
    # Its source and its target are ends of kept edges all the same.
    ends = [("A.f1@x", "B.f2@y"), ("A.error@x", "metric"), ("A.f1@x", "metric")]
    graph = _graph()
    whole = replace(
        graph,
        edges=pd.DataFrame(
            [(*pair, effect) for pair, effect in zip(ends, (6.0, 4.0, 1.0), strict=True)],
            columns=["source", "target", "effect"],
        ),
        edge_parts=pd.DataFrame(
            [(*pair, "residual", 1.0) for pair in ends],
            columns=["source", "target", "part", "effect"],
        ),
    )
    assert _parts(prune(whole, nodes=3, edges=2)) == [(*pair, "residual", 1.0) for pair in ends[:2]]


def test_by_threshold_on_edges() -> None:
    circuit = prune(_graph(), nodes=6, edge_threshold=3.0)
    assert _edges(circuit) == [edge[:2] for edge in EDGES[:4]]


@pytest.mark.parametrize(
    ("reach", "wanted", "expected"),
    [
        ([0.2, 0.5, 0.8, 0.9, 0.95, 1.0], 0.9, 4),
        ([0.2, 0.5, 0.8, 0.9, 0.95, 1.0], 0.15, 1),
        ([0.2, 0.5, 0.8, 0.9, 0.95, 1.0], 1.0, 6),
        # Not monotone: a size whose predecessor was found short, though 2 would have done.
        ([0.1, 0.95, 0.3, 0.4, 0.9, 1.0], 0.9, 2),
    ],
)
def test_by_faithfulness(reach: list[float], wanted: float, expected: int) -> None:
    asked: list[int] = []

    def measure(members: Sequence[str]) -> float:
        assert list(members) == MEMBERS[: len(members)]
        asked.append(len(members))
        return reach[len(members) - 1]

    circuit = prune(_graph(measure), faithfulness=wanted, edges=2)
    assert circuit.members == tuple(MEMBERS[:expected])
    assert len(asked) == len(set(asked))
    assert circuit.selection == {"by": "effect", "faithfulness": wanted, "edges": 2}


@pytest.mark.parametrize("smallest", [1, 2, 3, 7, 40, 99, 100])
@pytest.mark.parametrize("total", [100, 137])
def test_the_smallest_prefix_of_a_growing_measure_is_found(smallest: int, total: int) -> None:
    names = [str(number) for number in range(total)]
    asked: list[int] = []

    def measure(members: Sequence[str]) -> float:
        asked.append(len(members))
        return float(len(members) >= smallest)

    assert smallest_prefix(names, 0.5, measure) == smallest
    # Upwards by a quarter each time, then halving: far fewer than all of them.
    assert len(asked) <= 30


def test_no_prefix_reaches_it() -> None:
    assert smallest_prefix(["a", "b", "c"], 0.5, lambda members: 0.4) is None
    assert smallest_prefix([], 0.5, lambda members: 0.4) is None
    assert smallest_prefix(["a", "b"], 0.5, lambda members: float("nan")) is None


def test_what_is_found_reaches_what_was_wanted() -> None:
    # Any measure at all, monotone or not: the result reaches it and the one before does not.
    for seed in range(50):
        values = np.random.default_rng(seed).random(60)
        found = smallest_prefix(list("x" * 60), 0.9, lambda m, v=values: float(v[len(m) - 1]))
        if found is None:
            assert values[-1] < 0.9
            continue
        assert values[found - 1] >= 0.9
        assert found == 1 or values[found - 2] < 0.9


def test_a_circuit_says_where_it_comes_from() -> None:
    graph = _graph()
    circuit = prune(graph, nodes=2, edge_threshold=1.5)
    assert circuit.selection == {"by": "effect", "nodes": 2, "edge_threshold": 1.5}
    assert list(circuit.candidates) == MEMBERS
    assert circuit.settings == graph.settings
    assert circuit.summary == {"prompts": 5}
    assert circuit.provenance == {"model": "by hand"}


def test_the_graph_is_as_it_was() -> None:
    graph = _graph()
    nodes, edges, parts = graph.nodes.copy(), graph.edges.copy(), graph.edge_parts.copy()
    circuit = prune(graph, nodes=2, edges=1)
    circuit.nodes.loc[0, "effect"] = 99.0
    circuit.edges.loc[0, "effect"] = 99.0
    circuit.edge_parts.loc[0, "effect"] = 99.0
    pd.testing.assert_frame_equal(graph.nodes, nodes)
    pd.testing.assert_frame_equal(graph.edges, edges)
    pd.testing.assert_frame_equal(graph.edge_parts, parts)


def test_views_of_a_circuit() -> None:
    circuit = prune(_graph(), nodes=6)
    assert circuit.strongest_edges(2)["effect"].tolist() == [-6.0, 5.0]
    assert circuit.edges_into()["source"].tolist() == [
        "A.error@x", "B.f2@y", "token@y", "B.f3@y",
    ]  # fmt: skip
    assert circuit.edges_into("A.f1@x")["source"].tolist() == ["token@x"]
    assert len(circuit.edges_into("B.f4@y")) == 0


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({}, "given no way to choose nodes; give exactly one of nodes, node_threshold, faith"),
        ({"nodes": 2, "faithfulness": 0.5}, "given nodes and faithfulness; give exactly one"),
        ({"nodes": 2, "node_threshold": 0.0}, "given nodes and node_threshold"),
        ({"nodes": 0}, "asked for 0 nodes; ask for at least 1"),
        ({"nodes": -4}, "asked for -4 nodes"),
        ({"node_threshold": -0.1}, "node_threshold is -0.1; a size is never below 0"),
        ({"faithfulness": 0.0}, "faithfulness is 0.0; ask for more than 0 and at most 1"),
        ({"faithfulness": 1.5}, "faithfulness is 1.5"),
        ({"nodes": 2, "edges": 3, "edge_threshold": 1.0}, "given edges and edge_threshold"),
        ({"nodes": 2, "edges": -1}, "asked for -1 edges; ask for 0 or more"),
        ({"nodes": 2, "edge_threshold": -1.0}, "edge_threshold is -1.0"),
        ({"faithfulness": 0.5}, "read from disk and has no model or prompts to measure on"),
    ],
)
def test_refusals(choices: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        prune(_graph(), **choices)


def test_a_faithfulness_out_of_reach_is_refused() -> None:
    graph = _graph(lambda members: 0.1 * len(members))
    with pytest.raises(InputError, match=r"reaches faithfulness 0\.9: all 6 nodes .* reach 0\.600"):
        prune(graph, faithfulness=0.9)
