"""What a report says of circuits whose figures are known."""

from dataclasses import replace

import numpy as np
import pytest

from saecircuits.circuits import Circuit, prune
from saecircuits.edges.attribute import attribute
from saecircuits.edges.graph import AttributionGraph
from saecircuits.errors import InputError
from saecircuits.validation import ValidationReport, validate
from saecircuits.validation.figures import faithfulness_interval
from saecircuits.validation.random_circuits import random_circuits
from tests.models import Toy


@pytest.fixture(scope="module")
def graph(toy: Toy) -> AttributionGraph:
    return attribute(toy.model, toy.prompts.subset([0, 1, 2]), max_nodes=40)


@pytest.fixture(scope="module")
def whole(graph: AttributionGraph) -> Circuit:
    return prune(graph, nodes=10**6)


def test_all_nodes_of_the_same_prompts_give_one(toy: Toy, whole: Circuit) -> None:
    # The graph's candidates are all nodes that differ on its prompts. Judged on these very prompts
    # (their digest hidden), the circuit of all candidates is the whole model.
    circuit = replace(whole, provenance={})
    report = validate(toy.model, circuit, toy.prompts.subset([0, 1, 2]))
    np.testing.assert_allclose(report.faithfulness, 1.0, atol=1e-10)
    np.testing.assert_allclose(report.completeness, 0.0, atol=1e-10)
    last = report.curve.iloc[-1]
    assert last["nodes"] == circuit.size
    np.testing.assert_allclose(last["faithfulness"], 1.0, atol=1e-10)
    # With as many nodes as there are candidates, every random circuit is the circuit itself.
    np.testing.assert_allclose(report.random["values"], 1.0, atol=1e-10)


def test_error_share_is_what_goes_with_the_error_nodes(toy: Toy, graph: AttributionGraph) -> None:
    circuit = prune(graph, nodes=60)
    report = validate(toy.model, circuit, toy.prompts.subset([3, 4]))
    assert report.errors == circuit.n_errors > 0
    features = [node for node in circuit.members if ".error@" not in node]
    kept = circuit.nodes["node"].isin([*features, "metric"])
    alone = replace(circuit, nodes=circuit.nodes[kept])
    without = validate(toy.model, alone, toy.prompts.subset([3, 4]))
    np.testing.assert_allclose(without.faithfulness, report.faithfulness_without_errors)
    if report.faithfulness > 0:
        expected = 1 - report.faithfulness_without_errors / report.faithfulness
        np.testing.assert_allclose(report.error_share, expected)


@pytest.mark.parametrize("baseline", ["corrupted", "mean", "zero", "resample"])
def test_curve_starts_at_the_strongest_node(
    toy: Toy, graph: AttributionGraph, baseline: str
) -> None:
    held_out = toy.prompts.subset([3, 4])
    report = validate(
        toy.model, prune(graph, nodes=5), held_out, baseline=baseline, reference=toy.prompts
    )
    five = report.curve.set_index("nodes").loc[5]
    np.testing.assert_allclose(five["faithfulness"], report.faithfulness)
    np.testing.assert_allclose(five["faithfulness_low"], report.faithfulness_low)


def test_prompts_that_chose_the_circuit_are_refused(toy: Toy, whole: Circuit) -> None:
    with pytest.raises(InputError, match="held-out"):
        validate(toy.model, whole, toy.prompts.subset([0, 1, 2]))


def test_nothing_to_explain_is_refused(toy: Toy, whole: Circuit) -> None:
    pairs = toy.prompts.subset([3, 4])
    same = replace(
        pairs,
        corrupted_tokens=pairs.clean_tokens,
        texts=tuple((clean, clean) for clean, _ in pairs.texts),
    )
    with pytest.raises(InputError, match="nothing to explain"):
        validate(toy.model, whole, same)


def test_random_circuits_have_the_layer_profile(graph: AttributionGraph) -> None:
    circuit = prune(graph, nodes=25)

    def profile(nodes: tuple[str, ...]) -> dict[str, int]:
        sites = [node.partition("@")[0].rpartition(".")[0] for node in nodes]
        return {site: sites.count(site) for site in sites}

    drawn = random_circuits(circuit, count=7, seed=1)
    assert len(set(drawn)) == 7
    for nodes in drawn:
        assert len(set(nodes)) == circuit.size
        assert set(nodes) <= set(circuit.candidates)
        assert profile(nodes) == profile(circuit.members)
    assert drawn == random_circuits(circuit, count=7, seed=1)
    assert drawn != random_circuits(circuit, count=7, seed=2)


def test_interval_of_a_constant_ratio_is_a_point() -> None:
    empty = np.array([0.0, 1.0, -2.0, 0.5])
    whole = empty + np.array([1.0, 2.0, 3.0, 4.0])
    half = empty + 0.5 * (whole - empty)
    assert faithfulness_interval(half, whole, empty) == pytest.approx((0.5, 0.5))


def test_interval_covers_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    covered = []
    for trial in range(200):
        share = 0.6 + 0.2 * generator.standard_normal(40)
        low, high = faithfulness_interval(
            share, np.ones(40), np.zeros(40), resamples=400, seed=trial
        )
        covered.append(low <= 0.6 <= high)
    # 200 trials of a 95% interval: 3 standard deviations are 0.046.
    assert np.mean(covered) == pytest.approx(0.945, abs=0.05)


def test_one_prompt_has_no_interval() -> None:
    one = np.array([1.0])
    assert np.isnan(faithfulness_interval(one, one + 1, one - 1)).all()


def test_report_round_trip(toy: Toy, graph: AttributionGraph) -> None:
    report = validate(toy.model, prune(graph, nodes=5), toy.prompts.subset([3, 4]))
    again = ValidationReport.from_json(report.to_json())
    assert again.to_json() == report.to_json()
