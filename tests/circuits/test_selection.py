"""Ways to choose nodes, on a small random model and on measures whose best answer is known."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from saecircuits.circuits import prune, selection
from saecircuits.circuits.masks import MaskSettings, _SoftAblation, rank_by_masks
from saecircuits.circuits.measuring import Measured
from saecircuits.circuits.prune import check_method
from saecircuits.circuits.selection import by_paths, smallest_prefix, thinned
from saecircuits.edges.attribute import attribute
from saecircuits.edges.graph import AttributionGraph, parse_node_id
from saecircuits.errors import InputError, UnknownNameError
from saecircuits.nodes.ablation import ablate_nodes, keep_spots
from tests.models import Toy, make_contrast

WANTED = 0.6


@pytest.fixture(scope="module")
def graph(toy: Toy) -> AttributionGraph:
    return attribute(toy.model, toy.prompts, max_nodes=60)


@pytest.mark.parametrize("policy", ["recompute", "hold"])
@pytest.mark.parametrize("baseline", ["corrupted", "mean"])
def test_masks_of_0_and_1_are_node_ablation(each_toy: Toy, policy: str, baseline: str) -> None:
    contrast = make_contrast(
        each_toy.model, each_toy.prompts, positions="span", error_policy=policy, baseline=baseline
    )
    graph = attribute(each_toy.model, each_toy.prompts, max_nodes=1)
    members = graph.nodes[graph.nodes["kind"].isin(["feature", "error"])]["node"].tolist()
    spots = [parse_node_id(each_toy.model, contrast.units.names, node) for node in members]
    soft, generator = _SoftAblation(contrast, spots), torch.Generator().manual_seed(1)
    for share in (0.2, 0.8):
        is_kept = torch.rand(len(spots), generator=generator) < share
        kept = [spot for spot, keep in zip(spots, is_kept.tolist(), strict=True) if keep]
        expected = ablate_nodes(contrast, [keep_spots(contrast.model, len(contrast.units), kept)])
        found = soft.metric(is_kept.double())
        torch.testing.assert_close(found, expected[0], rtol=1e-9, atol=1e-11)


def test_gradients_of_masks_are_differences(toy: Toy, graph: AttributionGraph) -> None:
    measured = Measured(graph)
    members = [n for n in graph.nodes["node"] if "@" in n and not n.startswith("token")]
    spots = [parse_node_id(toy.model, measured.units, node) for node in members]
    soft = _SoftAblation(measured.batches[0], spots)
    masks = torch.full((len(spots),), 0.5, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(soft.faithfulness(masks), masks)
    step = 1e-6 * torch.eye(len(spots), dtype=torch.float64)
    for number in gradient.abs().topk(5).indices.tolist():
        with torch.no_grad():
            above, below = (soft.faithfulness(masks + sign * step[number]) for sign in (1, -1))
        assert float((above - below) / 2e-6) == pytest.approx(float(gradient[number]), rel=1e-4)


@pytest.mark.parametrize("method", ["effect", "paths", "greedy", "masks"])
@pytest.mark.parametrize("with_errors", [True, False])
def test_every_method_reaches_what_is_wanted(
    graph: AttributionGraph, method: str, with_errors: bool
) -> None:
    try:
        circuit = prune(graph, faithfulness=WANTED, method=method, with_errors=with_errors)
    except InputError as error:
        # Features alone may not do: then no prefix does.
        assert not with_errors
        assert "no circuit reaches" in str(error)
        return
    assert graph.faithfulness is not None
    assert graph.faithfulness(circuit.members) >= WANTED
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
    measured = Measured(graph)
    good = graph.nodes[graph.nodes["kind"].isin(["feature", "error"])]["node"].tolist()
    bad = good[len(good) // 2 :] + good[: len(good) // 2]
    learned, ranked = (good, bad) if is_better else (bad, good)
    monkeypatch.setattr(selection, "rank_by_masks", lambda *_: learned)
    monkeypatch.setattr(selection, "thinned", lambda members, *_: list(members))
    lengths = [smallest_prefix(order, WANTED, measured.faithfulness) for order in (good, bad)]
    assert lengths[0] is not None and (lengths[1] is None or lengths[0] < lengths[1])
    assert selection.by_masks(ranked, WANTED, measured) == good[: lengths[0]]


def test_learning_is_repeatable_and_does_something(graph: AttributionGraph) -> None:
    measured = Measured(graph)
    ranked = graph.nodes[graph.nodes["kind"].isin(["feature", "error"])]["node"].tolist()
    few = MaskSettings(steps=40)
    learned = rank_by_masks(measured, ranked, WANTED, few)
    assert sorted(learned) == sorted(ranked)
    assert learned == rank_by_masks(measured, ranked, WANTED, few)
    at_first = smallest_prefix(ranked[::-1], WANTED, measured.faithfulness)
    found = smallest_prefix(learned, WANTED, measured.faithfulness)
    assert found is not None
    assert at_first is None or found < at_first


def test_paths_come_first(graph: AttributionGraph) -> None:
    ranked = graph.nodes[graph.nodes["kind"] == "feature"]["node"].tolist()
    order = by_paths(graph, ranked)
    assert sorted(order) == sorted(ranked)
    assert order != ranked


class _Additive(Measured):
    """A measure in which every node adds what its name says."""

    def __init__(self) -> None:
        pass

    def faithfulness(self, nodes: Sequence[str]) -> float:
        return float(np.sum([float(node) for node in nodes]))

    def of_each(self, sets: Sequence[Sequence[str]]) -> list[float]:
        return [self.faithfulness(nodes) for nodes in sets]


def test_thinning_an_additive_measure_keeps_the_largest() -> None:
    members = ["0.05", "-0.2", "0.3", "0.01", "0.25", "0.4"]
    # 0.4 + 0.3 + 0.25 = 0.95; no two make 0.8.
    assert thinned(members, 0.8, _Additive()) == ["0.4", "0.3", "0.25"]


def test_refusals(graph: AttributionGraph) -> None:
    with pytest.raises(UnknownNameError, match="unknown method 'mask'; did you mean 'masks'"):
        check_method("mask", faithfulness=None)
    with pytest.raises(InputError, match="'greedy' needs a wanted faithfulness"):
        prune(graph, nodes=3, method="greedy")
    with pytest.raises(InputError, match="'paths' takes nodes or faithfulness"):
        prune(graph, node_threshold=0.1, method="paths")
