"""Paths add up: to a node's effect, to a feature's activation, and each is what the model does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import saecircuits as sc
from saecircuits.circuits.paths import paths, paths_of
from saecircuits.edges.attribute import attribute
from saecircuits.edges.graph import AttributionGraph
from saecircuits.edges.linear import LinearGraph, linear_graph
from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.interventions import ERROR
from saecircuits.nodes.names import METRIC, parse_node_id
from saecircuits.theory.best_paths import Sign
from saecircuits.theory.total_effects import arriving, influence
from tests.architectures import EACH_KIND, Float64Throughout, family_toy
from tests.by_hand import Raw
from tests.models import Toy, make_contrast

EVERYTHING: dict[str, Any] = {"max_nodes": None, "max_edges": 10**6, "parts": False}


def _metric_influence(linear: LinearGraph) -> np.ndarray:
    pooled = linear.pooled
    end = pooled.n_node - 1
    readout = np.where(pooled.cell_node == end, linear.average, 0.0)
    return influence(pooled.A, readout)


def _by_node(linear: LinearGraph, values: np.ndarray) -> np.ndarray:
    return np.bincount(linear.pooled.cell_node, weights=values, minlength=linear.pooled.n_node)


def _relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


CASES = [
    ("toy", {"positions": "each", "error_policy": "hold"}),
    ("toy", {"positions": "span", "error_policy": "recompute", "baseline": "mean"}),
    ("toy_mixed", {"positions": "sum", "error_policy": "hold", "linearization": "frozen"}),
    ("toy_mixed", {"positions": "span", "error_policy": "recompute", "linearization": "secant"}),
    ("toy_uneven", {"positions": "span", "error_policy": "hold", "baseline": "zero"}),
    ("toy_uneven", {"positions": "span", "error_policy": "recompute"}),
    ("toy_crossing", {"positions": "span", "error_policy": "recompute"}),
    ("toy_crossing", {"positions": "each", "error_policy": "hold"}),
]


@pytest.mark.parametrize(("fixture", "choices"), CASES)
def test_all_paths_from_a_node_add_up_to_its_effect(
    request: pytest.FixtureRequest, fixture: str, choices: dict[str, Any]
) -> None:
    # Over every node: paths through features, and what first meets an error node.
    toy = request.getfixturevalue(fixture)
    graph = attribute(toy.model, toy.prompts, **EVERYTHING, **choices)
    linear = linear_graph(graph)
    n_prompt = len(toy.prompts)
    y = _metric_influence(linear)
    through_errors = influence(linear.pooled.A, linear.into_errors / n_prompt)
    found = _by_node(linear, linear.change * (y + through_errors))[:-1]
    expected = graph.nodes.set_index("node")["effect"].reindex(linear.nodes[:-1]).to_numpy()
    assert _relative(found, expected) < 1e-9
    assert _relative(_by_node(linear, linear.effect)[:-1] / n_prompt, expected) < 1e-9
    # Cells, averaged, are the change of the node's activation in the table.
    features = np.array([spot_kind(name) == "feature" for name in linear.nodes[:-1]])
    table = graph.nodes.set_index("node").reindex(linear.nodes[:-1])
    activation = table["activation"].to_numpy()[features]
    change = activation - table["baseline"].to_numpy()[features]
    averaged = _by_node(linear, linear.average * linear.change)[:-1][features]
    assert np.abs(averaged - change).max() < 1e-9 * activation.max()
    # Neither half would do alone, nor would the direct edges to the metric.
    is_held = choices["error_policy"] == "hold"
    without = _by_node(linear, linear.change * y)[:-1]
    assert (_relative(without, expected) < 1e-9) == is_held
    direct = _by_node(linear, linear.change * (linear.pooled.A.T @ np.where(
        linear.pooled.cell_node == linear.pooled.n_node - 1, 1 / n_prompt, 0.0)))[:-1]  # fmt: skip
    assert _relative(direct, expected) > 1e-2


@pytest.mark.parametrize("family", EACH_KIND)
def test_so_they_do_with_every_kind_of_part(family: str, tmp_path: Path) -> None:
    with Float64Throughout():
        toy = family_toy(family, tmp_path)
        graph = attribute(toy.model, toy.prompts, **EVERYTHING, positions="span")
        linear = linear_graph(graph)
    n_prompt = len(toy.prompts)
    y = _metric_influence(linear) + influence(linear.pooled.A, linear.into_errors / n_prompt)
    found = _by_node(linear, linear.change * y)[:-1]
    expected = graph.nodes.set_index("node")["effect"].reindex(linear.nodes[:-1]).to_numpy()
    assert _relative(found, expected) < 1e-9
    assert np.abs(linear.into_errors).max() > 1e-3


def test_so_they_do_on_the_shipped_model() -> None:
    model = sc.load_model("stories")
    prompts = sc.load_task("pronoun", model, limit=6).train
    graph = attribute(model, prompts, max_nodes=None, parts=False)
    routes = paths(graph)
    effect = graph.nodes.set_index("node")["effect"]
    assert routes.whole == pytest.approx(effect[effect.index.str.startswith("token")].sum(), 1e-4)
    assert routes.beyond == pytest.approx(0.0, abs=1e-4 * abs(routes.whole or 0.0))
    assert abs(routes.total) > 0.5 and abs(routes.through_errors or 0.0) > 0.5


@pytest.fixture(scope="module")
def some(toy: Toy) -> tuple[AttributionGraph, LinearGraph]:
    """A graph of few nodes, so that its paths can be enumerated, over five prompts and spans."""
    graph = attribute(
        toy.model, toy.prompts, max_nodes=26, positions="span", error_policy="recompute"
    )
    return graph, linear_graph(graph)


def _enumerated(linear: LinearGraph, begins: list[int], end: int) -> list[tuple[float, tuple]]:
    """Every path by products of dense matrices, cell by cell."""
    pooled = linear.pooled
    dense = pooled.A.toarray()
    readout = np.where(pooled.cell_node == end, linear.average, 0.0)
    found = []

    def onward(node: int, values: np.ndarray, nodes: tuple[int, ...]) -> None:
        if node == end:
            found.append((float(readout @ values), nodes))
            return
        moved = dense @ values
        for following in range(node + 1, pooled.n_node):
            there = np.where(pooled.cell_node == following, moved, 0.0)
            if there.any():
                onward(following, there, (*nodes, following))

    for node in begins:
        onward(node, np.where(pooled.cell_node == node, linear.change, 0.0), (node,))
    return found


@pytest.mark.parametrize("sign", ["either", "positive", "negative"])
def test_the_k_best_and_the_total_are_those_of_all_paths(
    some: tuple[AttributionGraph, LinearGraph], sign: Sign
) -> None:
    graph, linear = some
    begins = [n for n, name in enumerate(linear.nodes) if name.startswith("token")]
    every = _enumerated(linear, begins, len(linear.nodes) - 1)
    routes = paths_of(linear, graph, k=25, source=None, target=METRIC, by="edges", sign=sign)
    wanted = {"either": (-1, 1), "positive": (1,), "negative": (-1,)}[sign]
    best = sorted((p for p in every if np.sign(p[0]) in wanted), key=lambda p: -abs(p[0]))[:25]
    assert len(every) > 50
    np.testing.assert_allclose(routes.table["effect"], [p[0] for p in best], rtol=1e-9)
    names = [tuple(linear.nodes[n] for n in nodes) for _, nodes in best]
    assert routes.table["nodes"].tolist() == names
    total = sum(effect for effect, _ in every)
    assert routes.total == pytest.approx(total, rel=1e-9)
    assert routes.left == pytest.approx(total - sum(p[0] for p in best), rel=1e-9, abs=1e-12)
    assert None not in (routes.whole, routes.through_errors, routes.beyond)
    effect = graph.nodes.set_index("node")["effect"]
    tokens = [name for name in linear.nodes if name.startswith("token")]
    assert routes.whole == pytest.approx(effect[tokens].sum(), rel=1e-9)
    # Most nodes have no edges here, so what is beyond them is not nothing.
    assert abs(routes.beyond or 0.0) > 1e-3


def test_paths_to_a_feature(some: tuple[AttributionGraph, LinearGraph]) -> None:
    graph, linear = some
    is_feature = [".f" in name for name in linear.nodes]
    end = len(is_feature) - 1 - is_feature[::-1].index(True)
    routes = paths(graph, k=500, target=linear.nodes[end], source="tokens")
    begins = [n for n, name in enumerate(linear.nodes) if name.startswith("token")]
    every = _enumerated(linear, begins, end)
    assert routes.total == pytest.approx(sum(effect for effect, _ in every), rel=1e-9)
    assert routes.listed == pytest.approx(routes.total, rel=1e-9)
    assert len(routes.table) == sum(effect != 0 for effect, _ in every) > 3
    assert routes.whole is None
    # A path has at least one step: the feature's own change is none that leads to it.
    before = [n for n in range(end) if is_feature[n]]
    total = sum(effect for effect, _ in _enumerated(linear, before, end))
    found = paths_of(
        linear, graph, k=1, source="features", target=linear.nodes[end], by="edges", sign="either"
    )
    assert found.total == pytest.approx(total, rel=1e-9)


def test_paths_by_parts_add_up_to_paths_by_edges(toy: Toy) -> None:
    few = attribute(toy.model, toy.prompts, max_nodes=11, positions="span")
    by_edges = paths(few, k=500)
    by_parts = paths(few, k=100_000, by="parts")
    assert len(by_parts.table) > 2 * len(by_edges.table)
    assert by_parts.total == pytest.approx(by_edges.total, rel=1e-9)
    together = by_parts.table.groupby("nodes")["effect"].sum()
    for effect, nodes in zip(by_edges.table["effect"], by_edges.table["nodes"], strict=True):
        assert together[nodes] == pytest.approx(effect, rel=1e-6, abs=1e-10)
    steps = [">".join(parts).split(">") for parts in by_parts.table["parts"]]
    passed = [sum(name != "residual" for name in names) for names in steps]
    assert by_parts.table["degree"].tolist() == passed
    assert max(passed) >= 4


def test_a_path_is_what_the_model_does_step_by_step(toy_mixed: Toy) -> None:
    # On the bare bridge under the secant operator: move the first node alone, read what the second
    # makes of it while every site between is held, move the second by that alone, and so on.
    prompts = toy_mixed.prompts.subset([2])
    choices: dict[str, Any] = {
        "positions": "each", "linearization": "secant", "error_policy": "hold"
    }  # fmt: skip
    graph = attribute(toy_mixed.model, prompts, **EVERYTHING, **choices)
    linear = linear_graph(graph)
    routes = paths_of(
        linear, graph, k=40, source="features", target=METRIC, by="edges", sign="either"
    )
    contrast = make_contrast(toy_mixed.model, prompts, **choices)
    raw = Raw(contrast)
    clean, metric = raw.cut({})
    long = routes.table[routes.table["features"] >= 2].head(4)
    assert len(long) == 4
    for effect, nodes in zip(long["effect"], long["nodes"], strict=True):
        assert _by_hand(contrast, raw, clean, metric, nodes) == pytest.approx(effect, rel=1e-9)


def _by_hand(contrast: Contrast, raw: Raw, clean, metric, nodes) -> float:
    spots = [parse_node_id(contrast.model, contrast.units.names, n) for n in nodes[:-1]]
    spot = spots[0]
    step = contrast.feature_change(spot.place).dense()[0, spot.unit + 1, spot.feature]
    for spot, following in zip(spots, [*spots[1:], None], strict=True):
        moved = torch.zeros_like(raw.written[spot.place])
        moved[0, spot.unit + 1] = step * raw.dictionary(spot.place).W_dec[spot.feature]
        with torch.no_grad():
            arrived, moved_metric = raw.cut({spot.place: moved})
        if following is None:
            return float((moved_metric - metric).detach())
        row = raw.dictionary(following.place).encoder_rows(torch.tensor([following.feature]))[0]
        change = arrived[following.place][0] - clean[following.place][0]
        step = float((change[0, following.unit + 1] @ row).detach())
    raise AssertionError("a path ends in the metric")


@pytest.mark.parametrize("fixture", ["toy", "toy_mixed"])
def test_activations_are_sums_over_all_paths(request: pytest.FixtureRequest, fixture: str) -> None:
    # Secant operator, zero baseline: paths from error nodes and from the biases of every feature
    # (what it would be with every source at zero) add up to the activations, (I - A) a = b.
    toy = request.getfixturevalue(fixture)
    choices: dict[str, Any] = {
        "positions": "each", "linearization": "secant", "error_policy": "hold", "baseline": "zero"
    }  # fmt: skip
    linear = linear_graph(attribute(toy.model, toy.prompts, **EVERYTHING, **choices))
    contrast = make_contrast(toy.model, toy.prompts, **choices)
    raw = Raw(contrast)
    moved = {}
    for place in contrast.places[1:]:
        site = contrast.clean.sites[place]
        taken = site.features @ raw.dictionary(place).W_dec + site.error
        moved[place] = -taken * (contrast.units.clean >= 0)[..., None]
    with torch.no_grad():
        arrived, metric = raw.cut(moved)
        clean_metric = raw.metric()
    kinds = np.array([spot_kind(name) for name in linear.nodes])
    start, expected = np.zeros(linear.pooled.n_cell), np.zeros(linear.pooled.n_cell)
    for node, name in enumerate(linear.nodes):
        cells = np.nonzero(linear.pooled.cell_node == node)[0]
        if kinds[node] == "metric":
            start[cells], expected[cells] = metric, clean_metric
        elif kinds[node] == "error":
            start[cells] = expected[cells] = 1.0
        elif kinds[node] == "feature":
            spot = parse_node_id(contrast.model, contrast.units.names, name)
            acts = contrast.clean.sites[spot.place].features[:, spot.unit + 1, spot.feature]
            row = raw.dictionary(spot.place).encoder_rows(torch.tensor([spot.feature]))[0]
            change = arrived[spot.place][0] - raw.read[spot.place]
            bias = acts + change[:, spot.unit + 1] @ row
            start[cells], expected[cells] = bias[acts > 0].numpy(), acts[acts > 0].numpy()
    is_token = np.isin(linear.pooled.cell_node, np.nonzero(kinds == "token")[0])
    found = arriving(linear.pooled.A, start)
    assert _relative(found[~is_token], expected[~is_token]) < 1e-9
    assert (kinds == "feature").sum() > 100
    assert ERROR not in start
    without = arriving(linear.pooled.A, np.where(np.isin(linear.pooled.cell_node, np.nonzero(
        kinds == "error")[0]), 0.0, start))  # fmt: skip
    assert _relative(without[~is_token], expected[~is_token]) > 1e-2


def spot_kind(name: str) -> str:
    """`token`, `error`, `metric` or `feature`."""
    for kind in ("token", "error", "metric"):
        if kind in name:
            return kind
    return "feature"
