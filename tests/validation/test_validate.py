"""What a report says of circuits whose figures are known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from saecircuits.circuits import Circuit, prune
from saecircuits.edges.attribute import attribute
from saecircuits.edges.graph import AttributionGraph
from saecircuits.errors import InputError, UnknownNameError
from saecircuits.validation import ValidationReport, validate
from saecircuits.validation.figures import (
    FRACTIONS,
    areas,
    faithfulness_interval,
    share_of_errors,
    sizes_of,
)
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


def test_a_circuit_is_judged_within_its_own_limit(toy: Toy, graph: AttributionGraph) -> None:
    circuit, prompts = prune(graph, nodes=20), toy.prompts.subset([3, 4])
    report = validate(toy.model, circuit, prompts, n_random=2)
    low = circuit.settings.model_copy(update={"memory_limit": 1000})
    tight = replace(circuit, settings=low)
    choices = dict.fromkeys(("baseline", "reference", "batch_size"))
    judges = (
        each.held_out(toy.model, prompts, function="validate", seed=0, **choices)
        for each in (circuit, tight)
    )
    assert [judge.n_batch for judge in judges] == [1, 2]
    found = validate(toy.model, tight, prompts, n_random=2)
    pd.testing.assert_frame_equal(found.curve, report.curve, rtol=1e-9, atol=1e-10)
    assert found.ablations is not None and report.ablations is not None
    pd.testing.assert_frame_equal(found.ablations, report.ablations, rtol=1e-9, atol=1e-10)


def test_error_share_is_what_goes_with_the_error_nodes(toy: Toy, graph: AttributionGraph) -> None:
    circuit = prune(graph, nodes=60)
    report = validate(toy.model, circuit, toy.prompts.subset([3, 4]))
    assert report.errors == circuit.n_errors > 0
    features = [node for node in circuit.members if ".error@" not in node]
    kept = circuit.nodes["node"].isin([*features, "metric"])
    alone = replace(circuit, nodes=circuit.nodes[kept])
    without = validate(toy.model, alone, toy.prompts.subset([3, 4]))
    np.testing.assert_allclose(without.faithfulness, report.faithfulness_without_errors)
    expected = 1 - report.faithfulness_without_errors / report.faithfulness
    assert report.faithfulness_low > 0 and report.faithfulness > 0.1
    assert report.error_share == pytest.approx(expected)


@pytest.mark.parametrize(
    ("faithful", "low", "expected"),
    [
        (0.5, 0.2, -1.5),  # the error nodes work against it
        (0.1, 0.001, -11.5),
        (0.0004, 0.0002, None),  # a ratio of thousands
        (0.9, -0.1, None),
        (0.9, 0.0, None),
        (-0.5, -0.6, None),
        (0.9, float("nan"), None),  # one prompt
    ],
)
def test_a_share_of_nearly_nothing_is_not_defined(
    faithful: float, low: float, expected: float | None
) -> None:
    found = share_of_errors(faithful, low, 1.25)
    assert found == (None if expected is None else pytest.approx(expected))


def test_a_report_on_one_prompt_or_of_nothing_has_no_share(
    toy: Toy, graph: AttributionGraph
) -> None:
    circuit = prune(graph, nodes=60)
    alone = validate(toy.model, circuit, toy.prompts.subset([3]))
    assert alone.faithfulness > 0.1 and alone.error_share is None
    few = validate(toy.model, prune(graph, nodes=1), toy.prompts.subset([3, 4]))
    assert abs(few.faithfulness) < 0.1 and few.error_share is None


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
    again = ValidationReport(**report.to_json())
    assert again.to_json() == report.to_json()


@pytest.mark.parametrize("baseline", ["corrupted", "mean", "zero", "resample"])
def test_a_circuit_of_all_edges_has_one_figure(
    toy: Toy, graph: AttributionGraph, baseline: str
) -> None:
    # Every edge is named, whatever its estimated effect: node and edge ablation are then the same.
    circuit = prune(graph, nodes=30)
    tokens = {f"token@{unit}" for unit in ("start", "subject", "rest")}
    names = [*circuit.members, "metric", *tokens]
    pairs = [(u, v) for u in names for v in names if u != "metric"]
    edges = pd.DataFrame(pairs, columns=["source", "target"]).reindex(columns=circuit.edges.columns)
    circuit = replace(circuit, edges=edges)
    report = validate(
        toy.model, circuit, toy.prompts.subset([3, 4]), baseline=[baseline], n_random=1
    )
    by_nodes, by_edges = (report.faithfulness_of(ablate) for ablate in ("nodes", "edges"))
    assert by_nodes == report.faithfulness
    assert by_edges == pytest.approx(by_nodes, abs=1e-9)
    assert report.ablations is not None
    rows = report.ablations.set_index("ablate")
    for name in ("faithfulness_low", "accuracy", "divergence"):
        assert rows.loc["nodes", name] == pytest.approx(rows.loc["edges", name], abs=1e-9)


def test_figures_by_edges(toy: Toy, graph: AttributionGraph) -> None:
    circuit, held_out = prune(graph, nodes=12), toy.prompts.subset([3, 4])
    report = validate(toy.model, circuit, held_out, ablate="edges", n_random=3, with_drops=True)
    by_nodes = validate(toy.model, circuit, held_out, n_random=0)
    assert (
        report.faithfulness == report.faithfulness_of("edges") == by_nodes.faithfulness_of("edges")
    )
    assert report.edges == len(circuit.edges)
    last = report.curve.iloc[-1]
    assert (last["edges"], last["nodes"]) == (report.edges, circuit.size)
    assert last["faithfulness"] == pytest.approx(report.faithfulness, abs=1e-12)
    assert report.random["count"] == 3
    # Without a node is without its edges.
    gone = circuit.members[0]
    ends = circuit.edges[["source", "target"]]
    less = replace(circuit, edges=circuit.edges[~(ends == gone).any(axis=1)])
    again = validate(toy.model, less, held_out, ablate="edges", n_random=0)
    assert report.minimality is not None
    (drop,) = (row["drop"] for row in report.minimality["drops"] if row["node"] == gone)
    assert drop == pytest.approx(report.faithfulness - again.faithfulness, abs=1e-9)


def test_what_each_node_adds(toy: Toy, graph: AttributionGraph) -> None:
    circuit, held_out = prune(graph, nodes=7), toy.prompts.subset([3, 4])
    report = validate(toy.model, circuit, held_out, with_drops=True)
    assert report.minimality is not None
    drops = {row["node"]: row["drop"] for row in report.minimality["drops"]}
    assert set(drops) == set(circuit.members)
    for gone in circuit.members[::3]:
        rest = circuit.nodes[circuit.nodes["node"] != gone]
        alone = validate(toy.model, replace(circuit, nodes=rest), held_out)
        assert drops[gone] == pytest.approx(report.faithfulness - alone.faithfulness, abs=1e-9)
    node = report.minimality["node"]
    assert node is not None
    assert report.minimality["least"] == min(drops.values()) == drops[node]


@pytest.mark.parametrize("ablate", ["nodes", "edges"])
def test_what_groups_add(toy: Toy, graph: AttributionGraph, ablate) -> None:
    circuit, held_out = prune(graph, nodes=9), toy.prompts.subset([3, 4])
    first, *others = circuit.members
    groups = [[first], others[:3], others[::2]]
    report = validate(
        toy.model, circuit, held_out, ablate=ablate, with_drops=True, groups=groups, n_random=0
    )
    assert report.minimality is not None and report.groups is not None
    assert report.minimality is not None
    drops = {row["node"]: row["drop"] for row in report.minimality["drops"]}
    assert report.groups[0]["drop"] == pytest.approx(drops[first], abs=1e-12)
    for group, row in zip(groups, report.groups, strict=True):
        assert row["nodes"] == group
        assert row["low"] <= row["drop"] <= row["high"]
        ends = circuit.edges[["source", "target"]].isin(group).any(axis=1)
        rest = replace(
            circuit,
            nodes=circuit.nodes[~circuit.nodes["node"].isin(group)],
            edges=circuit.edges[~ends],
        )
        without = validate(toy.model, rest, held_out, n_random=0).faithfulness_of(ablate)
        whole = report.faithfulness_of(ablate)
        assert whole is not None and without is not None
        assert row["drop"] == pytest.approx(whole - without, abs=1e-9)
    assert ValidationReport(**report.to_json()).groups == report.groups


def test_a_group_is_of_members(toy: Toy, graph: AttributionGraph) -> None:
    circuit = prune(graph, nodes=5)
    with pytest.raises(UnknownNameError, match="unknown member of the circuit 'metric'"):
        validate(toy.model, circuit, toy.prompts.subset([3, 4]), groups=[["metric"]])
    assert validate(toy.model, circuit, toy.prompts.subset([3, 4])).groups is None


def test_divergence_is_kl_of_the_next_token(toy: Toy, graph: AttributionGraph) -> None:
    held_out = toy.prompts.subset([3, 4])
    # Nothing kept is the corrupted run, on sites that hold the whole stream.
    nothing = replace(prune(graph, nodes=1), nodes=graph.nodes[:1])
    report = validate(toy.model, nothing, held_out)
    with torch.no_grad():
        clean, corrupted = (
            toy.model.bridge(tokens)[:, -1].log_softmax(-1)
            for tokens in (held_out.clean_tokens, held_out.corrupted_tokens)
        )
    expected = torch.nn.functional.kl_div(corrupted, clean, log_target=True, reduction="batchmean")
    assert report.ablations is not None
    assert report.ablations["divergence"][0] == pytest.approx(float(expected), rel=1e-9)


def test_several_baselines_side_by_side(toy: Toy, graph: AttributionGraph) -> None:
    circuit, held_out = prune(graph, nodes=20), toy.prompts.subset([3, 4])
    kinds: list[str] = ["zero", "corrupted", "mean", "resample"]
    report = validate(toy.model, circuit, held_out, baseline=kinds, reference=toy.prompts)
    assert report.baseline == "zero"
    assert report.ablations is not None
    assert report.ablations["baseline"].tolist() == [kind for kind in kinds for _ in range(2)]
    for kind in kinds:
        alone = validate(toy.model, circuit, held_out, baseline=kind, reference=toy.prompts)
        for ablate in ("nodes", "edges"):
            assert report.faithfulness_of(ablate, kind) == alone.faithfulness_of(ablate)
    found = [
        figure for kind in kinds if (figure := report.faithfulness_of("edges", kind)) is not None
    ]
    assert report.spread("edges") == (min(found), max(found))
    assert len(set(found)) == 4


def test_areas_by_hand() -> None:
    # f is 1/2 throughout: half of CPR, and everywhere 1/2 away from 1.
    half = areas([0.5] * 10, [1] * 10)
    assert (half["cpr"], half["cmd"]) == (pytest.approx(0.5), pytest.approx(0.5))
    perfect = areas([1.0] * 10, [1] * 10)
    assert (perfect["cpr"], perfect["cmd"]) == (pytest.approx(1.0), pytest.approx(0.0))
    # MIB's sum for a curve that is 1 but for -1 at 0.5: trapezoids of widths 0.3 and 0.5 lose
    # half of 2, and the range 0.999 is divided by.
    dipped = areas([*[1.0] * 8, -1.0, 1.0], [1] * 10)
    assert dipped["cpr"] == pytest.approx((0.999 - 0.3 - 0.5) / 0.999)
    assert dipped["cmd"] == pytest.approx((0.3 + 0.5) / 0.999)
    assert sizes_of(FRACTIONS, 1142) == [1, 2, 6, 11, 23, 57, 114, 228, 571, 1142]


def test_no_baseline_is_refused(toy: Toy, whole: Circuit) -> None:
    with pytest.raises(InputError, match="no baseline"):
        validate(toy.model, whole, toy.prompts.subset([3, 4]), baseline=[])
