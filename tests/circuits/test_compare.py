"""Comparison of circuits whose overlap is known."""

from dataclasses import replace

import pytest

from saecircuits.circuits import compare, prune
from saecircuits.edges.graph_scores import SCORES
from saecircuits.errors import InputError
from tests.circuits.test_prune import MEMBERS, _graph


def test_what_two_circuits_share() -> None:
    # Members: A.f1, A.error, B.f2 against these and B.error, B.f3.
    small, large = prune(_graph(), nodes=3), prune(_graph(), nodes=5)
    found = compare(small, large, names=("small", "large"))
    rows = found.overlaps.set_index("of")
    assert rows.loc["nodes", ["shared", "only_first", "only_second"]].tolist() == [3, 0, 2]
    assert rows.loc["nodes", "jaccard"] == 3 / 5
    # Edges: 5 of 7, and all 7.
    assert rows.loc["edges", ["shared", "only_first", "only_second"]].tolist() == [5, 0, 2]
    assert rows.loc["edges", "jaccard"] == 5 / 7
    assert rows.loc["nodes", "pearson"] == pytest.approx(1.0)
    assert found.nodes["node"].tolist() == MEMBERS[:5]
    assert found.nodes["small"].isna().tolist() == [False, False, False, True, True]
    assert found.figures["nodes"].tolist() == [3, 5]
    assert found.figures["error_nodes"].tolist() == [1, 2]
    assert found.figures["replacement"].isna().all()
    assert set(found.to_json()) == {"overlaps", "figures", "nodes", "edges"}


def test_scores_of_the_graphs_stand_beside_each_other() -> None:
    small = prune(_graph(), nodes=3)
    scores = {"replacement": 0.625, "features_share": 0.5}
    known = replace(small, summary={**small.summary, SCORES: scores})
    rows = compare(known, small).figures
    assert rows["replacement"][0] == 0.625 and rows["features_share"][0] == 0.5
    assert rows[["replacement", "features_share"]].loc[1].isna().all()


def test_effects_that_disagree_and_nothing_shared() -> None:
    one = prune(_graph(), nodes=4)
    turned = replace(one, nodes=one.nodes.assign(effect=-one.nodes["effect"]))
    assert compare(one, turned).overlaps["pearson"][0] == pytest.approx(-1.0)
    none = replace(one, nodes=one.nodes[:1], edges=one.edges[:0])
    rows = compare(one, none).overlaps
    assert rows["jaccard"].tolist() == [0.0, 0.0]
    assert compare(none, none).overlaps["jaccard"].tolist() == [1.0, 1.0]


def test_refusals() -> None:
    circuit = prune(_graph(), nodes=2)
    with pytest.raises(InputError, match="given 1 circuits; give at least two"):
        compare(circuit)
    with pytest.raises(InputError, match="the names"):
        compare(circuit, circuit, names=("a", "a"))
    other = replace(circuit, provenance={"dictionaries": {"x": "y"}})
    with pytest.raises(InputError, match="different models or dictionaries"):
        compare(circuit, other)
