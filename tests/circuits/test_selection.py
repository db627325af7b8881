"""Ways to choose nodes, on a small random model and on measures whose best answer is known."""

from itertools import combinations

import numpy as np
import pytest
import torch

from saecircuits.circuits import prune, selection
from saecircuits.circuits.masks import MaskSettings, rank_by_masks
from saecircuits.circuits.prune import check_method
from saecircuits.circuits.selection import Method, by_paths, refined, smallest_prefix, thinned
from saecircuits.circuits.soft_ablation import Marginals, SoftAblation, soft_ablations
from saecircuits.edges.attribute import attribute
from saecircuits.edges.graph import AttributionGraph
from saecircuits.errors import InputError, UnknownNameError
from saecircuits.nodes.ablation import ablate_nodes, faithfulness, keep_spots
from saecircuits.nodes.names import parse_node_id
from tests.measures import Measure
from tests.models import Toy, make_contrast

WANTED = 0.6


@pytest.fixture(scope="module")
def graph(toy: Toy) -> AttributionGraph:
    return attribute(toy.model, toy.prompts, max_nodes=60)


def members_of(graph: AttributionGraph) -> list[str]:
    """Features and error nodes by |effect|."""
    return graph.nodes[graph.nodes["kind"].isin(["feature", "error"])]["node"].tolist()


@pytest.mark.parametrize("policy", ["recompute", "hold"])
@pytest.mark.parametrize("baseline", ["corrupted", "mean"])
def test_masks_of_0_and_1_are_node_ablation(each_toy: Toy, policy: str, baseline: str) -> None:
    contrast = make_contrast(
        each_toy.model, each_toy.prompts, positions="span", error_policy=policy, baseline=baseline
    )
    graph = attribute(each_toy.model, each_toy.prompts, max_nodes=1)
    members = members_of(graph)
    spots = [parse_node_id(each_toy.model, contrast.units.names, node) for node in members]
    soft, generator = SoftAblation(contrast, spots), torch.Generator().manual_seed(1)
    for share in (0.2, 0.8):
        is_kept = torch.rand(len(spots), generator=generator) < share
        kept = [spot for spot, keep in zip(spots, is_kept.tolist(), strict=True) if keep]
        expected = ablate_nodes(contrast, [keep_spots(contrast.model, len(contrast.units), kept)])
        found = soft.metric(is_kept.double())
        torch.testing.assert_close(found, expected[0], rtol=1e-9, atol=1e-11)


