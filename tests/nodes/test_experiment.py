"""An experiment gives what its parts give by hand, and refuses what contradicts it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

import saecircuits as sc
from saecircuits.edges.ablation import ablate_edges, wire
from saecircuits.errors import UnknownNameError
from saecircuits.nodes.ablation import ablate_nodes, keep_all, keep_none, keep_spots
from saecircuits.nodes.experiment import Experiment, experiment_of
from saecircuits.nodes.names import METRIC
from saecircuits.runs.stored import read_graph
from saecircuits.runs.writing import write_graph
from saecircuits.splicing import SplicedModel
from tests.models import D_SAE, Toy, contrasts_of, make_contrast


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens went through the model in each of its passes."""
    found: list[int] = []
    forward = SplicedModel.forward

    def counted(self: SplicedModel, tokens: Tensor, **choices: Any) -> Tensor:
        found.append(tokens.numel())
        return forward(self, tokens, **choices)

    monkeypatch.setattr(SplicedModel, "forward", counted)
    return found


NODES = ["blocks.0.hook_resid_post.f3@subject", "blocks.2.hook_resid_post.error@rest"]


def test_ends_and_faithfulness_are_those_of_ablations(toy_uneven: Toy) -> None:
    model, prompts = toy_uneven.model, toy_uneven.prompts
    experiment = Experiment(model, prompts, batch_size=2)
    contrast = make_contrast(model, prompts, positions="span")
    spots = [experiment.spot(node) for node in NODES]
    kept = [keep_all(model, 3), keep_none(model, 3), keep_spots(model, 3, spots)]
    whole, empty, some = ablate_nodes(contrast, kept).double().numpy()
    np.testing.assert_allclose(experiment.ends, [whole, empty], rtol=1e-9, atol=1e-11)
    expected = (some.mean() - empty.mean()) / (whole.mean() - empty.mean())
    assert experiment.faithfulness(NODES) == pytest.approx(expected, rel=1e-9)
    assert experiment.faithfulness_of([NODES, []]) == pytest.approx([expected, 0], abs=1e-9)


def test_edges_by_name(toy: Toy) -> None:
    experiment = Experiment(toy.model, toy.prompts)
    assert experiment.edge(*NODES) == tuple(map(experiment.spot, NODES))
    assert experiment.edge(NODES[0], METRIC) == (experiment.spot(NODES[0]), None)


def test_batches_are_all_prompts_in_order_and_are_kept_where_that_is_asked(toy: Toy) -> None:
    for keeps in (False, True):
        experiment = Experiment(toy.model, toy.prompts, batch_size=2, keeps_runs=keeps)
        batches = contrasts_of(experiment)
        assert [batch.number for batch in batches] == list(range(experiment.n_batch)) == [0, 1, 2]
        assert sum(len(batch.prompts) for batch in batches) == len(toy.prompts)
        again = contrasts_of(experiment)
        assert [one is two for one, two in zip(batches, again, strict=True)] == [keeps] * 3


def test_passes_keep_to_the_limit_and_change_nothing(toy: Toy, passes: list[int]) -> None:
    model, prompts = toy.model, toy.prompts
    wide = Experiment(model, prompts)
    sets = [wide.keep(NODES[:count]) for count in (0, 1, 2)]
    expected, edges = wide.ablated(sets), [wide.edge(*NODES), wide.edge(NODES[0], METRIC)]
    wired = wide.measured(lambda batch: ablate_edges(batch, [wire(edges)]))
    n_pos = prompts.clean_tokens.shape[1]
    # Half of the limit is for a pass: so that two prompts fit, and at once nothing more.
    of_token = 24 * 14 + 6 * 29 + 4 * 2 * n_pos + 6 * D_SAE
    limit = 2 * model.working_dtype.itemsize * of_token * 2 * n_pos
    narrow = Experiment(model, prompts, memory_limit=limit)
    assert (wide.n_batch, narrow.n_batch) == (1, 3)
    assert max(passes) > 2 * n_pos
    passes.clear()
    found = narrow.ablated(sets)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)
    by_edges = narrow.measured(lambda batch: ablate_edges(batch, [wire(edges)]))
    np.testing.assert_allclose(by_edges, wired, rtol=1e-9, atol=1e-11)
    assert max(passes) == 2 * n_pos


def test_a_limit_that_is_none_is_refused(toy: Toy) -> None:
    with pytest.raises(sc.InputError, match="memory_limit is 'much'; give bytes"):
        Experiment(toy.model, toy.prompts, memory_limit="much")


