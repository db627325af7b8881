"""What edges are predicted to cost, against what is counted; and what is chosen by it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from torch.utils.flop_counter import FlopCounterMode

from saecircuits.edges import cost, engines
from saecircuits.edges.attribute import attribute
from saecircuits.edges.blocks import expandable
from saecircuits.edges.cost import Work, by_factorised, by_reference, work_of
from saecircuits.edges.engines import exact_engine
from saecircuits.edges.factorised import FactorisedEdges
from saecircuits.edges.reference import ReferenceEdges
from saecircuits.nodes.estimators import clean_gradients
from saecircuits.nodes.experiment import Experiment
from saecircuits.splicing import SplicedModel, splice
from tests.edges.test_reference import strongest
from tests.models import Toy, build_bridge, make_contrast, random_sae, toy_prompts


@pytest.fixture(scope="module")
def distant(tmp_path_factory: pytest.TempPathFactory) -> SplicedModel:
    bridge = build_bridge(tmp_path_factory.mktemp("gpt2"), n_layers=6)
    sites = {
        f"blocks.{layer}.hook_resid_post": random_sae("topk", k=7, seed=layer) for layer in (0, 4)
    }
    return splice(bridge, sites, name="distant")


@pytest.mark.parametrize(
    ("engine", "predicted"), [(ReferenceEdges, by_reference), (FactorisedEdges, by_factorised)]
)
def test_the_prediction_is_what_is_counted(
    engine: Any, predicted: Any, distant: SplicedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "APART_BLOCK", 0.0)
    monkeypatch.setattr(cost, "APART_WEIGHT", 0.0)
    contrast = make_contrast(distant, toy_prompts(distant.bridge), positions="each")
    nodes = strongest(contrast, per_unit=7)
    targets = [spot for spot in expandable(contrast, nodes) if spot.place == 1]
    made = engine(contrast, clean_gradients(contrast), nodes)
    with FlopCounterMode(display=False) as counter:
        list(made.into(tuple(targets)))
    work = Work(
        targets,
        n_prompt=len(contrast.prompts),
        n_pos=contrast.tokens.shape[1],
        follows_sleeping=False,
        is_single=True,
    )
    expected = predicted(distant, work) - predicted(distant, replace(work, targets=[]))
    assert 0.5 < counter.get_total_flops() / expected < 2


def test_work_is_what_attribute_has_to_do(toy_mixed: Toy, distant: SplicedModel) -> None:
    experiment = Experiment(toy_mixed.model, toy_mixed.prompts, positions="sum")
    work = work_of(experiment, [], crosses=True)
    assert (work.n_prompt, work.n_pos, work.follows_sleeping, work.is_single) == (5, 6, True, True)
    held = work_of(experiment, [], crosses=False)
    assert (held.follows_sleeping, held.is_single) == (False, False)
    # Of TopK dictionaries gates stay as they are.
    there = Experiment(distant, toy_prompts(distant.bridge), positions="each")
    assert not work_of(there, [], crosses=True).follows_sleeping


def test_the_cheaper_engine_is_chosen_where_nobody_asks_for_parts(
    distant: SplicedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    contrast = make_contrast(distant, toy_prompts(distant.bridge), positions="each")
    targets = [spot for spot in strongest(contrast, per_unit=1) if spot.place == 1]
    few = Work(targets, n_prompt=5, n_pos=6, follows_sleeping=False, is_single=True)
    # Fewer would not do for so small a model.
    monkeypatch.setattr(cost, "APART_BLOCK", 1e6)
    many = replace(few, targets=targets * 200)
    # Taking a model apart for a few targets costs more than their products.
    names = [
        exact_engine(distant, "auto", is_split=is_split, work=work).described.split()[0]
        for work, is_split in ((few, False), (many, False), (few, True), (None, False))
    ]
    assert names == ["reference", "factorised", "factorised", "factorised"]
    monkeypatch.setattr(engines, "covers", lambda model: "ln1 is unknown")
    chosen = exact_engine(distant, "auto", is_split=False, work=many)
    assert chosen.described == "reference (ln1 is unknown)"


def test_the_graph_says_what_was_chosen_and_by_what(distant: SplicedModel, tmp_path: Path) -> None:
    graphs = [
        attribute(distant, toy_prompts(distant.bridge), positions="each", max_nodes=20, parts=parts)
        for parts in (True, False)
    ]
    told = [graph.summary["edge_engine"] for graph in graphs]
    assert told[0].startswith("factorised (TFLOP predicted: factorised ")
    assert told[1].startswith("reference (TFLOP predicted: factorised ")
    tables = [graph.edges.set_index(["source", "target"]).sort_index() for graph in graphs]
    pd.testing.assert_frame_equal(*tables, rtol=1e-9, atol=1e-11, check_exact=False)
