"""`attribute` with either engine: one table, and the summary says who made it."""

import pandas as pd
import pytest

from saecircuits.edges.attribute import attribute
from saecircuits.errors import InputError
from tests.models import Toy


@pytest.mark.parametrize("linearization", ["full", "secant"])
def test_both_engines_give_one_table(toy_mixed: Toy, linearization: str) -> None:
    tables = {}
    for engine in ("factorised", "reference"):
        graph = attribute(
            toy_mixed.model,
            toy_mixed.prompts,
            linearization=linearization,
            engine=engine,
            max_nodes=60,
        )
        assert graph.summary["edge_engine"].startswith(engine)
        tables[engine] = graph.edges.set_index(["source", "target"]).sort_index()
    pd.testing.assert_frame_equal(
        tables["factorised"], tables["reference"], rtol=1e-9, atol=1e-11, check_exact=False
    )


def test_an_engine_that_does_not_cover_the_model_says_so(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saecircuits.edges.engines.covers", lambda model: "ln1 is unknown")
    with pytest.raises(InputError, match="ln1 is unknown"):
        attribute(toy.model, toy.prompts, engine="factorised", max_nodes=5)
    graph = attribute(toy.model, toy.prompts, max_nodes=5)
    assert graph.summary["edge_engine"] == "reference (ln1 is unknown)"
