"""Tests of circuits: what they say of a real one, and that they find none where there is none."""

import json
from dataclasses import replace
from functools import cache
from itertools import product
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

import saecircuits as sc
from experiments.ground_truth.known import KnownCircuit
from saecircuits.nodes.baselines import BASELINES
from saecircuits.nodes.experiment import Experiment
from saecircuits.splicing import SplicedModel
from saecircuits.tasks import PromptPair, Prompts, logit_difference, tokenize
from saecircuits.tasks.nulls import shuffled_labels, unchanged
from saecircuits.validation.hypotheses import DECIDING, metrics_of_sets
from saecircuits.validation.validate import Ablate
from saecircuits.validation.verdicts import Changes, changes, verdicts
from tests.models import WORDS, Toy
from tests.toy_models import toy_induction

N_PAIR = 24


@pytest.fixture(scope="module")
def halves(toy: Toy) -> tuple[Prompts, Prompts]:
    """Pairs on which the random model prefers the answer: a behaviour, if a meaningless one."""
    generator = torch.Generator().manual_seed(8)

    def pair(number: int) -> PromptPair:
        drawn = 1 + torch.randperm(WORDS - 1, generator=generator)
        words = [f"w{int(word)}" for word in drawn]
        return PromptPair(
            clean=" ".join(words[:4]),
            corrupted=" ".join([words[0], words[4], *words[2:4]]),
            answer=(words[5],),
            wrong=(words[6],),
            id=str(number),
        )

    drawn = tokenize([pair(n) for n in range(2 * N_PAIR)], toy.model.tokenizer, n_ctx=19)
    change = _metric(toy.model, drawn, drawn.clean_tokens) - _metric(
        toy.model, drawn, drawn.corrupted_tokens
    )
    is_turned = (change < 0)[:, None]
    right, wrong = drawn.answer_tokens, drawn.wrong_tokens
    drawn = replace(
        drawn,
        answer_tokens=torch.where(is_turned, wrong, right),
        wrong_tokens=torch.where(is_turned, right, wrong),
    )
    return drawn.subset(range(N_PAIR)), drawn.subset(range(N_PAIR, 2 * N_PAIR))


def _metric(model: SplicedModel, prompts: Prompts, tokens: torch.Tensor) -> torch.Tensor:
    return logit_difference(model.forward(tokens)[:, -1], prompts)


def _circuit(model: SplicedModel, prompts: Prompts, nodes: int = 12) -> sc.Circuit:
    return sc.prune(sc.attribute(model, prompts, max_nodes=40, parts=False), nodes=nodes)


@pytest.mark.parametrize(
    ("ablate", "baseline"),
    [*product(("nodes",), BASELINES), ("edges", "corrupted"), ("edges", "mean")],
)
def test_figures_are_those_of_validation(
    toy: Toy, halves: tuple[Prompts, Prompts], ablate: Ablate, baseline: str
) -> None:
    train, test = halves
    circuit = _circuit(toy.model, train)
    choices = {"ablate": ablate, "baseline": baseline, "reference": train, "n_random": 19}
    found = sc.hypotheses(toy.model, circuit, test, edges=6, **choices)
    report = sc.validate(toy.model, circuit, test, **choices)
    assert (found.ablate, found.baseline) == (ablate, baseline)
    value = found.tests.set_index("test")["value"]
    assert value["sufficiency"] == pytest.approx(report.faithfulness, rel=1e-9)
    assert value["necessity"] == pytest.approx(1 - report.completeness, rel=1e-9)
    assert value["completeness"] == pytest.approx(report.completeness, rel=1e-9)
    assert value["effect"] == pytest.approx(report.metric_clean - report.metric_baseline)
    draws = sorted(report.random["values"])
    p_value = (1 + sum(drawn >= report.faithfulness for drawn in draws)) / 20
    assert found.tests.set_index("test").loc["sufficiency", "p"] == pytest.approx(p_value)
    # Of 19 draws the 95% quantile is between the largest two.
    against = found.tests.set_index("test").loc["sufficiency", "against"]
    assert draws[-2] - 1e-9 <= against <= draws[-1] + 1e-9


