"""Blocks of two batches into tables, by hand."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch

from saecircuits.edges.blocks import EdgeBlock
from saecircuits.edges.collecting import EdgeCollector, EdgeTables
from saecircuits.edges.graph import EDGE_COLUMNS, PART_COLUMNS
from saecircuits.edges.parts import Part
from saecircuits.errors import ModelError
from saecircuits.nodes.effects import bootstrap_interval
from saecircuits.nodes.interventions import ERROR, Spot
from saecircuits.nodes.names import METRIC

# In forward order: two features and an error node of the first site, two features of the second.
A, B, E, C, D = Spot(0, 0, 3), Spot(0, 1, 3), Spot(0, 1, ERROR), Spot(1, 0, 2), Spot(1, 0, 5)
NODES = [A, B, E, C, D]
NAMES = ["z.a", "y.b", "x.e", "w.c", "v.d", METRIC]  # so that order is not that of ids


def collector(*, n_prompt: int = 5, max_edges: int = 100) -> EdgeCollector:
    return EdgeCollector(NODES, NAMES, n_prompt=n_prompt, max_edges=max_edges, seed=3)


def block(
    sources: Sequence[Spot],
    targets: Sequence[Spot] | None,
    effects: list,
    *,
    weights: list | None = None,
    parts: Mapping[Part, list] | None = None,
) -> EdgeBlock:
    """A block of `[target][source][prompt]` effects and `[target][source]` parts."""
    values = torch.tensor(effects, dtype=torch.float64)
    parts = parts or {}
    return EdgeBlock(
        sources=tuple(sources),
        targets=None if targets is None else tuple(targets),
        effects=values,
        weights=torch.tensor(weights or effects, dtype=torch.float64),
        parts=tuple(parts),
        part_effects=torch.tensor(list(parts.values()), dtype=torch.float64).reshape(
            len(parts), *values.shape[:2]
        ),
    )


def rows(tables: EdgeTables) -> list[tuple[str, str, float]]:
    return list(tables.edges[["source", "target", "effect"]].itertuples(index=False, name=None))


def test_blocks_of_two_batches_add_up() -> None:
    gathered = collector()
    # Prompts (1, 2) and (3, 4, 5): A to C has effects 1..5, A to D twice these.
    gathered.add(
        [
            [
                block(
                    [A], [C, D], [[[1.0, 2.0]], [[2.0, 4.0]]], weights=[[[5.0, 5.0]], [[0.0, 1.0]]]
                )
            ],
            [
                block(
                    [A],
                    [C, D],
                    [[[3.0, 4.0, 5.0]], [[6.0, 8.0, 10.0]]],
                    weights=[[[5.0, 0.0, 0.0]], [[2.0, 3.0, 4.0]]],
                )
            ],
        ]
    )
    tables = gathered.tables()
    assert tuple(tables.edges.columns) == EDGE_COLUMNS
    assert rows(tables) == [("z.a", "v.d", 6.0), ("z.a", "w.c", 3.0)]
    assert tables.edges["direct"].tolist() == [2.0, 3.0]  # 10 / 5 and 15 / 5
    assert tables.out == {"z.a": 9.0, "y.b": 0.0, "x.e": 0.0, "w.c": 0.0, "v.d": 0.0}
    assert (tables.computed, tables.kept_share) == (2, 1.0)


def test_intervals_are_over_the_prompts_of_all_batches() -> None:
    values = np.random.default_rng(0).normal(4.0, 1.0, (11, 2))
    gathered = collector(n_prompt=11)
    gathered.add([[block([A, B], [C], [half.T.tolist()])] for half in (values[:4], values[4:])])
    edges = gathered.tables().edges.set_index("source").loc[["z.a", "y.b"]]
    low, high = bootstrap_interval(values, seed=3)
    np.testing.assert_array_equal(edges["effect_low"], low)
    np.testing.assert_array_equal(edges["effect_high"], high)
    assert (low != bootstrap_interval(values, seed=4)[0]).all()


def test_the_sign_is_counted_over_the_prompts_of_all_batches() -> None:
    gathered = collector(n_prompt=5)
    # A: mean -0.2; of four prompts that are not zero, three are negative. B: zero but for rounding.
    first, second = [[1.0, -1.0], [2.0, 1e-9]], [[0.0, -0.5, -0.5], [-1e-9, 0.0, 1.0]]
    gathered.add([[block([A, B], [C], [half])] for half in (first, second)])
    edges = gathered.tables().edges.set_index("source")["sign_stability"]
    assert (edges["z.a"], edges["y.b"]) == (0.75, 1.0)


def test_direct_is_empty_where_an_end_is_an_error_node() -> None:
    gathered = collector(n_prompt=1)
    gathered.add([[block([A, E], None, [[[1.0], [2.0]]], weights=[[[7.0], [8.0]]])]])
    gathered.add([[block([A], [E], [[[3.0]]], weights=[[[9.0]]])]])
    edges = gathered.tables().edges.set_index(["source", "target"])["direct"]
    assert edges["z.a", METRIC] == 7
    assert np.isnan(edges["x.e", METRIC]) and np.isnan(edges["z.a", "x.e"])


def test_parts_add_up_and_go_by_head() -> None:
    stream, later = Part("residual"), Part("L0.H1>later", "value")
    value, key, query = (Part("L1.H0", way) for way in ("value", "key", "query"))
    gathered = collector(n_prompt=2)
    gathered.add(
        [
            # One prompt a batch. Of A to C: 1 + (2 + 4 - 1) = 6 and 3 + 1 = 4; of B to C: 8 and 0.
            [
                block(
                    [A, B],
                    [C],
                    [[[6.0], [8.0]]],
                    parts={
                        stream: [[1.0, 8.0]],
                        value: [[2.0, 0.0]],
                        key: [[4.0, 0.0]],
                        query: [[-1.0, 0.0]],
                    },
                )
            ],
            [
                block(
                    [A, B], [C], [[[4.0], [0.0]]], parts={stream: [[3.0, 0.0]], later: [[1.0, 0.0]]}
                )
            ],
        ]
    )
    tables = gathered.tables()
    assert tuple(tables.parts.columns) == PART_COLUMNS
    nan = float("nan")
    expected = [
        ("z.a", "w.c", "residual", 0, 2.0, nan, nan, nan),
        ("z.a", "w.c", "L1.H0", 1, 2.5, 1.0, 2.0, -0.5),
        ("z.a", "w.c", "L0.H1>later", None, 0.5, 0.5, 0.0, 0.0),
        ("y.b", "w.c", "residual", 0, 4.0, nan, nan, nan),
    ]
    assert tables.parts[["source", "target", "part"]].to_numpy().tolist() == [
        list(row[:3]) for row in expected
    ]
    degrees = tables.parts["degree"].astype("float64").to_numpy()
    np.testing.assert_array_equal(degrees, [nan if row[3] is None else row[3] for row in expected])
    np.testing.assert_array_equal(
        tables.parts[["effect", "value", "key", "query"]], [row[4:] for row in expected]
    )
    summed = tables.parts.groupby(["source", "target"])["effect"].sum()
    edges = tables.edges.set_index(["source", "target"])["effect"]
    assert edges.to_dict() == summed.to_dict() == {("z.a", "w.c"): 5.0, ("y.b", "w.c"): 4.0}


def _one_prompt(effects: Mapping[tuple[Spot, Spot | None], float]) -> list[EdgeBlock]:
    """Each edge a block, its target's only one, with a part for each half of it."""
    return [
        block(
            [source],
            None if target is None else [target],
            [[[effect]]],
            parts={Part("residual"): [[effect / 2]], Part("L0.MLP"): [[effect / 2]]},
        )
        for (source, target), effect in effects.items()
    ]


