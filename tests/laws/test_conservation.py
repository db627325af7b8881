"""Conservation: what a node does, it does along its out-edges.

For every node, the sum of its out-edges, those to error nodes and to the metric included, is its
gradient effect; summed over the nodes of a site this is what the site accounts for.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from saecircuits.edges.attribute import attribute
from tests.architectures import Float64Throughout, family_toy
from tests.models import Toy

EVERY_NODE = 10**6


def _assert_conserved(toy: Toy, *, atol: float = 1e-11, **choices: Any) -> pd.DataFrame:
    graph = attribute(toy.model, toy.prompts, estimator="gradient", max_nodes=EVERY_NODE, **choices)
    nodes = graph.nodes.iloc[1:].set_index("node")
    out = graph.edges.groupby("source")["effect"].sum().reindex(nodes.index).fillna(0)
    np.testing.assert_allclose(out, nodes["effect"], rtol=0, atol=atol)
    assert (nodes["effect"].abs() > 0.01).sum() > 10
    # It is no law of one edge each: the metric alone would not do.
    to_metric = graph.edges[graph.edges["target"] == "metric"].set_index("source")["effect"]
    assert (to_metric.reindex(nodes.index).fillna(0) - nodes["effect"]).abs().max() > 0.01
    return graph.edges


@pytest.mark.parametrize("policy", ["recompute", "hold"])
@pytest.mark.parametrize("fixture", ["toy", "toy_mixed"])
def test_out_edges_add_up_to_the_node(
    request: pytest.FixtureRequest, fixture: str, policy: str
) -> None:
    toy = request.getfixturevalue(fixture)
    edges = _assert_conserved(toy, positions="each", error_policy=policy)
    kinds = edges["target"].str.contains("error").sum()
    assert bool(kinds) == (policy == "recompute")


@pytest.mark.parametrize(
    ("fixture", "choices"),
    [
        ("toy_mixed", {"positions": "span", "linearization": "secant"}),
        ("toy_mixed", {"positions": "sum", "linearization": "frozen", "error_policy": "hold"}),
        ("toy", {"positions": "each", "baseline": "zero", "linearization": "frozen"}),
        ("toy", {"positions": "span", "baseline": "mean"}),
        ("toy_uneven", {"positions": "span", "error_policy": "hold"}),
        ("toy_uneven", {"positions": "span"}),
    ],
)
def test_whatever_is_chosen_beside(
    request: pytest.FixtureRequest, fixture: str, choices: dict[str, Any]
) -> None:
    _assert_conserved(request.getfixturevalue(fixture), **choices)


@pytest.mark.parametrize("fixture", ["toy_unusual", "toy_places"])
def test_with_unusual_dictionaries(request: pytest.FixtureRequest, fixture: str) -> None:
    _assert_conserved(request.getfixturevalue(fixture), positions="span")


@pytest.mark.parametrize("family", ["llama", "gemma2", "neox"])
def test_on_other_architectures(family: str, tmp_path: Path) -> None:
    with Float64Throughout():
        toy = family_toy(family, tmp_path)
        _assert_conserved(toy, atol=1e-10, positions="span", error_policy="recompute")


def test_without_error_targets_it_fails(toy: Toy) -> None:
    # Under `recompute` part of every effect runs through error nodes: leaving them out is seen.
    graph = attribute(
        toy.model, toy.prompts, estimator="gradient", positions="each", max_nodes=EVERY_NODE
    )
    features = graph.edges[~graph.edges["target"].str.contains("error")]
    nodes = graph.nodes.iloc[1:].set_index("node")
    out = features.groupby("source")["effect"].sum().reindex(nodes.index).fillna(0)
    assert (out - nodes["effect"]).abs().max() > 0.1