def test_drops_by_edges_are_those_of_validation(toy: Toy, halves: tuple[Prompts, Prompts]) -> None:
    train, test = halves
    circuit = _circuit(toy.model, train)
    found = sc.hypotheses(toy.model, circuit, test, ablate="edges", n_random=1, edges=0)
    report = sc.validate(toy.model, circuit, test, ablate="edges", n_random=0, with_drops=True)
    assert report.minimality is not None
    total = report.metric_clean - report.metric_baseline
    drops = found.members.set_index("node")["drop"] / total
    expected = pd.DataFrame(report.minimality["drops"]).set_index("node")["drop"]
    np.testing.assert_allclose(drops, expected.loc[drops.index], rtol=1e-9, atol=1e-12)


def test_the_drop_of_the_weakest_member(toy: Toy, halves: tuple[Prompts, Prompts]) -> None:
    train, test = halves
    circuit, less = _circuit(toy.model, train), _circuit(toy.model, train, nodes=11)
    (gone,) = set(circuit.members) - set(less.members)
    found = sc.hypotheses(toy.model, circuit, test, n_random=3, edges=0)
    with_it, without = (sc.validate(toy.model, c, test, n_random=0) for c in (circuit, less))
    total = with_it.metric_clean - with_it.metric_baseline
    row = found.members.set_index("node").loc[gone]
    expected = (with_it.faithfulness - without.faithfulness) * total
    assert row["drop"] == pytest.approx(expected, rel=1e-9)
    assert row["low"] <= row["drop"] <= row["high"]
    assert len(found.members) == circuit.size and len(found.edges) == 0


def test_a_circuit_made_by_hand_passes_every_test() -> None:
    known, circuit, prompts = _by_hand()
    found = sc.hypotheses(known.model, circuit, prompts, n_random=99, edges=9)
    tests = found.tests.set_index("test")
    assert found.is_circuit
    assert tests.loc["sufficiency", "p"] == tests.loc["necessity", "p"] == found.smallest["p"]
    assert tests["rejected"].all()
    graph = sc.attribute(known.model, prompts, estimator="intervention", max_nodes=50)
    measured = graph.edges.set_index(["source", "target"])["effect"]
    for row in found.edges.itertuples():
        assert row.effect == pytest.approx(measured[row.source, row.target], rel=1e-5)
    assert found.edges["p_holm"].ge(found.edges["p"]).all()
    assert found.edges["sign_stability"].between(0.5, 1).all()
    assert found.edges["sign_resampled"].between(0.5, 1).all()
    json.dumps(found.to_json())


def _by_hand() -> tuple[KnownCircuit, sc.Circuit, Prompts]:
    """A true circuit, and prompts with no letter where the circuit does not know it."""
    known = toy_induction()
    graph = sc.attribute(known.model, known.task.train, max_nodes=None)
    prompts = known.task.train.subset(range(len(known.task.train) - 1))
    return known, sc.prune(graph, node_threshold=1e-3, edges=9), prompts


def test_no_circuit_where_nothing_changes(toy: Toy, halves: tuple[Prompts, Prompts]) -> None:
    train, test = halves
    circuit = _circuit(toy.model, train)
    found = sc.hypotheses(toy.model, circuit, unchanged(test), n_random=19, edges=4)
    assert not found.is_circuit
    assert (found.tests.set_index("test")["p"][["effect", "sufficiency", "necessity"]] == 1).all()
    assert found.needed == 0
    assert (found.members["drop"] == 0).all() and (found.edges["effect"] == 0).all()


def test_no_circuit_is_chosen_where_nothing_changes(
    toy: Toy, halves: tuple[Prompts, Prompts]
) -> None:
    train, test = (unchanged(half) for half in halves)
    circuit = _circuit(toy.model, train)
    assert circuit.size == 0
    assert not sc.hypotheses(toy.model, circuit, test, n_random=5, edges=0).is_circuit


def _measured(
    known: KnownCircuit,
    circuit: sc.Circuit,
    prompts: Prompts,
    ablate: Ablate,
    baseline: str,
) -> Changes:
    """What the tests of a circuit start from, with thirty random circuits."""
    experiment = Experiment(known.model, prompts, baseline=baseline, reference=known.task.test)
    metrics = metrics_of_sets(circuit, experiment, ablate=ablate, n_random=30, seed=0)
    return changes(metrics, members=circuit.size)


@cache
def _measured_by_hand(ablate: Ablate, baseline: str) -> Changes:
    return _measured(*_by_hand(), ablate, baseline)