def test_gradients_of_masks_are_differences(toy: Toy, graph: AttributionGraph) -> None:
    measured = graph.checked(None)
    members = [n for n in graph.nodes["node"] if "@" in n and not n.startswith("token")]
    (soft,) = soft_ablations(measured, members)
    masks = torch.full((len(members),), 0.5, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(soft.faithfulness(masks), masks)
    step = 1e-6 * torch.eye(len(members), dtype=torch.float64)
    for number in gradient.abs().topk(5).indices.tolist():
        with torch.no_grad():
            above, below = (soft.faithfulness(masks + sign * step[number]) for sign in (1, -1))
        assert float((above - below) / 2e-6) == pytest.approx(float(gradient[number]), rel=1e-4)


@pytest.mark.parametrize("method", ["effect", "signed", "paths", "greedy", "masks"])
@pytest.mark.parametrize("with_errors", [True, False])
def test_every_method_reaches_what_is_wanted(
    graph: AttributionGraph, method: Method, with_errors: bool
) -> None:
    try:
        circuit = prune(graph, faithfulness=WANTED, method=method, with_errors=with_errors)
    except InputError as error:
        # Features alone may not do: then no prefix does.
        assert not with_errors
        assert "no circuit reaches" in str(error)
        return
    assert graph.checked(None).faithfulness(circuit.members) >= WANTED
    assert circuit.selection["by"] == method
    assert with_errors or circuit.n_errors == 0


def test_measured_choices_are_no_larger(graph: AttributionGraph) -> None:
    by_effect = prune(graph, faithfulness=WANTED)
    for method in ("greedy", "masks"):
        assert prune(graph, faithfulness=WANTED, method=method).size <= by_effect.size


@pytest.mark.parametrize("is_better", [True, False])
def test_masks_yield_to_a_shorter_prefix_by_effect(
    graph: AttributionGraph, monkeypatch: pytest.MonkeyPatch, is_better: bool
) -> None:
    measured = graph.checked(None)
    good = members_of(graph)
    bad = good[len(good) // 2 :] + good[: len(good) // 2]
    learned, ranked = (good, bad) if is_better else (bad, good)
    monkeypatch.setattr(selection, "rank_by_masks", lambda *_: learned)
    monkeypatch.setattr(selection, "refined", lambda members, *_: list(members))
    lengths = [smallest_prefix(order, WANTED, measured.faithfulness) for order in (good, bad)]
    assert lengths[0] is not None and (lengths[1] is None or lengths[0] < lengths[1])
    assert selection.by_masks(ranked, WANTED, measured) == good[: lengths[0]]


def test_what_nodes_add_is_the_slope_over_all_prompts(toy: Toy) -> None:
    graph = attribute(toy.model, toy.prompts, max_nodes=20, batch_size=2)
    measured, members = graph.checked(None), members_of(graph)
    assert measured.n_batch > 1
    kept = members[::2]
    adds = Marginals(measured, members).of(kept)
    soft = soft_ablations(measured, members)

    def faithful(node: str, step: float) -> float:
        values = [float(n in kept) + step * (n == node) for n in members]
        masks = torch.tensor(values, dtype=torch.float64)
        with torch.no_grad():
            metric = torch.cat([batch.metric(masks) for batch in soft]).numpy()
        return faithfulness(metric, *measured.ends)

    for node in (kept[0], members[1]):
        slope = (faithful(node, 1e-5) - faithful(node, -1e-5)) / 2e-5
        assert adds[node] == pytest.approx(slope, rel=1e-5)


def test_the_search_never_returns_more_nodes(graph: AttributionGraph) -> None:
    measured, ranked = graph.checked(None), members_of(graph)
    count = smallest_prefix(ranked[::-1], WANTED, measured.faithfulness)
    assert count is not None
    start = ranked[-count:]
    found = refined(start, ranked, WANTED, measured)
    assert len(found) <= len(thinned(start, WANTED, measured))
    assert set(found) <= set(ranked)
    assert measured.faithfulness(found) >= WANTED


def test_the_search_finds_the_smallest_circuit_of_all(graph: AttributionGraph) -> None:
    measured, few = graph.checked(None), members_of(graph)[:9]
    sets = [kept for size in range(len(few) + 1) for kept in combinations(few, size)]
    reached = dict(zip(sets, measured.faithfulness_of(sets), strict=True))
    start = max(reached, key=lambda kept: reached[kept])
    for share in (0.5, 0.8):
        wanted = share * reached[start]
        smallest = min(len(kept) for kept, faithful in reached.items() if faithful >= wanted)
        assert len(start) > smallest
        assert len(refined(start, few, wanted, measured)) == smallest


def test_learning_is_repeatable_and_does_something(graph: AttributionGraph) -> None:
    measured = graph.checked(None)
    ranked = members_of(graph)
    few = MaskSettings(steps=40)
    learned = rank_by_masks(measured, ranked, WANTED, few)
    assert sorted(learned) == sorted(ranked)
    assert learned == rank_by_masks(measured, ranked, WANTED, few)
    at_first = smallest_prefix(ranked[::-1], WANTED, measured.faithfulness)
    found = smallest_prefix(learned, WANTED, measured.faithfulness)
    assert found is not None
    assert at_first is None or found < at_first


def test_signed_effects_come_largest_first(graph: AttributionGraph) -> None:
    chosen = prune(graph, nodes=15, method="signed")
    effects = graph.nodes.set_index("node")["effect"]
    kept = effects[list(chosen.members)]
    left = effects[[node for node in members_of(graph) if node not in chosen.members]]
    assert chosen.size == 15
    assert kept.min() >= left.max()
    assert left.abs().max() > kept.min()


def test_paths_come_first(graph: AttributionGraph) -> None:
    ranked = graph.nodes[graph.nodes["kind"] == "feature"]["node"].tolist()
    order = by_paths(graph, ranked, graph.checked(None))
    assert sorted(order) == sorted(ranked)
    assert order != ranked


def test_thinning_an_additive_measure_keeps_the_largest() -> None:
    members = ["0.05", "-0.2", "0.3", "0.01", "0.25", "0.4"]
    # 0.4 + 0.3 + 0.25 = 0.95; no two make 0.8.
    additive = Measure(lambda nodes: float(np.sum([float(node) for node in nodes])))
    assert thinned(members, 0.8, additive) == ["0.4", "0.3", "0.25"]


def test_refusals(graph: AttributionGraph) -> None:
    with pytest.raises(UnknownNameError, match="unknown method 'mask'; did you mean 'masks'"):
        check_method("mask", faithfulness=None)
    with pytest.raises(InputError, match="'greedy' needs a wanted faithfulness"):
        prune(graph, nodes=3, method="greedy")
    for method in ("signed", "paths"):
        with pytest.raises(InputError, match=f"'{method}' takes nodes or faithfulness"):
            prune(graph, node_threshold=0.1, method=method)