EFFECTS = {
    (A, None): 2.0, (B, None): -7.0, (E, None): 1.0, (C, None): 3.0, (D, None): 0.5,
    (A, C): -6.0, (B, C): 4.0, (E, C): 0.25, (A, D): 5.0, (B, D): -0.125, (E, D): 8.0,
}  # fmt: skip


@pytest.mark.parametrize("max_edges", [1, 2, 3, 5, 11, 50])
def test_the_strongest_are_kept_and_all_are_counted(max_edges: int) -> None:
    gathered = collector(n_prompt=1, max_edges=max_edges)
    for one in _one_prompt(EFFECTS):
        gathered.add([[one]])
    tables = gathered.tables()
    names = dict(zip([*NODES, None], NAMES, strict=True))
    ranked = sorted(EFFECTS.items(), key=lambda item: -abs(item[1]))[:max_edges]
    assert rows(tables) == [(names[u], names[v], effect) for (u, v), effect in ranked]
    assert tables.parts["effect"].tolist() == [
        effect / 2 for _, effect in ranked for _ in ("residual", "L0.MLP")
    ]
    assert tables.parts["source"].tolist() == [names[u] for (u, _), _ in ranked for _ in range(2)]
    assert tables.computed == 11
    total = sum(map(abs, EFFECTS.values()))
    assert tables.kept_share == sum(abs(effect) for _, effect in ranked) / total
    # 2 - 6 + 5, -7 + 4 - 0.125, 1 + 0.25 + 8, 3 and 0.5.
    assert list(tables.out.values()) == [1.0, -3.125, 9.25, 3.0, 0.5]


@pytest.mark.parametrize("max_edges", [3, 100])
def test_ties_come_in_forward_order_of_targets_then_of_sources(max_edges: int) -> None:
    gathered = collector(n_prompt=1, max_edges=max_edges)
    # As engines give them: the metric first, and chunk by chunk, sources of one place at a time.
    gathered.add([[block([C, D], None, [[[1.0], [1.0]]]), block([A], None, [[[1.0]]])]])
    gathered.add([[block([E, A], [C, D], [[[1.0], [-1.0]], [[2.0], [1.0]]])]])
    expected = [
        ("x.e", "v.d", 2.0),
        ("z.a", "w.c", -1.0),
        ("x.e", "w.c", 1.0),
        ("z.a", "v.d", 1.0),
        ("z.a", METRIC, 1.0),
        ("w.c", METRIC, 1.0),
        ("v.d", METRIC, 1.0),
    ]
    assert rows(gathered.tables()) == expected[:max_edges]


def test_an_edge_of_zeros_is_absent_and_one_that_cancels_is_there() -> None:
    gathered = collector(n_prompt=2)
    gathered.add([[block([A, B], [C], [[[0.0, 0.0], [1.0, -1.0]]])]])
    tables = gathered.tables()
    assert rows(tables) == [("y.b", "w.c", 0.0)]
    assert tables.computed == 1
    assert len(tables.parts) == 0


def test_an_edge_that_is_no_number_is_refused_by_its_ends() -> None:
    values = [[[1.0, float("nan")], [1.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]]
    with pytest.raises(ModelError, match=r"the edge from z\.a to w\.c is NaN"):
        collector().add([[block([A, B], [C, D], values)]])


def test_nothing_gives_empty_tables() -> None:
    gathered = collector()
    gathered.add([[], []])
    tables = gathered.tables()
    assert tuple(tables.edges.columns) == EDGE_COLUMNS and len(tables.edges) == 0
    assert tuple(tables.parts.columns) == PART_COLUMNS and len(tables.parts) == 0
    assert (tables.computed, tables.kept_share) == (0, 1.0)