def _turned(found: Changes, is_turned: np.ndarray) -> Changes:
    signs = np.where(is_turned, -1.0, 1.0)
    return Changes(**{name: values * signs for name, values in vars(found).items()})


@pytest.mark.parametrize(
    ("ablate", "baseline"), [*product(["nodes"], BASELINES), ("edges", "resample")]
)
def test_shuffled_labels_turn_the_signs_of_prompts(ablate: Ablate, baseline: str) -> None:
    known, circuit, prompts = _by_hand()
    null = shuffled_labels(prompts, seed=1)
    is_turned = (null.answer_tokens != prompts.answer_tokens)[:, 0].numpy()
    expected = _turned(_measured_by_hand(ablate, baseline), is_turned)
    found = _measured(known, circuit, null, ablate, baseline)
    for name, values in vars(expected).items():
        np.testing.assert_allclose(getattr(found, name), values, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("ablate", "baseline"), list(product(get_args(Ablate), BASELINES)))
def test_shuffled_labels_give_a_circuit_no_more_often_than_stated(
    ablate: Ablate, baseline: str
) -> None:
    found = _measured_by_hand(ablate, baseline)
    n_prompt, repeats, level = len(found.total), 200, 0.1
    draw = np.random.default_rng(9)

    def is_called(is_turned: np.ndarray) -> bool:
        table = verdicts(_turned(found, is_turned), bar=0.8, level=level)
        return bool(table.set_index("test").loc[list(DECIDING), "rejected"].all())

    called = sum(is_called(draw.random(n_prompt) < 0.5) for _ in range(repeats))
    assert called <= stats.binom.ppf(0.99, repeats, level)
    if (ablate, baseline) == ("nodes", "corrupted") or ablate == "edges":
        assert called > 0
        # The behaviour that is there is found.
        assert is_called(np.zeros(n_prompt, dtype=bool))


def test_circuits_chosen_on_shuffled_labels() -> None:
    known, repeats = toy_induction(), 6
    called = [
        sc.hypotheses(
            known.model,
            _circuit(known.model, shuffled_labels(known.task.train, seed=2 * seed)),
            shuffled_labels(known.task.test, seed=2 * seed + 1),
            n_random=19,
            edges=0,
        ).is_circuit
        for seed in range(repeats)
    ]
    assert sum(called) <= stats.binom.ppf(0.999, repeats, 0.05)


def test_the_same_seed_gives_the_same_figures(toy: Toy, halves: tuple[Prompts, Prompts]) -> None:
    train, test = halves
    circuit = _circuit(toy.model, train, nodes=3)
    first, second = (
        sc.hypotheses(toy.model, circuit, test, n_random=7, edges=2, seed=4) for _ in range(2)
    )
    for name in ("tests", "members", "edges"):
        assert getattr(first, name).equals(getattr(second, name))
    assert np.isfinite(list(first.smallest.values())).all()


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"level": 0.0}, "level is 0.0; it must lie between 0 and 1"),
        ({"bar": 1.0}, "bar is 1.0"),
        ({"power": 2.0}, "power is 2.0"),
        ({"n_random": 0}, "ask for at least 1 random circuit"),
        ({"edges": -1}, "edges is -1"),
        ({"baseline": "mean"}, "the baseline 'mean' and no reference"),
    ],
)
def test_bad_choices_are_refused(
    toy: Toy, halves: tuple[Prompts, Prompts], choices: dict, message: str
) -> None:
    circuit = _circuit(toy.model, halves[0], nodes=1)
    with pytest.raises(sc.InputError, match=message):
        sc.hypotheses(toy.model, circuit, halves[1], **choices)


def test_the_tested_prompts_are_no_reference(toy: Toy, halves: tuple[Prompts, Prompts]) -> None:
    circuit = _circuit(toy.model, halves[0], nodes=1)
    with pytest.raises(sc.InputError, match="the tested prompts as their own reference"):
        sc.hypotheses(
            toy.model, circuit, halves[1], baseline="resample", reference=halves[1], n_random=1
        )


def test_the_prompts_that_chose_the_circuit_are_refused(
    toy: Toy, halves: tuple[Prompts, Prompts]
) -> None:
    circuit = _circuit(toy.model, halves[0], nodes=1)
    with pytest.raises(sc.InputError, match="held-out prompts"):
        sc.hypotheses(toy.model, circuit, halves[0])
