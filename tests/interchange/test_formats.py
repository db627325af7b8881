"""What is exported and read again is equal, in every format, whatever the texts; others read it."""

import io
import json
import re
from pathlib import Path
from typing import Any

import networkx as nx
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from saecircuits.errors import InputError, RunFolderError, UnknownNameError
from saecircuits.interchange.exporting import TARGETS, export, read_graph_file
from saecircuits.interchange.flat import escaped, unescaped
from saecircuits.interchange.graph_file import GraphFile, Group, graph_file
from saecircuits.interchange.networks import to_networkx
from saecircuits.publication.publish import publish
from saecircuits.runs.storage import plain
from tests.found import Found
from tests.made import made_circuit, made_labels, made_report

BACK = tuple(target for target in TARGETS if target != "dot")
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)


def made(**given: Any) -> GraphFile:
    circuit = made_circuit(n_nodes=25, n_edges=40)
    nodes = circuit.nodes["node"].tolist()
    return graph_file(
        circuit,
        labels=made_labels(circuit, **given),
        report=made_report(),
        pins=nodes[1:3],
        groups=[Group("both", tuple(nodes[4:6]))],
    )


def assert_same(found: GraphFile, expected: GraphFile) -> None:
    """Every field; tables bit by bit, with their types."""
    for name in ("nodes", "edges", "edge_parts"):
        pd.testing.assert_frame_equal(
            getattr(found.circuit, name), getattr(expected.circuit, name), check_exact=True
        )
    for name in ("settings", "candidates"):
        assert getattr(found.circuit, name) == getattr(expected.circuit, name)
    for name in ("selection", "summary", "provenance"):
        assert getattr(found.circuit, name) == plain(getattr(expected.circuit, name))
    for name in ("labels", "influence", "task", "pins", "groups", "title"):
        assert getattr(found, name) == getattr(expected, name)
    reports = [None if one.report is None else one.report.to_json() for one in (found, expected)]
    assert plain(reports[0]) == plain(reports[1])
    assert found.notes == ()


@pytest.mark.parametrize("target", BACK)
def test_what_is_exported_and_read_again_is_equal(target: str, tmp_path: Path) -> None:
    graph = made()
    path = export(graph, target, tmp_path / "out")
    assert_same(read_graph_file(_named(path, target)), graph)


@pytest.mark.parametrize("target", BACK)
def test_a_circuit_that_was_really_found_comes_back(
    found: Found, target: str, tmp_path: Path
) -> None:
    run = publish(
        found.circuit, found.report, tmp_path / "run", graph=found.graph, model=found.model,
        task=found.task, labels=found.labels,
    )  # fmt: skip
    whole = read_graph_file(run)
    assert whole.circuit.members == found.circuit.members
    path = _named(export(run, target, tmp_path / "out"), target)
    assert_same(read_graph_file(path), whole)


def test_pins_and_groups_that_a_viewer_saved_are_read(found: Found, tmp_path: Path) -> None:
    run = publish(found.circuit, found.report, tmp_path / "run", labels=found.labels)
    nodes = found.circuit.nodes["node"].tolist()
    asked = {"pins": nodes[3:5], "groups": {"both": nodes[6:8]}}
    path = export(run, "neuronpedia", tmp_path / "g.json", **asked)
    graph = read_graph_file(path)
    assert graph.pins == tuple(nodes[3:5])
    assert graph.groups == (Group("both", tuple(nodes[6:8])),)
    content = json.loads(path.read_text())
    ids = [one["node_id"] for one in content["nodes"]]
    content["qParams"] |= {"pinnedIds": [ids[1]], "supernodes": [["one", ids[2]], ["two", ids[5]]]}
    path.write_text(json.dumps(content))
    graph = read_graph_file(path)
    assert graph.pins == (nodes[1],)
    assert [(group.label, group.nodes) for group in graph.groups] == [
        ("one", (nodes[2],)), ("two", (nodes[5],)),
    ]  # fmt: skip
    with pytest.raises(UnknownNameError, match="unknown node of the circuit 'nobody'"):
        export(run, "neuronpedia", tmp_path / "h.json", groups={"none": ["nobody"]})


def test_every_run_has_its_graph(found: Found, tmp_path: Path) -> None:
    run = publish(found.circuit, found.report, tmp_path / "run", labels=found.labels)
    assert_same(read_graph_file(run / "graph.json"), read_graph_file(run))


