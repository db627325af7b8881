"""All paths by degree: what the paths themselves say, added up."""

from typing import Any

import pytest

import saecircuits as sc
from saecircuits.errors import InputError
from tests.models import Toy


def _few(toy: Toy, **choices: Any) -> sc.AttributionGraph:
    return sc.attribute(toy.model, toy.prompts, max_nodes=11, **choices)


@pytest.mark.parametrize("source", [None, "errors"])
def test_signed_sums_are_those_of_the_listed_paths(toy: Toy, source: str | None) -> None:
    graph = _few(toy, positions="span")
    found = sc.path_degrees(graph, source=source)
    every = sc.paths(graph, k=100_000, by="parts", source=source)
    listed = every.table.groupby(["degree", "features"])["effect"].sum()
    by_degree = found.set_index(["degree", "features"])["effect"]
    assert len(by_degree) == len(listed) > 3
    for place, effect in listed.items():
        assert by_degree[place] == pytest.approx(effect, rel=1e-9, abs=1e-12)
    assert found["effect"].sum() == pytest.approx(every.total, rel=1e-9)
    assert (found["absolute"] >= found["effect"].abs() - 1e-12).all()


def test_absolute_sums_are_those_of_single_prompts_and_tokens(toy: Toy) -> None:
    one = Toy(toy.model, toy.prompts.subset([1]))
    graph = _few(one, positions="each", linearization="frozen")
    found = sc.path_degrees(graph).set_index(["degree", "features"])["absolute"]
    table = sc.paths(graph, k=100_000, by="parts").table
    listed = table.assign(size=table["effect"].abs()).groupby(["degree", "features"])["size"].sum()
    assert len(listed) > 3
    for place, size in listed.items():
        assert found[place] == pytest.approx(size, rel=1e-9, abs=1e-12)


def test_paths_to_a_feature(toy: Toy) -> None:
    graph = _few(toy, positions="span")
    kinds = graph.nodes[graph.nodes["node"].isin(graph.edges["target"])].sort_values("layer")
    target = str(kinds.query("kind == 'feature'")["node"].iloc[-1])
    total = sc.paths(graph, target=target, source="features").total
    assert total != 0
    found = sc.path_degrees(graph, target=target, source="features")
    assert found["effect"].sum() == pytest.approx(total, rel=1e-9)
    with pytest.raises(InputError, match="neither"):
        sc.path_degrees(graph, target=str(kinds.query("kind == 'error'")["node"].iloc[0]))
