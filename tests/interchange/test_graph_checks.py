"""The check finds each breakage, one at a time, and nothing in a sound graph."""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from saecircuits.errors import RunFolderError, UnknownNameError
from saecircuits.interchange.graph_checks import check_graph
from saecircuits.interchange.graph_file import graph_file
from saecircuits.interchange.viewers import cantor, viewer_document
from tests.interchange.graphs import REAL, foreign, node, shared
from tests.made import made_circuit, made_labels

Change = Callable[[dict[str, Any]], None]
# Said of the small graph itself: two labels hold markup, and it is small.
KNOWN = {"markup", "too-small", "scan", "supernodes"}


def rules(graph: Any, **asked: Any) -> dict[str, str]:
    return {one.rule: one.level for one in check_graph(graph, **asked)}


def changed(change: Change) -> dict[str, Any]:
    graph = copy.deepcopy(foreign())
    change(graph)
    return graph


def test_a_sound_graph_has_no_errors() -> None:
    assert set(rules(foreign())) == KNOWN
    assert all(level == "warning" for level in rules(foreign()).values())


def _drop(key: str) -> Change:
    return lambda graph: graph.pop(key)


def _of_node(number: int, **values: object) -> Change:
    return lambda graph: graph["nodes"][number].update(values)


def _asked(**values: object) -> Change:
    return lambda graph: graph["qParams"].update(values)


def _metadata(**values: object) -> Change:
    return lambda graph: graph["metadata"].update(values)


def _link(source: str, target: str, weight: object = 1.0) -> Change:
    return lambda graph: graph["links"].append(
        {"source": source, "target": target, "weight": weight}
    )


def _all_layers_zero(graph: dict[str, Any]) -> None:
    for one in graph["nodes"]:
        if one["layer"] == "1":
            one["layer"] = "0"
    graph["nodes"][2]["feature"] = cantor(0, 3)


BREAKAGES: dict[str, tuple[Change, str, str, str]] = {
    "logit without probability": (_of_node(5, clerp="Output yes"), "logit-label", "error", "(p=0"),
    "influence missing": (
        _of_node(0, influence=None), "missing-influence", "error", "1 of 5 nodes"),
    "influence out of range": (_of_node(0, influence=7.5), "influence-range", "error", "7.5"),
    "nodes hidden by the threshold": (
        _metadata(node_threshold=0.6), "hidden-nodes", "warning", "2 nodes"),
    "one-token prompt": (_metadata(prompt_tokens=["a"]), "one-token", "error", "BOS in front"),
    "one-layer model": (_all_layers_zero, "one-layer", "error", "from 1"),
    "a layer without number": (_of_node(3, layer="first"), "layer", "error", "'first'"),
    "unknown feature type": (_of_node(0, feature_type="sae"), "feature-type", "error", "'sae'"),
    "labels beside the nodes, a list": (_asked(clerps=[["a", "b"]]), "clerps", "error", "list"),
    "labels beside the nodes, a text": (_asked(clerps="[]"), "clerps", "error", "str"),
    "NaN": (_of_node(0, activation=math.nan), "not-finite", "error", "NaN"),
    "infinity": (_link("0_2_1", "2_4_2", math.inf), "not-finite", "error", "Infinity"),
    "an id twice": (_of_node(1, node_id="0_2_1"), "duplicate-id", "error", "'0_2_1'"),
    "a link to nowhere": (_link("0_2_1", "9_9_9"), "dangling-link", "error", "'9_9_9'"),
    "a link twice": (_link("E_5_1", "0_2_1"), "duplicate-link", "warning", "E_5_1 -> 0_2_1"),
    "no qParams": (_drop("qParams"), "schema", "error", "no 'qParams'"),
    "no links": (_drop("links"), "schema", "error", "no 'links'"),
    "a weight as text": (_link("0_2_1", "2_4_2", "3"), "schema", "error", "links[7].weight is '3'"),
    "a node without label": (
        lambda graph: graph["nodes"][0].pop("clerp"), "schema", "error", "no 'clerp'"),
    "an empty label": (_of_node(0, clerp=" "), "missing-label", "warning", "bare circles"),
    "no logit": (
        lambda graph: graph.update(nodes=graph["nodes"][:5], links=graph["links"][:4]),
        "no-logit", "error", "'logit'"),
    "a feature key twice": (
        lambda graph: graph["nodes"].append(node("x", "0", cantor(0, 2), 1, "lorsa")),
        "key-collision", "error", "0/5/1"),
    "not the pairing": (_of_node(0, feature=1), "feature-number", "error", "(l + f)"),
    "beyond JavaScript": (
        _of_node(0, feature=cantor(0, 2**27)), "feature-number", "error", "2^53"),
    "a position beside the prompt": (_of_node(0, ctx_idx=3), "position", "error", "'0_2_1'"),
    "a group of unknown nodes": (
        _asked(supernodes=[["name", "nobody"]]), "unknown-node", "error", "'nobody'"),
    "a group that is no list": (_asked(supernodes=["name"]), "supernodes", "error", "[[label"),
    "an unknown pin": (_asked(pinnedIds=["nobody"]), "unknown-node", "error", "pinnedIds"),
    "an unknown click": (_asked(clickedId="nobody"), "unknown-node", "error", "clickedId"),
    "a slug with a blank": (_metadata(slug="yes no"), "name", "error", "'yes no'"),
    "a model with a slash": (_metadata(scan="a/b"), "name", "error", "'a/b'"),
    "an address that is not read": (
        _metadata(feature_details={"feature_json_base_url": "https://x"}),
        "feature-address", "warning", "schema_version 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKAGES)
def test_each_breakage_is_found_and_explained(name: str) -> None:
    change, rule, level, said = BREAKAGES[name]
    found = check_graph(changed(change))
    mine = [one for one in found if one.rule == rule]
    assert mine, [one.rule for one in found]
    assert mine[0].level == level
    assert any(said in one.message for one in mine)
    assert all("\n" not in one.message for one in found)


def test_findings_are_of_a_viewer() -> None:
    graph = changed(_metadata(prompt_tokens=["a", "b", "c"][:1]))
    assert "one-token" in rules(graph, target="circuit-tracer")
    assert "one-token" not in rules(graph, target="neuronpedia")
    with pytest.raises(UnknownNameError, match="unknown viewer 'gephi'"):
        check_graph(graph, target="gephi")


def test_files_are_checked_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(foreign()))
    assert set(rules(path)) == KNOWN
    path.write_text(json.dumps(changed(_of_node(0, influence=math.nan))))
    assert rules(path)["not-finite"] == "error"
    path.write_text("{")
    assert rules(path) == {"json": "error"}
    path.write_text("[]")
    assert rules(path) == {"schema": "error"}
    with pytest.raises(RunFolderError, match="has no nothing"):
        check_graph(tmp_path / "nothing.json")


def test_a_large_graph_is_not_too_small() -> None:
    circuit = made_circuit(n_nodes=60, n_edges=200)
    graph = viewer_document(graph_file(circuit, labels=made_labels(circuit)))
    assert "too-small" not in rules(graph)


@pytest.mark.parametrize("name", REAL)
def test_real_graphs_have_the_errors_that_are_known(name: str) -> None:
    found = check_graph(shared(f"{name}.json"))
    errors = {one.rule for one in found if one.level == "error"}
    assert errors == ({"duplicate-id"} if name == "dollar" else set())