@pytest.mark.parametrize("target", BACK)
@given(token=TEXT, span=TEXT, label=TEXT)
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_text_comes_back(
    target: str, token: str, span: str, label: str, tmp_path: Path
) -> None:
    circuit = made_circuit(n_units=1, n_layers=1, n_nodes=3, n_edges=3)
    circuit.nodes["token"] = pd.Series([token] * len(circuit.nodes), dtype="str")
    circuit.nodes["span"] = pd.Series([span] * len(circuit.nodes), dtype="str")
    # Ids carry the span's name.
    change = {old: old.replace("unit 0", span) for old in circuit.nodes["node"]}
    for table, columns in (
        (circuit.nodes, ["node"]),
        (circuit.edges, ["source", "target"]),
        (circuit.edge_parts, ["source", "target"]),
    ):
        for column in columns:
            table[column] = table[column].map(change).astype("str")
    object.__setattr__(circuit, "candidates", tuple(change[old] for old in circuit.candidates))
    graph = graph_file(circuit, labels=made_labels(circuit, text=label))
    path = export(graph, target, tmp_path / "out", overwrite=True)
    assert_same(read_graph_file(_named(path, target)), graph)


@given(text=st.text(max_size=30))
@example(text="\\u0041 \\ \\\\u000a")
def test_escapes_are_reversible_and_safe(text: str) -> None:
    safe = escaped(text)
    assert unescaped(safe) == text
    assert not re.search(r"[\x00-\x1f\ud800-\udfff\ufffe\uffff]", safe)


def test_networkx_reads_what_it_should(tmp_path: Path) -> None:
    graph = made()
    paths = {
        target: export(graph, target, tmp_path / f"{target}.out")
        for target in ("neuronpedia", "graphml", "gexf", "cytoscape", "node-link")
    }
    content = {name: json.loads(paths[name].read_text()) for name in ("cytoscape", "node-link")}
    viewer = json.loads(paths["neuronpedia"].read_text())
    networks = {
        "graphml": nx.read_graphml(paths["graphml"]),
        "gexf": nx.read_gexf(paths["gexf"], version="1.2draft"),
        "cytoscape": nx.cytoscape_graph(content["cytoscape"]),
        "node-link": nx.node_link_graph(content["node-link"], edges="links"),
        "python": to_networkx(graph),
    }
    effects = graph.circuit.edges.set_index(["source", "target"])["effect"].to_dict()
    for network in networks.values():
        assert network.is_directed() and not network.is_multigraph()
        assert set(network.nodes) == set(graph.circuit.nodes["node"])
        found = {(a, b): values["effect"] for a, b, values in network.edges(data=True)}
        assert found == effects and min(found.values()) < 0
        for node, values in network.nodes(data=True):
            has_label = node in graph.labels
            assert ("label_by" in values) == has_label
            assert ("feature" in values) == (values["kind"] == "feature")
    known = nx.node_link_graph(
        viewer, name="node_id", edges="links", directed=True, multigraph=False
    )
    assert known.number_of_edges() == len(graph.circuit.edges)


def test_pandas_reads_the_tables(tmp_path: Path) -> None:
    graph = made()
    folder = export(graph, "csv", tmp_path / "tables")
    nodes = pd.read_csv(folder / "nodes.csv")
    assert nodes["node"].tolist() == graph.circuit.nodes["node"].tolist()
    assert nodes["effect"].tolist() == pytest.approx(graph.circuit.nodes["effect"].tolist())
    edges = pd.read_csv(folder / "edges.csv")
    assert edges["effect"].tolist() == pytest.approx(graph.circuit.edges["effect"].tolist())
    parts = pd.read_csv(folder / "edge_parts.csv")
    assert parts.groupby(["source", "target"])["effect"].sum().sum() == pytest.approx(
        graph.circuit.edges["effect"].sum()
    )


def test_dot_has_every_node_and_edge_in_its_quotes(tmp_path: Path) -> None:
    graph = made(text='a "quoted" \\ label\n')
    text = export(graph, "dot", tmp_path / "g.dot").read_text()
    string = r'"((?:[^"\\]|\\.)*)"'
    body = text.splitlines()[3:-1]
    nodes = [line for line in body if " -> " not in re.sub(string, "", line)]
    edges = [re.match(rf"  {string} -> {string} \[", line) for line in body if line not in nodes]
    assert len(nodes) == len(graph.circuit.nodes)
    assert [(e[1], e[2]) for e in edges if e] == list(
        zip(graph.circuit.edges["source"], graph.circuit.edges["target"], strict=True)
    )
    for line in nodes:  # nothing but names and brackets is left outside of strings
        assert re.fullmatch(r"   \[label=, shape=\w+\];", re.sub(string, "", line))
    dashed = sum("style=dashed" in line for line in body)
    assert dashed == int((graph.circuit.edges["effect"] < 0).sum())


