"""A circuit really found on the toy model, with its report and labels."""

from dataclasses import dataclass

import pytest

from saecircuits.circuits import Circuit, prune
from saecircuits.edges.attribute import attribute
from saecircuits.edges.graph import AttributionGraph
from saecircuits.features.labels import FeatureLabel, label_features
from saecircuits.features.texts import generate_text
from saecircuits.splicing import SplicedModel
from saecircuits.tasks import Task
from saecircuits.validation import ValidationReport, validate
from tests.models import Toy


@dataclass(frozen=True, eq=False)
class Found:
    """All stages before publication."""

    model: SplicedModel
    task: Task
    graph: AttributionGraph
    circuit: Circuit
    report: ValidationReport
    labels: tuple[FeatureLabel, ...]


@pytest.fixture(scope="session")
def found(toy_mixed: Toy) -> Found:
    """A small circuit of the toy model with a dictionary at every kind of site."""
    model, prompts = toy_mixed.model, toy_mixed.prompts
    task = Task("toy", "Words follow words.", prompts.subset([0, 1, 2]), prompts.subset([3, 4]))
    graph = attribute(model, task.train, estimator="gradient", max_nodes=60)
    circuit = prune(graph, nodes=40, edges=100)
    text = generate_text(model, n_tokens=400, seed=1)
    return Found(
        model=model,
        task=task,
        graph=graph,
        circuit=circuit,
        report=validate(model, circuit, task.test, n_random=3, resamples=50),
        labels=label_features(model, circuit, text, prompts=task.train),
    )