def test_what_is_measured_is_measured_in_the_model_as_it_is(toy: Toy) -> None:
    full = Experiment(toy.model, toy.prompts)
    held = full.changed(linearization="frozen")
    assert {batch.operator.kind for batch in contrasts_of(held)} == {"frozen"}
    np.testing.assert_array_equal(held.ends, full.ends)
    assert full.changed(linearization="full") is full


def test_public_functions_take_an_experiment_or_build_one(toy: Toy) -> None:
    train, test = toy.prompts.subset([0, 1, 2]), toy.prompts.subset([3, 4])
    choices: dict[str, Any] = {"baseline": "mean", "error_policy": "hold"}
    built = sc.attribute(toy.model, train, max_nodes=20, **choices)
    graph = sc.attribute(Experiment(toy.model, train, **choices), max_nodes=20)
    assert graph.nodes.equals(built.nodes) and graph.edges.equals(built.edges)
    assert graph.settings == built.settings
    circuit = sc.prune(graph, nodes=8)
    given = Experiment(toy.model, test, reference=train, **choices)
    reports = [
        sc.validate(given, circuit, n_random=2),
        sc.validate(toy.model, circuit, test, baseline="mean", reference=train, n_random=2),
    ]
    assert reports[0].to_json() == reports[1].to_json()
    measured = sc.calibrate(graph.on(toy.model, train), graph, n_nodes=5, n_edges=5)
    assert measured == sc.calibrate(toy.model, graph, train, n_nodes=5, n_edges=5)
    members = list(circuit.members[:3])
    pair = (
        sc.interactions(given, members=members),
        sc.interactions(toy.model, test, members, reference=train, **choices),
    )
    assert pair[0].to_json() == pair[1].to_json()


def test_a_graph_read_from_disk_does_what_it_could_before(toy: Toy, tmp_path: Path) -> None:
    train, test = toy.prompts.subset([0, 1, 2]), toy.prompts.subset([3, 4])
    graph = sc.attribute(toy.model, train, max_nodes=20)
    (tmp_path / "run").mkdir()
    write_graph(tmp_path / "run", graph)
    stored = read_graph(tmp_path / "run")
    with pytest.raises(sc.InputError, match=r"read from disk.*graph\.on\(model, task\.train\)"):
        sc.prune(stored, faithfulness=0.5)
    experiment = stored.on(toy.model, train)
    circuit = sc.prune(stored, experiment, faithfulness=0.5)
    assert circuit.members == sc.prune(graph, faithfulness=0.5).members
    size: dict[str, Any] = {"n_nodes": 4, "n_edges": 4}
    assert sc.calibrate(experiment, stored, **size) == sc.calibrate(toy.model, graph, train, **size)
    assert sc.paths(stored, experiment, k=3).to_json() == sc.paths(graph, k=3).to_json()
    report = sc.validate(Experiment(toy.model, test), circuit, n_random=1)
    assert report.prompts == 2


def test_what_contradicts_an_experiment_is_refused(toy: Toy) -> None:
    train, test = toy.prompts.subset([0, 1, 2]), toy.prompts.subset([3, 4])
    experiment = Experiment(toy.model, train)
    graph = sc.attribute(experiment, max_nodes=10)
    circuit = sc.prune(graph, nodes=3)
    other = Experiment(toy.model, test, positions="sum")
    with pytest.raises(sc.InputError, match="was given an experiment, which has its prompts"):
        sc.attribute(experiment, train)
    with pytest.raises(sc.InputError, match="given baseline='zero' and an experiment with 'corr"):
        experiment_of(experiment, None, function="f", baseline="zero")
    with pytest.raises(UnknownNameError, match="unknown choice of interactions 'basline'"):
        sc.interactions(toy.model, test, ["token@rest"], basline="zero")
    with pytest.raises(sc.InputError, match="found with positions='span' and the experiment has"):
        sc.validate(other, circuit)
    with pytest.raises(sc.InputError, match="prompts that chose the circuit"):
        sc.validate(experiment, circuit)
    with pytest.raises(sc.InputError, match=r"computed with baseline='corrupted'.*has 'zero'"):
        sc.calibrate(experiment.changed(baseline="zero"), graph)
    with pytest.raises(sc.InputError, match="from other prompts than those given"):
        sc.prune(graph, replace(experiment, prompts=test), faithfulness=0.5)
    with pytest.raises(sc.InputError, match="from other reference than those given"):
        sc.prune(graph, replace(experiment, reference=test), faithfulness=0.5)
    with pytest.raises(sc.InputError, match="batch_size is 0"):
        Experiment(toy.model, train, batch_size=0)
