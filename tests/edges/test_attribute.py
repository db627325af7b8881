"""`attribute` as a whole: tables, order, sign, and every choice there is."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from saecircuits.edges.attribute import attribute
from saecircuits.edges.blocks import all_blocks, expandable
from saecircuits.edges.graph import EDGE_COLUMNS, NODE_COLUMNS, PART_COLUMNS, AttributionGraph
from saecircuits.edges.reference import ReferenceEdges
from saecircuits.edges.settings import AttributionSettings
from saecircuits.edges.thresholds import CrossingEdges, longest_unit
from saecircuits.errors import InputError
from saecircuits.nodes.ablation import ablate_nodes, keep_spots
from saecircuits.nodes.estimators import clean_gradients
from saecircuits.nodes.names import METRIC, node_id, parse_node_id
from saecircuits.splicing import SplicedModel
from tests.by_hand import Raw, hand_metric
from tests.models import Toy, make_contrast

GRADIENT = {"estimator": "gradient", "positions": "span", "max_nodes": 30}


@pytest.fixture(scope="module")
def graph(toy_uneven: Toy) -> AttributionGraph:
    """By the gradient, spans, prompts of unequal length."""
    return attribute(toy_uneven.model, toy_uneven.prompts, **GRADIENT)


def test_columns_and_types(graph: AttributionGraph) -> None:
    assert tuple(graph.nodes.columns) == NODE_COLUMNS
    assert tuple(graph.edges.columns) == EDGE_COLUMNS
    assert tuple(graph.edge_parts.columns) == PART_COLUMNS
    for table, numbers in (
        (graph.nodes, NODE_COLUMNS[8:]),
        (graph.edges, EDGE_COLUMNS[2:]),
        (graph.edge_parts, PART_COLUMNS[4:]),
    ):
        for column in numbers:
            assert table[column].dtype == np.float64, column
    assert graph.nodes["feature"].dtype == graph.edge_parts["degree"].dtype == pd.Int64Dtype()
    assert graph.nodes["layer"].dtype.kind == graph.nodes["position"].dtype.kind == "i"
    for column in ("node", "site", "kind", "span", "token"):
        assert all(type(value) is str for value in graph.nodes[column]), column
    assert set(graph.nodes["kind"]) == {METRIC, "feature", "error", "token"}
    features = graph.nodes["kind"] == "feature"
    assert graph.nodes.loc[features, "feature"].notna().all()
    assert graph.nodes.loc[~features, "feature"].isna().all()


def test_ids_are_unique_and_edges_join_nodes(graph: AttributionGraph) -> None:
    assert graph.nodes["node"].is_unique
    assert not graph.edges.duplicated(["source", "target"]).any()
    known = set(graph.nodes["node"])
    assert set(graph.edges["source"]) | set(graph.edges["target"]) <= known
    assert METRIC not in set(graph.edges["source"])


def test_strongest_come_first(graph: AttributionGraph) -> None:
    assert graph.nodes["node"][0] == METRIC
    for effects in (graph.nodes["effect"][1:], graph.edges["effect"]):
        sizes = effects.abs().to_numpy()
        assert (np.diff(sizes) <= 0).all()


def test_means_lie_in_their_intervals(graph: AttributionGraph) -> None:
    for table in (graph.nodes, graph.edges):
        assert (table["effect_low"] <= table["effect"] + 1e-12).all()
        assert (table["effect"] <= table["effect_high"] + 1e-12).all()
        assert (table["effect_low"] < table["effect_high"]).any()


def test_signs_are_counted_over_prompts_taken_one_at_a_time(toy_uneven: Toy) -> None:
    # With thresholds crossed, what error nodes take over depends on which features are targets, and
    # one prompt alone has fewer.
    choices = {**GRADIENT, "max_nodes": None, "thresholds": "held"}
    together = attribute(toy_uneven.model, toy_uneven.prompts, batch_size=2, parts=False, **choices)
    count = len(toy_uneven.prompts)
    alone = [
        attribute(toy_uneven.model, toy_uneven.prompts.subset([n]), parts=False, **choices)
        for n in range(count)
    ]
    for name, keys in (("nodes", ["node"]), ("edges", ["source", "target"])):
        whole = getattr(together, name).set_index(keys)
        whole = whole[whole["effect"].abs() > 1e-9]  # what is less is rounding on every prompt
        each = pd.DataFrame(
            {n: getattr(one, name).set_index(keys)["effect"] for n, one in enumerate(alone)}
        )
        each = each.reindex(whole.index).fillna(0.0)
        np.testing.assert_allclose(each.mean(axis=1), whole["effect"], rtol=1e-9, atol=1e-12)
        has_effect = each.abs().gt(1e-6 * each.abs().max(axis=1), axis=0)
        agrees = np.sign(each).eq(np.sign(whole["effect"]), axis=0) & has_effect
        expected = agrees.sum(axis=1) / has_effect.sum(axis=1)
        np.testing.assert_array_equal(whole["sign_stability"], expected)
        assert whole["sign_stability"].dropna().between(0.01, 0.99).any()


def test_parts_add_up_to_their_edges(graph: AttributionGraph) -> None:
    ends = ["source", "target"]
    edges = graph.edges.set_index(ends)["effect"]
    summed = graph.edge_parts.groupby(ends, sort=False)["effect"].sum()
    assert summed.index.equals(edges.index)  # in the order of edges
    np.testing.assert_allclose(summed, edges, rtol=1e-9, atol=1e-12)
    assert not graph.edge_parts.duplicated([*ends, "part"]).any()


def test_heads_have_values_keys_and_queries_and_nothing_else_has(graph: AttributionGraph) -> None:
    parts = graph.edge_parts
    ways = parts[["value", "key", "query"]]
    has_head = parts["part"].str.contains("H", regex=False)
    assert has_head.any() and not has_head.all()
    assert ways[~has_head].isna().all(axis=None)
    np.testing.assert_allclose(
        ways[has_head].sum(axis=1), parts.loc[has_head, "effect"], rtol=1e-9, atol=1e-12
    )
    # Patterns move, and a source at its target's own token moves them by queries.
    assert (ways[has_head].abs() > 1e-6).any().all()
    degrees = parts.groupby("part")["degree"].first()
    assert degrees["residual"] == 0 and degrees["L1.H0"] == degrees["L1.MLP"] == 1
    assert degrees["L1.H0>L1.MLP"] == 2


@pytest.mark.parametrize("choice", [{"engine": "reference"}, {"estimator": "intervention"}])
def test_what_does_not_tell_components_apart_gives_no_parts(
    toy: Toy, choice: dict[str, Any]
) -> None:
    graph = attribute(toy.model, toy.prompts, **{"max_nodes": 5, **choice})
    assert len(graph.edges) > 5
    assert len(graph.edge_parts) == 0
    assert tuple(graph.edge_parts.columns) == PART_COLUMNS


def test_max_edges_keeps_the_first_rows(graph: AttributionGraph, toy_uneven: Toy) -> None:
    few = attribute(toy_uneven.model, toy_uneven.prompts, max_edges=20, **GRADIENT)
    pd.testing.assert_frame_equal(few.edges, graph.edges.head(20), check_exact=True)
    inside = (
        graph.edge_parts["source"]
        .add(graph.edge_parts["target"])
        .isin(few.edges["source"] + few.edges["target"])
    )
    pd.testing.assert_frame_equal(
        few.edge_parts, graph.edge_parts[inside].reset_index(drop=True), check_exact=True
    )
    pd.testing.assert_frame_equal(few.nodes, graph.nodes, check_exact=True)
    assert few.summary["edges_computed"] == len(graph.edges) > 20
    sizes = graph.edges["effect"].abs()
    share = sizes.head(20).sum() / sizes.sum()
    assert few.summary["edges_kept_share_of_effect"] == pytest.approx(share, rel=1e-9)
    assert graph.summary["edges_kept_share_of_effect"] == pytest.approx(1, rel=1e-12)


def test_nodes_below_the_threshold_are_sources_alone(
    graph: AttributionGraph, toy_uneven: Toy
) -> None:
    effects = graph.nodes.set_index("node")["effect"].abs()
    threshold = float(effects[graph.edges["target"].unique()].drop(METRIC).median())
    effects[METRIC] = np.inf  # always expanded
    some = attribute(toy_uneven.model, toy_uneven.prompts, target_threshold=threshold, **GRADIENT)
    is_expanded = graph.edges["target"].map(effects) >= threshold
    # What error nodes take over from features that cross thresholds depends on these being targets.
    is_error = graph.edges["target"].str.contains(".error@", regex=False)
    expected = graph.edges[is_expanded & ~is_error].reset_index(drop=True)
    assert 0 < len(expected) < len(graph.edges[~is_error])
    found = some.edges[~some.edges["target"].str.contains(".error@", regex=False)]
    pd.testing.assert_frame_equal(found.reset_index(drop=True), expected, rtol=1e-12)
    assert some.summary["edge_nodes"] == graph.summary["edge_nodes"]


def test_direct_is_empty_where_an_end_is_no_feature(graph: AttributionGraph) -> None:
    kinds = graph.nodes.set_index("node")["kind"]
    source, target = (graph.edges[end].map(kinds) for end in ("source", "target"))
    is_linear = (source == "feature") & target.isin(["feature", METRIC])
    assert is_linear.any()
    assert graph.edges["direct"].notna().equals(is_linear)


def test_edges_are_among_the_strongest_nodes(graph: AttributionGraph) -> None:
    tokens = set(graph.nodes.loc[graph.nodes["kind"] == "token", "node"])
    others = graph.nodes.loc[~graph.nodes["kind"].isin(["token", METRIC]), "node"]
    ends = (set(graph.edges["source"]) | set(graph.edges["target"])) - {METRIC} - tokens
    assert ends <= set(others.head(30))
    # The last layer's strongest nodes have an edge to the metric, whose effect is the node's.
    last = graph.nodes[graph.nodes["site"] == "blocks.2.hook_resid_post"].set_index("node")
    to_metric = graph.edges[graph.edges["target"] == METRIC].set_index("source")["effect"]
    assert len(to_metric) > 3
    np.testing.assert_allclose(to_metric, last["effect"].reindex(to_metric.index), rtol=1e-9)


def test_edges_are_means_over_prompts(graph: AttributionGraph, toy_uneven: Toy) -> None:
    model = toy_uneven.model
    contrast = make_contrast(model, toy_uneven.prompts, positions="span")
    names = contrast.units.names
    ends = (set(graph.edges["source"]) | set(graph.edges["target"])) - {METRIC}
    spots = sorted(parse_node_id(model, names, node) for node in ends)
    table = graph.edges.set_index(["source", "target"])
    found = 0
    engine = CrossingEdges(
        ReferenceEdges,
        contrast,
        clean_gradients(contrast),
        spots,
        finest=longest_unit(contrast.units),
        crossed={},
    )
    for block in all_blocks(engine, expandable(contrast, spots)):
        for row, target in enumerate(block.targets or (None,)):
            for column, source in enumerate(block.sources):
                target_id = METRIC if target is None else node_id(model, names, target)
                key = (node_id(model, names, source), target_id)
                if key not in table.index:
                    continue
                edge = table.loc[key]
                effects, weights = (t[row, column].detach() for t in (block.effects, block.weights))
                assert edge["effect"] == pytest.approx(float(effects.mean()), rel=1e-8, abs=1e-10)
                if not np.isnan(edge["direct"]):
                    expected = float(weights.mean())
                    assert edge["direct"] == pytest.approx(expected, rel=1e-8, abs=1e-10)
                    found += 1
    assert found > 50


def test_equal_runs_give_equal_tables(graph: AttributionGraph, toy_uneven: Toy) -> None:
    again = attribute(toy_uneven.model, toy_uneven.prompts, **GRADIENT)
    pd.testing.assert_frame_equal(again.nodes, graph.nodes, check_exact=True)
    pd.testing.assert_frame_equal(again.edges, graph.edges, check_exact=True)
    pd.testing.assert_frame_equal(again.edge_parts, graph.edge_parts, check_exact=True)
    assert again.summary == graph.summary
    assert again.provenance == graph.provenance


@pytest.mark.parametrize("batch_size", [1, 2])
def test_batches_change_nothing_but_rounding(
    graph: AttributionGraph, toy_uneven: Toy, batch_size: int
) -> None:
    # Rows that rounding alone makes are let go: a token that both prompts begin with is at its
    # baseline, exactly or to the last digit, as the batch is laid out.
    again = attribute(toy_uneven.model, toy_uneven.prompts, batch_size=batch_size, **GRADIENT)
    ends = ["source", "target"]
    for name, keys in (("nodes", ["node"]), ("edges", ends), ("edge_parts", [*ends, "part"])):
        tables = [getattr(each, name).set_index(keys).sort_index() for each in (graph, again)]
        left, right = (table[table["effect"].abs() > 1e-12] for table in tables)
        assert len(left) > 100
        pd.testing.assert_frame_equal(left, right, rtol=1e-8, atol=1e-10)


def test_the_metric_s_effect_is_the_whole_change(graph: AttributionGraph, toy_uneven: Toy) -> None:
    # Residual sites everywhere: with all of them at baseline the last token's stream is the
    # corrupted prompt's.
    model, prompts = toy_uneven.model, toy_uneven.prompts
    with torch.no_grad():
        clean = hand_metric(model.bridge(prompts.clean_tokens), prompts)
        corrupted = hand_metric(
            model.bridge(prompts.corrupted_tokens), prompts, prompts.corrupted_lengths
        )
    row = graph.nodes.iloc[0]
    assert row["activation"] == pytest.approx(float(clean.mean()), rel=1e-9)
    assert row["baseline"] == pytest.approx(float(corrupted.mean()), rel=1e-9)
    assert row["effect"] == pytest.approx(float((clean - corrupted).mean()), rel=1e-9)
    assert graph.summary["metric_clean"] == row["activation"]
    assert graph.summary["metric_baseline"] == row["baseline"]
    assert graph.summary["prompts"] == 5


def _with_direction(model: SplicedModel, feature: int, direction: torch.Tensor) -> SplicedModel:
    """The same model, one feature of the last dictionary writing in another direction."""
    *first, last = model.splices
    W_dec = last.dictionary.W_dec.clone()
    W_dec[feature] = direction
    last = replace(last, dictionary=replace(last.dictionary, W_dec=W_dec))
    return replace(model, splices=(*first, last))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_node_that_supports_the_answer_is_positive(toy: Toy, sign: int) -> None:
    # Let the last site's feature write along dm/dx at the last token: then it supports the answer,
    # by a |dm/dx|^2 to first order; written the other way round it opposes it.
    prompts = toy.prompts.subset([0])
    contrast = make_contrast(toy.model, prompts, baseline="zero")
    direction = Raw(contrast).gradient(2)[0, -1]
    acts = contrast.clean.sites[2].features[0, -1]
    feature = int(acts.argmax())
    graph = attribute(
        _with_direction(toy.model, feature, sign * direction),
        prompts,
        estimator="gradient",
        positions="each",
        baseline="zero",
        max_nodes=5,
    )
    row = graph.nodes.set_index("node").loc[f"blocks.2.hook_resid_post.f{feature}@5"]
    expected = sign * float(acts[feature] * direction @ direction)
    assert expected * sign > 0.05
    assert row["effect"] == pytest.approx(expected, rel=1e-9)
    assert row["activation"] == pytest.approx(float(acts[feature]), rel=1e-12)
    assert row["baseline"] == 0
    edge = graph.edges.set_index(["source", "target"]).loc[(row.name, METRIC)]
    assert edge["effect"] == pytest.approx(expected, rel=1e-9)
    assert edge["direct"] == pytest.approx(sign * float(direction @ direction), rel=1e-9)
    assert np.isnan(row["effect_low"])  # one prompt has no spread


def test_faithfulness_is_that_of_an_ablation(graph: AttributionGraph, toy_uneven: Toy) -> None:
    contrast = make_contrast(toy_uneven.model, toy_uneven.prompts, positions="span")
    members = graph.nodes.loc[graph.nodes["kind"].isin(["feature", "error"]), "node"].tolist()
    chosen = members[:25]
    spots = [parse_node_id(toy_uneven.model, contrast.units.names, node) for node in chosen]
    kept = keep_spots(toy_uneven.model, 3, spots)
    metric = float(ablate_nodes(contrast, [kept]).mean())
    base, change = graph.nodes.iloc[0][["baseline", "effect"]]
    measured = graph.checked(None)
    assert measured.faithfulness(chosen) == pytest.approx((metric - base) / change, rel=1e-9)
    assert measured.faithfulness([]) == pytest.approx(0, abs=1e-12)
    assert measured.faithfulness(members) == pytest.approx(1, abs=1e-9)


def test_progress_ends_at_one(toy: Toy) -> None:
    heard: list[tuple[str, float]] = []
    attribute(
        toy.model,
        toy.prompts,
        batch_size=2,
        progress=lambda stage, share: heard.append((stage, share)),
        **{**GRADIENT, "max_nodes": 3},
    )
    for stage in ("nodes", "edges"):
        shares = [share for name, share in heard if name == stage]
        assert shares == sorted(shares)
        assert shares[-1] == 1.0
        assert len(shares) == 3


def test_summary_and_provenance(graph: AttributionGraph, toy_uneven: Toy) -> None:
    assert graph.provenance == {
        **toy_uneven.model.describe(),
        "prompts": toy_uneven.prompts.digest,
        "prepended": {"token": "<|endoftext|>", "id": 0, "why": "the tokenizer's own BOS"},
    }
    sizes = graph.nodes["effect"][1:].abs()
    tokens = (graph.nodes["kind"][1:] == "token").to_numpy()
    strongest = np.zeros(len(sizes), dtype=bool)
    strongest[:30] = True
    kept = (strongest | tokens) & (sizes > 0).to_numpy()
    assert graph.summary["edge_nodes"] == kept.sum()
    share = sizes[kept].sum() / sizes.sum()
    assert graph.summary["edge_nodes_share_of_effect"] == pytest.approx(share, rel=1e-9)


def test_settings_by_name_or_in_one_value(graph: AttributionGraph, toy_uneven: Toy) -> None:
    settings = AttributionSettings(**GRADIENT)
    assert graph.settings == settings
    again = attribute(toy_uneven.model, toy_uneven.prompts, settings=settings)
    pd.testing.assert_frame_equal(again.nodes, graph.nodes, check_exact=True)
    with pytest.raises(InputError, match="given settings and also estimator, max_nodes"):
        attribute(
            toy_uneven.model,
            toy_uneven.prompts,
            settings=settings,
            max_nodes=3,
            estimator="gradient",
        )
