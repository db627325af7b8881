"""Graphs of other programs are read, mended where they must be, and come back as they were."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from saecircuits.circuits import compare
from saecircuits.edges.graph_scores import GraphScores
from saecircuits.errors import InputError
from saecircuits.interchange.exporting import export, read_graph_file
from saecircuits.interchange.foreign import from_foreign
from saecircuits.interchange.graph_checks import check_graph
from saecircuits.interchange.graph_file import GraphFile
from tests.interchange.graphs import (
    REAL,
    foreign,
    node,
    shared,
    with_shared_id,
)


def links_of(graph: dict[str, Any]) -> Counter[tuple[str, str, float]]:
    return Counter((one["source"], one["target"], one["weight"]) for one in graph["links"])


def test_nodes_become_what_we_call_them() -> None:
    graph = from_foreign(foreign(), where="a file")
    rows = graph.circuit.nodes.set_index("node")
    columns = ["site", "layer", "kind", "feature", "position", "token"]
    wanted = ["blocks.1.hook_mlp_out", 1, "feature", 3, 2, " it"]
    assert rows.loc["1_3_2", columns].tolist() == wanted
    assert rows.loc["0_1_1", ["site", "kind"]].tolist() == ["blocks.1.hook_mlp_out", "error"]
    assert rows.loc["E_5_1", ["site", "layer", "kind"]].tolist() == ["hook_embed", -1, "token"]
    assert rows.loc["2_4_2", ["site", "layer", "kind"]].tolist() == ["", 2, "metric"]
    assert rows["activation"].loc["2_4_2"] == 0.5  # the probability
    assert rows["effect"].isna().all()
    # By influence, the metric's nodes first.
    assert graph.circuit.nodes["node"].tolist()[2:4] == ["0_7_2", "0_2_1"]
    assert graph.circuit.size == 4 and graph.circuit.n_errors == 1
    assert graph.circuit.settings.linearization == "frozen"
    assert graph.labels["0_2_1"].text == "a label"
    assert graph.pins == ("1_3_2",) and graph.groups[0].nodes == ("0_2_1", "0_7_2")
    assert graph.notes == ()


def test_links_become_edges_strongest_first() -> None:
    edges = from_foreign(foreign(), where="a file").circuit.edges
    assert edges["effect"].tolist() == [3.0, 2.0, -2.0, 1.25, -1.0, 0.5, -0.5]
    assert edges.loc[0, ["source", "target"]].tolist() == ["1_3_2", "2_4_2"]


def _scores(graph: GraphFile) -> tuple[float | None, float | None]:
    found = GraphScores.of(graph.circuit.summary)
    assert found is not None and found.tokens is None and found.replacement_low is None
    return found.replacement, found.completeness


def test_its_scores_are_circuit_tracer_s() -> None:
    # By hand: of the logits, weighted 2 to 1, the first has 6/7 from the feature and 1/7 from the
    # error, the second all from the feature, and that all from tokens.
    graph = foreign()
    replacement = (2 * 6 / 7 + 1) / 3
    assert _scores(from_foreign(graph, where="a file")) == pytest.approx((replacement, 0.975))
    # Without probabilities they count alike; links in a circle have no scores.
    del graph["nodes"][-1]["token_prob"]
    assert _scores(from_foreign(graph, where="a file"))[0] == pytest.approx((6 / 7 + 1) / 2)
    graph["links"].append({"source": "1_3_2", "target": "0_2_1", "weight": 1.0})
    assert _scores(from_foreign(graph, where="a file")) == (None, None)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("meow-clt", (0.7991786458200174, 0.9270462645598883)),
        ("dallas-austin", (0.6936695554118805, 0.8922745326776761)),
    ],
)
def test_so_are_those_of_real_graphs(name: str, expected: tuple[float, float]) -> None:
    # Printed by circuit-tracer 0.5.0: `tests/edges/circuit_tracer/scores.py`.
    assert _scores(read_graph_file(shared(f"{name}.json"))) == pytest.approx(expected, rel=1e-12)


def test_without_the_pairing_the_id_names_the_feature() -> None:
    graph = foreign()
    del graph["metadata"]["schema_version"]
    rows = from_foreign(graph, where="a file").circuit.nodes.set_index("node")
    assert rows.loc["1_3_2", "feature"] == 3


def test_attention_features_stand_at_attention() -> None:
    graph = foreign()
    graph["nodes"][2]["feature_type"] = "lorsa"
    rows = from_foreign(graph, where="a file").circuit.nodes.set_index("node")
    assert rows.loc["1_3_2", "site"] == "blocks.1.hook_attn_out"


def test_a_shared_id_is_told_apart_by_the_order_of_links() -> None:
    graph = from_foreign(with_shared_id(), where="a file")
    assert not graph.circuit.nodes["node"].duplicated().any()
    rows = graph.circuit.nodes.set_index("node")
    assert rows.loc["0_2_1", "kind"] == "feature"
    assert rows.loc["0_2_1#2", ["kind", "layer"]].tolist() == ["error", 2]
    edges = graph.circuit.edges.set_index(["source", "target"])["effect"].to_dict()
    assert edges["E_5_1", "0_2_1"] == 2.0  # error nodes read nothing
    assert edges["0_2_1", "1_3_2"] == 0.5  # before 0_7_2
    assert edges["0_2_1#2", "2_4_2"] == 7.0  # behind 0_1_1
    assert (edges["0_2_1", "2_9_2"], edges["0_2_1#2", "2_9_2"]) == (8.0, 9.0)  # one each
    (note,) = graph.notes
    assert "'0_2_1' (cross layer transcoder and mlp reconstruction error)" in note
    assert "all of them surely" in note


def test_a_link_that_is_there_twice_goes_to_each_node_once() -> None:
    graph = with_shared_id()
    graph["links"] = [link for link in graph["links"] if link["source"] != "1_3_2"]
    found = from_foreign(graph, where="a file")
    edges = found.circuit.edges.set_index(["source", "target"])["effect"].to_dict()
    assert (edges["0_2_1", "2_9_2"], edges["0_2_1#2", "2_9_2"]) == (8.0, 9.0)
    assert len(found.notes) == 1  # nothing was added up


def test_links_that_cannot_be_told_apart_are_said() -> None:
    graph = with_shared_id()
    graph["links"] = [
        link for link in graph["links"]
        if link["target"] != "2_4_2" or link["source"] == "0_2_1"
    ]  # fmt: skip
    (note,) = from_foreign(graph, where="a file").notes
    assert "1 of them could not be told apart" in note


def test_repeated_links_are_added_up() -> None:
    graph = foreign()
    graph["links"].append({"source": "E_5_1", "target": "0_2_1", "weight": 0.25})
    found = from_foreign(graph, where="a file")
    assert found.circuit.edges.set_index(["source", "target"])["effect"]["E_5_1", "0_2_1"] == 2.25
    assert found.notes == ("1 repeated links were added up.",)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"links": [{"source": "E_5_1", "target": "nobody", "weight": 1}]}, "not there"),
        ({"nodes": [node("a", "0", 1, 9, "embedding")], "links": []}, "beside the 3 prompt"),
        ({"nodes": 3}, "list is needed"),
    ],
)
def test_what_cannot_be_read_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=f"^a file cannot be read .*{said}"):
        from_foreign({**foreign(), **change}, where="a file")


@pytest.mark.parametrize("target", ["neuronpedia", "circuit-tracer"])
def test_a_graph_comes_back_as_it_was(target: str, tmp_path: Path) -> None:
    source = tmp_path / "in.json"
    original = foreign()
    source.write_text(json.dumps(original))
    path = export(read_graph_file(source), target, tmp_path / "out")
    written = path if path.is_file() else path / "yes-no.json"
    assert json.loads(written.read_text()) == original


@pytest.mark.parametrize("target", ["graphml", "gexf", "cytoscape", "node-link", "csv", "dot"])
def test_it_can_be_written_in_the_other_formats(target: str, tmp_path: Path) -> None:
    graph = from_foreign(foreign(), where="a file")
    endings = {"graphml": ".graphml", "gexf": ".gexf"}
    path = export(graph, target, tmp_path / f"out{endings.get(target, '')}")
    if target != "dot":
        again = read_graph_file(path)
        assert again.circuit.edges["effect"].tolist() == graph.circuit.edges["effect"].tolist()
        assert again.labels == graph.labels


@pytest.mark.parametrize("name", REAL)
def test_real_graphs_come_back_as_they_were(name: str, tmp_path: Path) -> None:
    path = shared(f"{name}.json")
    original = json.loads(path.read_text())
    graph = read_graph_file(path)
    assert len(graph.circuit.nodes) == len(original["nodes"])
    assert len(graph.circuit.edges) == len(original["links"])
    again = json.loads(export(graph, "neuronpedia", tmp_path / "out.json").read_text())
    assert again["metadata"] == original["metadata"] and again["qParams"] == original["qParams"]
    if name != "dollar":
        assert again == original and graph.notes == ()
        return
    # One id stood for two nodes: 79 links began there, 61 of them at the error node.
    assert "all of them surely" in graph.notes[0]
    assert not [one for one in check_graph(again) if one.level == "error"]
    renamed = Counter(
        (a.removesuffix("#2"), b, weight) for (a, b, weight), n in links_of(again).items()
        for _ in range(n)
    )  # fmt: skip
    assert renamed == links_of(original)
    from_error = [one for one in again["links"] if one["source"] == "0_2_1#2"]
    assert len(from_error) == 61
    layers = {one["node_id"]: one["layer"] for one in again["nodes"]}
    assert all(int(layers[one["target"]]) > 2 for one in from_error)  # the error is of layer 2


def test_graphs_of_other_programs_are_compared() -> None:
    whole, less = foreign(), foreign()
    dropped = less["links"].pop()
    one, two = (from_foreign(graph, where="a file").circuit for graph in (whole, less))
    found = compare(one, two, names=("whole", "less"))
    rows = found.overlaps.set_index("of")
    assert rows.loc["edges", ["shared", "only_first", "only_second"]].tolist() == [
        len(less["links"]), 1, 0
    ]  # fmt: skip
    assert rows.loc["nodes", "jaccard"] == 1.0
    alone = found.edges[found.edges["less"].isna()]
    assert alone["whole"].tolist() == [dropped["weight"]]
    assert found.figures["effect"].isna().all()
    less["metadata"]["scan"] = "another-model"
    with pytest.raises(InputError, match=r"model differs"):
        compare(one, from_foreign(less, where="a file").circuit)


def test_real_graphs_are_compared_where_they_are_of_the_same_features() -> None:
    dallas, meow, dollar = (
        read_graph_file(shared(f"{name}.json")).circuit
        for name in ("dallas-austin", "meow-clt", "dollar")
    )
    rows = compare(dallas, meow).overlaps.set_index("of")
    assert 0 < rows.loc["nodes", "shared"] < dallas.size
    with pytest.raises(InputError, match=r"source_set differs"):
        compare(dallas, dollar)
