"""The whole way with a cross-layer transcoder: from the graph to a folder and back."""

from pathlib import Path

import pytest

from saecircuits.circuits import paths, prune
from saecircuits.edges.attribute import attribute
from saecircuits.features.texts import Contexts, generate_text
from saecircuits.publication.publish import publish
from saecircuits.runs.stored import read_run
from saecircuits.tasks import Task
from saecircuits.validation import calibrate, validate
from tests.cross_layer import CrossLayerToy


def test_a_run_comes_back_as_it_was_published(toy_crossing: CrossLayerToy, tmp_path: Path) -> None:
    model, prompts = toy_crossing.model, toy_crossing.prompts
    task = Task("toy", "Words follow words.", prompts.subset([0, 1, 2]), prompts.subset([3, 4]))
    graph = attribute(model, task.train, max_nodes=50)
    circuit = prune(graph, nodes=30, edges=80)
    routes = paths(graph, k=5)
    for against in ("single", "joint"):
        agreement = calibrate(model, graph, task.train, n_nodes=9, n_edges=9, against=against)
        assert agreement["nodes"]["pearson"] > 0.5
    report = validate(model, circuit, task.test, n_random=2, resamples=20)
    assert report.faithfulness != 0
    text = Contexts(generate_text(model, n_tokens=300, seed=1), "the model", "CC0-1.0")
    folder = publish(
        circuit, report, tmp_path / "run", graph=graph, model=model, task=task, routes=routes,
        contexts=text,
    )  # fmt: skip
    run = read_run(folder)
    assert run.circuit.members == circuit.members
    again = run.circuit
    on_model = validate(model, again, task.test, n_random=2, resamples=20)
    assert on_model.faithfulness == pytest.approx(report.faithfulness, abs=1e-12)
    assert "write at later sites" in run.graph.summary["edge_engine"]
    assert run.circuit.provenance["cross_layer"] == list(model.hooks[:-1])
    assert {label.site for label in run.labels} <= set(model.hooks)
