"""Circuits known by construction: the models do what they were made for, and their edges are found.

The floor of the bar is 1.0: every true edge ranks above every other possible one.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

import saecircuits as sc
from experiments.ground_truth.known import KnownCircuit, edge_recovery, recovery
from experiments.ground_truth.run import backups_found
from saecircuits.splicing import observe
from tests.toy_models import toy_counting, toy_hard_counting, toy_induction, toy_two_hop

MAKERS = (toy_induction, toy_two_hop, toy_counting, toy_hard_counting)
Maker = Callable[[], KnownCircuit]


def _graph(known: KnownCircuit, estimator: str = "gradient") -> sc.AttributionGraph:
    return sc.attribute(known.model, known.task.train, max_nodes=None, estimator=estimator)


@pytest.mark.parametrize("make", MAKERS)
def test_the_model_does_its_task(make: Maker) -> None:
    known = make()
    for prompts in (known.task.train, known.task.test):
        logits = known.model.forward(prompts.clean_tokens, lengths=prompts.clean_lengths)[:, 0]
        words = [word for word in known.model.tokenizer.get_vocab() if word in _answers(known)]
        ids = known.model.tokenizer.convert_tokens_to_ids(words)
        best = torch.tensor(ids)[logits[:, ids].argmax(-1)]
        assert torch.equal(best, prompts.answer_tokens[:, 0])


def _answers(known: KnownCircuit) -> set[str]:
    halves = (known.task.train, known.task.test)
    ids = {int(x) for half in halves for x in (*half.answer_tokens[:, 0], *half.wrong_tokens[:, 0])}
    return set(known.model.tokenizer.convert_ids_to_tokens(sorted(ids)))


@pytest.mark.parametrize("make", MAKERS)
def test_directions_explain_the_stream(make: Maker) -> None:
    known = make()
    run = observe(known.model, known.task.train.clean_tokens)
    for site in run.sites:
        assert site.error.abs().max() < 1e-9
        assert site.activations.dense().max() > 0.1


@pytest.mark.parametrize("estimator", ["gradient", "integrated_gradients"])
@pytest.mark.parametrize("make", [toy_induction, toy_two_hop, toy_counting])
def test_every_true_edge_ranks_above_every_other(make: Maker, estimator: str) -> None:
    known = make()
    found = edge_recovery(_graph(known, estimator), known.edges)
    assert found.auroc == 1.0
    assert found.exact == 1.0
    assert found.missed == 0
    assert found.possible > 50 * found.true


def test_an_edge_that_is_not_there_costs() -> None:
    known = toy_induction()
    graph = _graph(known)
    wrong = ("token@t3", "blocks.1.hook_resid_post.f0@t5")
    assert edge_recovery(graph, {*known.edges, wrong}).auroc < 1.0
    assert edge_recovery(graph, {*known.edges, wrong}).missed == 1
    weaker = graph.edges.assign(effect=graph.edges["effect"].where(graph.edges.index > 0, 0.0))
    assert edge_recovery(replace(graph, edges=weaker), known.edges).exact < 1.0


def test_flat_thresholds_need_integrated_gradients() -> None:
    known = toy_hard_counting()
    clean = edge_recovery(_graph(known), known.edges)
    along = edge_recovery(_graph(known, "integrated_gradients"), known.edges)
    assert clean.missed == clean.true - 5  # those from a threshold to the metric are left
    assert along.auroc == along.exact == 1.0


@pytest.mark.parametrize("make", MAKERS)
def test_true_nodes_are_a_faithful_circuit(make: Maker) -> None:
    known = make()
    members = {node for node in known.nodes if not node.startswith("token@")}
    found = sc.prune(_graph(known, "integrated_gradients"), nodes=len(members))
    assert set(found.members) == members
    # Not the digest of the training prompts, but no node that they do not have.
    prompts = known.task.train.subset(range(len(known.task.train) - 1))
    report = sc.validate(known.model, found, prompts, n_random=0)
    assert report.faithfulness == pytest.approx(1.0, abs=1e-4)
    # Nothing is left without it: a backup shares the circuit's first and last node.
    assert report.completeness == pytest.approx(0.0, abs=1e-4)


def test_first_order_scores_miss_the_backup() -> None:
    known = toy_two_hop()
    for estimator in ("gradient", "integrated_gradients", "intervention"):
        found = edge_recovery(_graph(known, estimator), known.backup_edges)
        assert found.missed >= len(known.backups)  # the edge into each NOT gate, at the least


def test_redundancy_finds_the_backup() -> None:
    known = toy_two_hop()
    table = backups_found(known)
    pairs = len(known.backups)
    assert table["is backup"].head(pairs).all()
    assert (table["high"].head(pairs) < 0).all()
    # Either alone is worth nothing, both together the whole answer of a quarter of the prompts.
    np.testing.assert_allclose(table["redundancy"].head(pairs), -10 / 4, rtol=1e-5)
    np.testing.assert_allclose(table["redundancy"].iloc[pairs:], 0.0, atol=1e-4)


def test_recovery_by_hand() -> None:
    # True scores 3 and 1 against false 2 and 0: three of four comparisons are won.
    found = recovery(np.array([3.0, 2.0, 1.0, 0.0]), np.array([True, False, True, False]))
    assert found.auroc == 0.75
    assert found.exact == 0.5
    ties = recovery(np.array([1.0, 1.0]), np.array([True, False]))
    assert (ties.auroc, ties.exact) == (0.5, 0.0)
