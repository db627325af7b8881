"""The circuit of some paths is their nodes and steps, and nothing else."""

from dataclasses import replace
from itertools import pairwise

import pytest

from saecircuits.circuits import paths, prune
from saecircuits.circuits.path_circuits import path_circuit
from saecircuits.edges.ablation import ablate_edges, wire
from saecircuits.edges.attribute import attribute
from saecircuits.edges.graph import AttributionGraph
from saecircuits.errors import InputError
from saecircuits.nodes.ablation import faithfulness
from saecircuits.nodes.experiment import Experiment
from saecircuits.nodes.names import METRIC
from saecircuits.validation import validate
from tests.models import Toy

TRAIN, TEST = (0, 1, 2), (3, 4)


@pytest.fixture(scope="module")
def graph(toy: Toy) -> AttributionGraph:
    return attribute(toy.model, toy.prompts.subset(TRAIN), max_nodes=40)


def _steps(graph: AttributionGraph, k: int) -> set[tuple[str, str]]:
    return {step for nodes in paths(graph, k=k).table["nodes"] for step in pairwise(nodes)}


def test_it_has_the_steps_of_the_paths_and_no_others(graph: AttributionGraph) -> None:
    circuit = prune(graph, paths=9)
    steps = _steps(graph, 9)
    assert set(zip(circuit.edges["source"], circuit.edges["target"], strict=True)) == steps
    inner = {node for step in steps for node in step if not node.startswith("token@")} - {METRIC}
    assert set(circuit.members) == inner
    ends = graph.edges[["source", "target"]]
    between = ends.isin({*inner, METRIC}).all(axis=1).sum()
    assert len(steps - {s for s in steps if s[0].startswith("token@")}) < between
    assert circuit.selection == {"by": "paths", "paths": 9}
    assert prune(graph, paths=9, method="paths").members == circuit.members


def test_path_faithfulness_is_of_the_union_of_the_steps(toy: Toy, graph: AttributionGraph) -> None:
    test = toy.prompts.subset(TEST)
    experiment = Experiment(toy.model, test)
    wiring = wire(experiment.edge(*step) for step in _steps(graph, 9))
    (alone,) = experiment.measured(lambda batch: ablate_edges(batch, [wiring]))
    expected = faithfulness(alone, *experiment.ends)
    report = validate(toy.model, prune(graph, paths=9), test, n_random=0)
    assert report.faithfulness_of("edges") == pytest.approx(expected, rel=1e-9)
    # Between the same nodes there are more edges, and those do something.
    assert report.faithfulness_of("nodes") != pytest.approx(expected, rel=1e-3)


def test_what_is_refused(graph: AttributionGraph) -> None:
    feature = paths(graph, k=1).table["nodes"][0][1]
    with pytest.raises(InputError, match="a circuit is of paths to the metric"):
        path_circuit(graph, paths(graph, k=2, target=feature))
    with pytest.raises(InputError, match=r"are no edges of the graph.*larger max_edges"):
        path_circuit(replace(graph, edges=graph.edges.head(1)), paths(graph, k=2))
    with pytest.raises(InputError, match="asked for 0 paths"):
        prune(graph, paths=0)
    with pytest.raises(InputError, match="given nodes and paths; give exactly one"):
        prune(graph, nodes=3, paths=2)
    with pytest.raises(InputError, match="paths choose both"):
        prune(graph, paths=2, edges=4)
