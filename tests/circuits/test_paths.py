"""What `paths` says beside its numbers, and what it refuses."""

from dataclasses import replace
from itertools import pairwise

import pytest

from saecircuits.circuits import Routes, paths
from saecircuits.edges.attribute import attribute
from saecircuits.edges.graph import AttributionGraph
from saecircuits.errors import InputError, UnknownNameError
from saecircuits.nodes.names import METRIC
from tests.models import Toy


@pytest.fixture(scope="module")
def graph(toy_mixed: Toy) -> AttributionGraph:
    return attribute(toy_mixed.model, toy_mixed.prompts, max_nodes=30, error_policy="hold")


@pytest.fixture(scope="module")
def routes(graph: AttributionGraph) -> Routes:
    return paths(graph, k=12)


def test_steps_are_edges_of_the_graph_and_their_main_components(
    graph: AttributionGraph, routes: Routes
) -> None:
    size = graph.edge_parts.assign(size=graph.edge_parts["effect"].abs())
    main = size.sort_values("size").groupby(["source", "target"])["part"].last()
    for nodes, parts, features in zip(
        routes.table["nodes"], routes.table["parts"], routes.table["features"], strict=True
    ):
        assert [main[ends] for ends in pairwise(nodes)] == list(parts)
        assert features == len(nodes) - 2
        assert nodes[-1] == METRIC
    assert routes.table["degree"].notna().all()


def test_thresholds_are_no_component_of_a_path(toy: Toy) -> None:
    graph = attribute(toy.model, toy.prompts, max_nodes=None)
    parts = graph.edge_parts
    largest = parts.loc[parts["effect"].abs().groupby([parts["source"], parts["target"]]).idxmax()]
    assert (largest["part"] == "threshold").any()
    named = {part for step in paths(graph, k=200).table["parts"] for part in step}
    assert named
    assert "threshold" not in named


def test_figures_add_up(routes: Routes) -> None:
    assert routes.total == pytest.approx(routes.listed + routes.left)
    assert routes.beyond is not None
    assert routes.whole == pytest.approx(routes.total + routes.beyond)
    assert routes.through_errors == 0.0  # held errors pass nothing on
    share = routes.table["share"] * routes.total
    assert share.to_numpy() == pytest.approx(routes.table["effect"].to_numpy())


def test_sources(graph: AttributionGraph, routes: Routes) -> None:
    kinds = {nodes[0].partition("@")[0].rpartition(".")[2] for nodes in routes.table["nodes"]}
    assert kinds <= {"token", "error"}
    totals = [paths(graph, k=1, source=kind).total for kind in ("tokens", "errors")]
    assert sum(totals) == pytest.approx(routes.total)
    names = sorted({nodes[0] for nodes in routes.table["nodes"]})[:2]
    some = paths(graph, k=500, source=names)
    assert {nodes[0] for nodes in some.table["nodes"]} == set(names)
    assert paths(graph, source=names[0]).choices["source"] == names[0]


def test_sentences(routes: Routes) -> None:
    first = routes.table["nodes"][0]
    lines = routes.sentences({first[1]: "she, her"})
    assert len(lines) == len(routes.table) + 1
    assert f"{first[1]} (she, her)" in lines[0]
    assert f"-[{routes.table['parts'][0][0]}]-> " in lines[0]
    assert lines[-1].startswith(f"The 12 paths listed carry {routes.listed:+.3f} logits")
    assert "The search ended after" not in lines[-1]
    assert "The search ended after" in routes.model_copy(update={"is_complete": False}).account()


def test_json_and_back(routes: Routes) -> None:
    again = Routes.model_validate(routes.to_json())
    assert again.to_json() == routes.to_json()
    assert again.table.equals(routes.table)


def test_a_graph_without_parts_names_no_components(toy_mixed: Toy) -> None:
    graph = attribute(toy_mixed.model, toy_mixed.prompts, max_nodes=20, engine="reference")
    routes = paths(graph, k=3)
    assert {part for parts in routes.table["parts"] for part in parts} == {""}
    assert routes.table["degree"].isna().all()
    with pytest.raises(InputError, match="need the factorised engine"):
        paths(graph, by="parts")


def test_a_stored_graph_needs_its_prompts(graph: AttributionGraph, toy_mixed: Toy) -> None:
    stored = replace(graph, experiment=None)
    with pytest.raises(InputError, match="read from disk"):
        paths(stored)
    again = paths(stored, stored.on(toy_mixed.model, toy_mixed.prompts), k=12)
    assert again.to_json() == paths(graph, k=12).to_json()


def test_integrated_gradients_have_the_paths_of_the_clean_run(
    graph: AttributionGraph, toy_mixed: Toy, routes: Routes
) -> None:
    settings = graph.settings.model_copy(update={"estimator": "integrated_gradients"})
    assert paths(replace(graph, settings=settings), k=12).to_json() == routes.to_json()


def test_what_cannot_be_meant_is_refused(graph: AttributionGraph, routes: Routes) -> None:
    token = next(nodes[0] for nodes in graph.edges[["source"]].to_numpy() if "token" in nodes[0])
    with pytest.raises(InputError, match="neither"):
        paths(graph, target=token)
    with pytest.raises(UnknownNameError, match="unknown node with edges 'tokns'"):
        paths(graph, source="tokns")
    with pytest.raises(InputError, match="no path begins at the metric"):
        paths(graph, source=["metric"])
    with pytest.raises(UnknownNameError, match="unknown by 'nodes'"):
        paths(graph, by="nodes")
    with pytest.raises(InputError, match="0 paths were asked for"):
        paths(graph, k=0)
    with pytest.raises(InputError, match="has no edges"):
        paths(replace(graph, edges=graph.edges.iloc[:0]))


def test_what_equals_its_baseline_may_be_passed_all_the_same(
    graph: AttributionGraph, routes: Routes
) -> None:
    # Edges may end in a node that differs from its baseline on no prompt and so has no row.
    passed = {node for nodes in routes.table["nodes"] for node in nodes[1:-1]}
    rest = graph.nodes[graph.nodes["node"] != min(passed)]
    found = paths(replace(graph, nodes=rest), k=12)
    assert found.total == pytest.approx(routes.total)
