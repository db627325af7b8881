"""Circuits of other dictionaries: what is matched, and that the same dictionary is found again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import saecircuits as sc
from experiments.sae_seeds import run as sae_seeds
from experiments.sae_seeds.matching import By, match_models, match_table, translated, translations
from saecircuits.splicing import Dictionary, SplicedModel, splice
from tests.models import Toy


def _reordered(model: SplicedModel, order: torch.Tensor) -> SplicedModel:
    """The model with the features of every dictionary in another order, and half as long."""

    def moved(one: Dictionary) -> Dictionary:
        columns = {name: getattr(one, name) for name in ("b_enc", "threshold")}
        return replace(
            one,
            W_enc=2 * one.W_enc[:, order],
            W_dec=one.W_dec[order] / 2,
            **{k: None if v is None else 2 * v[order] for k, v in columns.items()},
        )

    dictionaries = {each.site.hook: moved(each.dictionary) for each in model.splices}
    return splice(model.bridge, dictionaries, name="reordered")


@pytest.mark.parametrize("by", ["direction", "activation"])
def test_features_in_another_order_are_found_again(toy: Toy, by: By) -> None:
    generator = torch.Generator().manual_seed(5)
    order = torch.randperm(toy.model.splices[0].dictionary.d_sae, generator=generator)
    other = _reordered(toy.model, order)
    matches = match_models(toy.model, other, [toy.prompts], by=by)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))  # feature n is now at place[n]
    for match in matches.values():
        seen = match.is_active
        assert seen.any()
        np.testing.assert_array_equal(match.second[seen], place.numpy()[match.first[seen]])
        np.testing.assert_allclose(match.cosine[seen], 1.0, atol=1e-9)
        np.testing.assert_allclose(match.correlation[seen], 1.0, atol=1e-9)
    table = match_table(matches)
    assert (table["same active"] == 1).all()
    hook = toy.model.hooks[0]
    known = int(match.first[match.is_active][0])
    site = toy.model.hooks[-1]
    assert translated(f"{site}.f{known}@x", matches) == f"{site}.f{int(place[known])}@x"
    for node in (f"{hook}.error@x", "token@x", "metric"):
        assert translated(node, matches) == node


def test_a_circuit_of_reordered_features_is_wholly_shared(toy: Toy) -> None:
    order = torch.randperm(toy.model.splices[0].dictionary.d_sae)
    models = (toy.model, _reordered(toy.model, order))
    task = sc.Task("words", "", toy.prompts.subset([0, 1, 2]), toy.prompts.subset([3, 4]))
    found = tuple(sae_seeds.find(model, task, nodes=12) for model in models)
    matches = match_models(*models, [task.train], by="direction")
    row = sae_seeds.compare(models, (found[0], found[1]), task.test, matches, draws=9)
    for name in ("has partner", "shared", "jaccard", "effect shared", "edge jaccard"):
        assert row[name] == pytest.approx(1.0), name
    assert row["moved"] == pytest.approx(row["by nodes, second"])
    assert float(str(row["expected"])) < 0.9


def test_features_without_a_partner_are_told(toy: Toy) -> None:
    matches = match_models(toy.model, toy.model, [toy.prompts], by="direction")
    nodes = [f"{toy.model.hooks[0]}.f1@x", f"{toy.model.hooks[1]}.error@x"]
    assert translations(nodes, matches, bar=1.01) == {nodes[1]: nodes[1]}


@pytest.mark.slow
def test_a_tiny_run(tmp_path: Path) -> None:
    small = ["--tasks", "agreement", "--limit", "4", "--nodes", "20", "--draws", "5"]
    sae_seeds.main([*small, "--models", "stories", "--out", str(tmp_path)])
    row = pd.read_csv(tmp_path / "sae_seeds.csv").iloc[0]
    assert row["shared"] > row["expected"]
    assert np.isnan(row["moved"])
