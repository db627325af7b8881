"""Attribution-graph JSON of our circuits: what the viewers need is there, and nothing is lost."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saecircuits.interchange.exporting import export
from saecircuits.interchange.graph_checks import check_graph
from saecircuits.interchange.graph_file import Group, cumulative_influence, graph_file, layers_of
from saecircuits.interchange.viewers import cantor, uncantor, viewer_document, viewer_url
from saecircuits.runs.records import Example, TaskRecord
from tests.found import Found
from tests.interchange.graphs import shared
from tests.made import DIGEST, made_circuit, made_labels, made_report

CIRCUIT = made_circuit(n_units=4, n_layers=3, n_nodes=40, n_edges=80)


def task(answer: str = " She", wrong: str = " He") -> TaskRecord:
    example = Example(clean="A girl", corrupted="A boy", answer=(answer,), wrong=(wrong,))
    return TaskRecord(
        name="a task", description="Who.", digest=DIGEST, train=3, test=2, example=example
    )


def document(viewer: Any = "neuronpedia", **given: Any) -> dict[str, Any]:
    circuit = given.pop("circuit", CIRCUIT)
    given = {"labels": made_labels(circuit), "report": made_report(), "task": task()} | given
    return viewer_document(graph_file(circuit, **given), viewer)


@pytest.mark.parametrize("viewer", ["neuronpedia", "circuit-tracer"])
def test_no_finding_is_left_in_what_we_write(viewer: str) -> None:
    found = check_graph(document(viewer), target=viewer)
    assert [one for one in found if one.rule != "too-small"] == []


@pytest.mark.parametrize("viewer", ["neuronpedia", "circuit-tracer"])
def test_a_circuit_that_was_really_found_follows_the_schema(found: Found, viewer: Any) -> None:
    graph = document(viewer, circuit=found.circuit, labels=found.labels, report=found.report)
    jsonschema.validate(graph, json.loads(shared("graph-schema.json").read_text()))
    assert not [one for one in check_graph(graph, target=viewer) if one.level == "error"]


@pytest.mark.parametrize("shape", [{"n_layers": 1}, {"n_units": 1}, {"n_units": 1, "n_layers": 1}])
def test_one_layer_and_one_token_open_too(shape: dict[str, int]) -> None:
    circuit = made_circuit(n_nodes=9, n_edges=9, **shape)
    for viewer in ("neuronpedia", "circuit-tracer"):
        graph = document(viewer, circuit=circuit, labels=())
        assert not [one for one in check_graph(graph, target=viewer) if one.level == "error"]


def test_every_dictionary_has_a_layer_of_its_own_in_forward_order() -> None:
    layers = layers_of(CIRCUIT)
    kinds = ("hook_attn_out", "hook_mlp_out", "hook_resid_post")
    assert list(layers) == [f"blocks.{layer}.{kind}" for layer in range(3) for kind in kinds]
    assert list(layers.values()) == list(range(1, 10))
    for one in document()["nodes"]:
        own = one["saecircuits"]
        assert one["ctx_idx"] == own["position"] + 1  # behind BOS
        assert one["node_id"].endswith(f"_{one['ctx_idx']}")
        if own["kind"] == "feature":
            assert int(one["layer"]) == layers[own["site"]]
            assert uncantor(one["feature"]) == (layers[own["site"]], own["feature"])


def test_weights_are_signed_effects_and_ids_are_the_circuits() -> None:
    graph = document()
    names = {one["node_id"]: one["saecircuits"]["node"] for one in graph["nodes"]}
    assert list(names.values()) == CIRCUIT.nodes["node"].tolist()
    ends = [(names[link["source"]], names[link["target"]]) for link in graph["links"]]
    assert ends == list(zip(CIRCUIT.edges["source"], CIRCUIT.edges["target"], strict=True))
    assert [link["weight"] for link in graph["links"]] == CIRCUIT.edges["effect"].tolist()
    assert min(link["weight"] for link in graph["links"]) < 0


def test_influence_is_cumulative_by_hand() -> None:
    circuit = made_circuit(n_units=1, n_layers=1, n_nodes=2, n_edges=0)
    circuit.nodes["effect"] = [9.0, -6.0, 3.0, 1.0]  # the metric first, which does not count
    ids = circuit.nodes["node"].tolist()
    assert circuit.nodes["kind"].tolist()[0] == "metric"
    found = cumulative_influence(circuit)
    assert found == pytest.approx({ids[1]: 0.6, ids[2]: 0.9, ids[3]: 1.0})


def test_the_metric_is_a_logit_with_a_probability() -> None:
    (logit,) = [one for one in document()["nodes"] if one["feature_type"] == "logit"]
    activation = CIRCUIT.nodes.query("kind == 'metric'")["activation"].iloc[0]
    assert logit["token_prob"] == pytest.approx(1 / (1 + 2.718281828459045**-activation))
    assert logit["clerp"].startswith('Output " She" against " He" (p=0.')
    assert logit["is_target_logit"] and logit["influence"] is None


@pytest.mark.parametrize("token", ['say "(p=x)"', "(p=", "\n", "<b>"])
def test_foreign_tokens_do_not_break_the_probability(token: str) -> None:
    graph = document("circuit-tracer", task=task(answer=token, wrong=token))
    (logit,) = [one for one in graph["nodes"] if one["feature_type"] == "logit"]
    assert 0 <= float(logit["clerp"].split("(p=")[1].split(")")[0]) <= 1  # as the viewers do
    assert "<b>" not in logit["clerp"]


def test_labels_and_sites_stand_at_features() -> None:
    labels = made_labels(CIRCUIT, text="<script>alert(1)</script>")
    for viewer, wanted in (("neuronpedia", "<script>"), ("circuit-tracer", "\u2039script\u203a")):
        for one in document(viewer, labels=labels)["nodes"]:
            if one["feature_type"] == "cross layer transcoder":
                assert one["clerp"].startswith(wanted)
                assert f" f{one['saecircuits']['feature']}" in one["clerp"]
                assert one["saecircuits"]["label_by"] == "auto"


def test_what_is_lost_is_said() -> None:
    graph = document()
    assert any("several may sit in one block" in line for line in graph["saecircuits"]["lost"])
    assert "sigmoid" in graph["metadata"]["info"]["description"]
    assert "Faithfulness 0.88" in graph["metadata"]["info"]["description"]
    assert graph["metadata"]["generation_settings"]["estimator"] == "gradient"


def test_pins_and_groups_go_into_file_and_address() -> None:
    nodes = CIRCUIT.nodes["node"].tolist()
    group = Group('a "group" & more', (nodes[3], nodes[4]))
    graph = document("circuit-tracer", pins=[nodes[2]], groups=[group])
    ids = {one["saecircuits"]["node"]: one["node_id"] for one in graph["nodes"]}
    assert graph["qParams"]["pinnedIds"] == [ids[nodes[2]]]
    asked = parse_qs(urlparse(viewer_url(graph)).query)
    assert asked["pinnedIds"] == [ids[nodes[2]]]
    assert json.loads(asked["supernodes"][0]) == [[group.label, ids[nodes[3]], ids[nodes[4]]]]
    assert graph["qParams"]["supernodes"] == json.loads(asked["supernodes"][0])


@given(layer=st.integers(0, 500), feature=st.integers(0, 10**7))
@settings(max_examples=60)
def test_pairing_is_exact_both_ways(layer: int, feature: int) -> None:
    assert uncantor(cantor(layer, feature)) == (layer, feature)
    assert cantor(layer, feature + 1) - cantor(layer, feature) == layer + feature + 2


def test_the_local_viewers_bundle_is_complete(found: Found, tmp_path: Path) -> None:
    from saecircuits.features.dashboard_making import describe_features
    from saecircuits.features.texts import generated_contexts
    from saecircuits.publication.publish import publish

    contexts = generated_contexts(found.model)
    labels, boards = describe_features(found.model, found.circuit, contexts)
    run = publish(
        found.circuit, found.report, tmp_path / "run", model=found.model, task=found.task,
        labels=labels, dashboards=boards,
    )  # fmt: skip
    bundle = export(run, "circuit-tracer", tmp_path / "bundle")
    graph = json.loads((bundle / "toy-toy.json").read_text())
    listed = json.loads((bundle / "graph-metadata.json").read_text())["graphs"]
    assert listed == [graph["metadata"]]
    # The viewer asks for `{scan}/{feature}.json`, and its server serves the bundle as /data.
    scan = graph["metadata"]["scan"]
    assert scan.startswith("./data/")
    for one in graph["nodes"]:
        if one["saecircuits"]["kind"] == "feature":
            path = bundle / scan.removeprefix("./data/") / f"{one['feature']}.json"
            dashboard = json.loads(path.read_text())
            assert dashboard["index"] == one["feature"]
            assert dashboard["saecircuits"]["feature"] == one["saecircuits"]["feature"]
