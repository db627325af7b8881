"""Node ids and the tables of a graph, by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import saecircuits as sc
from saecircuits.edges.graph import NODE_COLUMNS, metric_row, node_table
from saecircuits.errors import InputError, UnknownNameError
from saecircuits.nodes.contrast import TOKENS
from saecircuits.nodes.effects import NodeEffects, node_index
from saecircuits.nodes.interventions import ERROR, Spot
from saecircuits.nodes.names import METRIC, node_id, parse_node_id
from tests.models import D_SAE, Toy, make_contrast

UNITS = ("start", "sub@ject", "the.rest")
IDS = {
    "blocks.1.hook_resid_post.f30@start": Spot(1, 0, 30),
    "blocks.0.hook_resid_post.error@the.rest": Spot(0, 2, ERROR),
    "token@sub@ject": Spot(TOKENS, 1, ERROR),
    "blocks.2.hook_resid_post.f0@sub@ject": Spot(2, 1, 0),
}


@pytest.mark.parametrize("name", IDS)
def test_ids_read_back(toy: Toy, name: str) -> None:
    assert node_id(toy.model, UNITS, IDS[name]) == name
    assert parse_node_id(toy.model, UNITS, name) == IDS[name]


def test_every_node_has_an_id_of_its_own(toy_mixed: Toy) -> None:
    contrast = make_contrast(toy_mixed.model, toy_mixed.prompts)
    index = node_index(contrast)
    names = contrast.units.names
    ids = [node_id(toy_mixed.model, names, index.spot(column)) for column in range(index.size)]
    assert len(set(ids)) == index.size
    back = [index.column(parse_node_id(toy_mixed.model, names, name)) for name in ids]
    assert back == list(range(index.size))


@pytest.mark.parametrize("name", ["metric", "", "f3@start", "blocks.0.hook_resid_post.x3@start"])
def test_what_is_no_id_is_refused(toy: Toy, name: str) -> None:
    with pytest.raises(InputError, match="is no node id; ids look like"):
        parse_node_id(toy.model, UNITS, name)


def test_ids_of_other_models_and_tasks_are_refused(toy: Toy) -> None:
    with pytest.raises(UnknownNameError, match=r"'end'.*known: start"):
        parse_node_id(toy.model, UNITS, "token@end")
    with pytest.raises(UnknownNameError, match=r"'blocks\.0\.hook_mlp_out'"):
        parse_node_id(toy.model, UNITS, "blocks.0.hook_mlp_out.f3@start")
    with pytest.raises(InputError, match=f"feature {D_SAE}, but the dictionary .* has {D_SAE}"):
        parse_node_id(toy.model, UNITS, f"blocks.0.hook_resid_post.f{D_SAE}@start")


def _sparse(columns: dict[int, list[float]], size: int) -> sparse.csr_matrix:
    table = np.zeros((2, size))
    for column, values in columns.items():
        table[:, column] = values
    return sparse.csr_matrix(table)


def test_node_table_by_hand(toy: Toy) -> None:
    # Three units, so columns 0 to 2 are tokens, then 32 columns a unit for each of three sites:
    # 3 + 32 + 5 is feature 5 of the first site in unit 1; 3 + 96 + 31 the second's error in unit 0.
    contrast = make_contrast(toy.model, toy.prompts, positions="span")
    index = node_index(contrast)
    effects = NodeEffects(
        index,
        effects=_sparse({40: [1.0, 3.0], 130: [-5.0, -1.0], 2: [0.5, 0.5]}, index.size),
        activations=_sparse(
            {40: [2.0, 4.0], 130: [7.0, 7.0], 2: [1.0, 1.0], 9: [3, 3]}, index.size
        ),
        baselines=_sparse({40: [1.0, 0.0], 130: [7.0, 7.0], 9: [3, 3], 60: [1, 0]}, index.size),
    )
    table = node_table(toy.model, contrast.units, effects, seed=0)
    assert tuple(table.columns) == NODE_COLUMNS
    # Column 9 equals its baseline and has no effect: no row. Column 60 has a baseline alone.
    expected = [
        ("blocks.1.hook_resid_post.error@start", 1, "error", -3.0, 7.0, 7.0),
        ("blocks.0.hook_resid_post.f5@subject", 0, "feature", 2.0, 3.0, 0.5),
        ("token@rest", -1, "token", 0.5, 1.0, 0.0),
        ("blocks.0.hook_resid_post.f25@subject", 0, "feature", 0.0, 0.0, 0.5),
    ]
    columns = ["node", "layer", "kind", "effect", "activation", "baseline"]
    assert [tuple(row) for row in table[columns].to_numpy()] == expected
    assert table["site"].tolist() == [
        "blocks.1.hook_resid_post",
        "blocks.0.hook_resid_post",
        "hook_embed",
        "blocks.0.hook_resid_post",
    ]
    assert table["span"].tolist() == ["start", "subject", "rest", "subject"]
    assert table["position"].tolist() == [0, 1, 2, 1]
    assert table["feature"].isna().tolist() == [True, False, True, False]
    assert table["feature"].dropna().tolist() == [5, 25]
    assert (table["effect_low"] <= table["effect"]).all()
    assert (table["effect_high"] >= table["effect"]).all()
    assert table["left_out"].dtype == np.float64 and table["left_out"].isna().all()


def test_ties_are_broken_by_id(toy: Toy) -> None:
    contrast = make_contrast(toy.model, toy.prompts, positions="span")
    index = node_index(contrast)
    same = {column: [1.0, 1.0] for column in (150, 40, 5, 30)}
    values = _sparse(same, index.size)
    effects = NodeEffects(index, values, values, _sparse({}, index.size))
    names = node_table(toy.model, contrast.units, effects, seed=0)["node"].tolist()
    assert names == sorted(names)


def test_metric_row_by_hand(toy: Toy) -> None:
    contrast = make_contrast(toy.model, toy.prompts, positions="span")
    table = metric_row(toy.model, contrast.units, np.array([[3.0, 5.0], [1.0, 2.0]]), seed=0)
    (row,) = table.to_dict("records")
    assert (row["node"], row["kind"], row["layer"]) == (METRIC, METRIC, 3)
    assert (row["activation"], row["baseline"], row["effect"]) == (4.0, 1.5, 2.5)
    assert (row["effect_low"], row["effect_high"]) == (2.0, 3.0)
    assert row["sign_stability"] == 1.0
    assert (row["position"], row["span"]) == (2, "rest")
    assert pd.isna(row["feature"]) and np.isnan(row["left_out"])
    assert table["feature"].dtype == pd.Int64Dtype()


def test_graphs_do_not_change(toy: Toy) -> None:
    spot: Any = Spot(0, 0, 1)
    with pytest.raises(AttributeError):
        spot.unit = 2
    assert replace(spot, unit=2) == Spot(0, 2, 1)


def test_what_is_printed_fits_on_a_line(toy: Toy) -> None:
    graph = sc.attribute(toy.model, toy.prompts, max_nodes=12)
    circuit = sc.prune(graph, nodes=3)
    assert repr(graph).startswith(f"AttributionGraph({len(graph.nodes)} nodes")
    assert repr(circuit).startswith(f"Circuit(3 of {len(circuit.candidates)} ")
    for value in (toy.model, toy.prompts, graph, circuit, graph.experiment):
        assert "\n" not in repr(value)
        assert len(repr(value)) < 400