@pytest.mark.parametrize("target", TARGETS)
def test_equal_graphs_are_equal_files_and_hold_no_day(target: str, tmp_path: Path) -> None:
    texts = []
    for name in ("a", "b"):
        path = export(made(), target, tmp_path / name)
        files = sorted(one for one in path.rglob("*") if one.is_file()) or [path]
        texts.append([one.read_bytes() for one in files])
    assert texts[0] == texts[1]
    assert not any(re.search(rb"20\d\d-\d\d-\d\d", text) for text in texts[0])


def test_what_is_in_the_way_stays(tmp_path: Path) -> None:
    path = tmp_path / "g.graphml"
    path.write_text("mine")
    with pytest.raises(RunFolderError, match="exists; overwrite it"):
        export(made(), "graphml", path)
    with pytest.raises(RunFolderError, match="is a file; choose a folder"):
        export(made(), "csv", path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").write_text("mine")
    with pytest.raises(RunFolderError, match="is not empty"):
        export(made(), "csv", tmp_path / "full")
    assert path.read_text() == "mine"
    assert export(made(), "graphml", path, overwrite=True) == path


def test_wrong_asks_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown target 'graphm'; did you mean 'graphml'"):
        export(made(), "graphm", tmp_path / "x")
    with pytest.raises(UnknownNameError, match="unknown node of the circuit"):
        graph_file(made_circuit(), pins=["nobody"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("g.graphml", b"<graphml/>", "graphml"),
        ("g.graphml", b"<a>", "GraphML"),
        ("g.gexf", b"{}", "GEXF"),
        ("g.json", b"{", "JSON"),
        ("g.json", b"{}", "no graph that can be read"),
        ("g.cyjs", b'{"elements": 3}', "Cytoscape"),
        ("g.json", b'{"nodes": 3, "links": []}', "node-link"),
        ("g.json", b'{"metadata": {}, "links": [], "saecircuits": {}}', "."),
    ],
)
def test_files_that_are_no_graphs_are_refused_in_one_line(
    name: str, content: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        read_graph_file(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_graphs_of_other_programs_without_our_record_are_refused(tmp_path: Path) -> None:
    network = nx.path_graph(3, create_using=nx.DiGraph)
    file = io.BytesIO()
    nx.write_graphml(network, file)
    (tmp_path / "g.graphml").write_bytes(file.getvalue())
    with pytest.raises(InputError, match="was not written by saecircuits"):
        read_graph_file(tmp_path / "g.graphml")


def _named(path: Path, target: str) -> Path:
    """The file under the ending by which it is known."""
    endings = {"graphml": ".graphml", "gexf": ".gexf"}
    return path if target not in endings else path.replace(path.with_suffix(endings[target]))


def test_our_own_files_have_every_id_once(tmp_path: Path) -> None:
    path = export(made(), "neuronpedia", tmp_path / "graph.json")
    content = json.loads(path.read_bytes())

    def refused(document: dict[str, Any], said: str) -> None:
        path.write_text(json.dumps(document))
        with pytest.raises(InputError, match=said):
            read_graph_file(path)

    refused(
        {**content, "links": [*content["links"], content["links"][1]]}, "an edge is there twice"
    )
    nodes = content["nodes"]
    same = {**nodes[2], "saecircuits": {**nodes[2]["saecircuits"], **_id_of(nodes[1])}}
    refused({**content, "nodes": [*nodes[:2], same, *nodes[3:]]}, "is the id of several nodes")


def _id_of(node: dict[str, Any]) -> dict[str, str]:
    return {"node": node["saecircuits"]["node"]}


def test_integers_in_a_report_are_its_numbers(tmp_path: Path) -> None:
    path = export(made(), "neuronpedia", tmp_path / "graph.json")
    content = json.loads(path.read_bytes())
    content["saecircuits"]["report"]["faithfulness_low"] = 0
    path.write_text(json.dumps(content))
    found = read_graph_file(path).report
    assert found is not None and isinstance(found.faithfulness_low, float)
