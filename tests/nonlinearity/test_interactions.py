"""`interactions`: what its tables say, against values of single games."""

from typing import Any

import numpy as np
import pytest
import torch

import saecircuits as sc
from saecircuits.nodes.names import node_id
from saecircuits.nonlinearity.node_game import node_stages
from saecircuits.nonlinearity.sampled import sample
from saecircuits.nonlinearity.walk import walk
from saecircuits.splicing.observation import ErrorPolicy
from saecircuits.theory.interactions import (
    all_subsets,
    dividends,
    grades,
    shapley_values,
    spectrum,
    values_of,
)
from tests.models import Toy, make_contrast
from tests.nonlinearity.test_games import strongest_spots
from tests.tolerance import Tolerance

CLOSE: Tolerance = {"rtol": 1e-9, "atol": 1e-10}


def _names(toy: Toy, count: int) -> tuple[list[str], list[Any]]:
    contrast = make_contrast(toy.model, toy.prompts, positions="span")
    spots = strongest_spots(contrast, count)
    units = contrast.units.names
    return [node_id(toy.model, units, spot) for spot in spots], spots


@pytest.mark.parametrize("policy", ["recompute", "hold"])
def test_tables_of_a_small_game(toy: Toy, policy: ErrorPolicy) -> None:
    names, spots = _names(toy, 5)
    found = sc.interactions(
        toy.model, toy.prompts, names, rest="clean", error_policy=policy, batch_size=3
    )
    contrast = make_contrast(toy.model, toy.prompts, positions="span", error_policy=policy)
    values = walk(node_stages(contrast, spots, "clean"), all_subsets(5))
    of = dividends(values).mean(1).numpy()
    mean = values.mean(1).numpy()
    assert found.is_exact
    table = found.dividends.set_index("members")["dividend"]
    assert len(table) == 31
    np.testing.assert_allclose(table[names[3]], of[8], **CLOSE)
    np.testing.assert_allclose(table[f"{names[0]} + {names[2]}"], of[5], **CLOSE)
    np.testing.assert_allclose(table.sum(), found.total, **CLOSE)
    np.testing.assert_allclose([found.value_none, found.value_all], mean[[0, -1]], **CLOSE)
    np.testing.assert_allclose(found.spectrum["total"], spectrum(torch.from_numpy(of))[1:], **CLOSE)
    np.testing.assert_allclose(found.spectrum["share"].sum(), 1, **CLOSE)
    np.testing.assert_allclose(
        found.shapley["value"], shapley_values(torch.from_numpy(of)), **CLOSE
    )
    pair = found.redundancy.set_index(["a", "b"]).loc[(names[1], names[4])]
    expected = mean[31] - mean[31 - 2] - mean[31 - 16] + mean[31 - 18]
    np.testing.assert_allclose(pair["redundancy"], expected, **CLOSE)
    np.testing.assert_allclose(pair["joint"], mean[31] - mean[31 - 18], **CLOSE)
    assert found.redundancy["redundancy"].is_monotonic_increasing
    assert (found.redundancy["low"] <= found.redundancy["redundancy"]).all()
    assert (found.backups["high"] < 0).all()
    last = [mean[31] - mean[31 - 2**i] for i in range(5)]
    np.testing.assert_allclose(found.mean_grade, sum(last) / found.total, **CLOSE)
    by_size = found.by_size.set_index("size")["value"]
    np.testing.assert_allclose(by_size[2], mean[grades(5).numpy() == 2].mean(), **CLOSE)


def test_one_prompt_has_no_interval(toy: Toy) -> None:
    found = sc.interactions(toy.model, toy.prompts.subset([2]), ["L0.MLP", "L1.ATTN"])
    assert found.dividends[["low", "high"]].isna().all(axis=None)
    assert len(found.backups) == 0
    assert found.to_json()["members"] == ["L0.MLP", "L1.ATTN"]


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"baseline": "mean"}, "'corrupted' or 'zero', found 'mean'"),
        ({"error_policy": "hold"}, "use 'recompute'"),
    ],
)
def test_components_have_no_such_game(toy: Toy, choices: dict[str, Any], message: str) -> None:
    with pytest.raises(sc.InputError, match=message):
        sc.interactions(toy.model, toy.prompts, ["L0.MLP"], **choices)


def test_a_part_and_its_whole_are_no_game(toy: Toy) -> None:
    with pytest.raises(sc.InputError, match=r"'L1.H0' is a part of 'L1.ATTN'"):
        sc.interactions(toy.model, toy.prompts, ["L1.ATTN", "L1.H0"])


def test_a_large_game_is_sampled(toy: Toy) -> None:
    names, _ = _names(toy, 18)
    found = sc.interactions(toy.model, toy.prompts, names, rest="clean", draws=4)
    assert not found.is_exact
    exact = sc.interactions(toy.model, toy.prompts, names[:3], rest="clean")
    # `last` is what the model loses without the one member, whatever else is in the game.
    np.testing.assert_allclose(found.shapley["last"][:3], exact.shapley["last"], **CLOSE)
    np.testing.assert_allclose(found.spectrum["total"].sum(), found.total, **CLOSE)
    np.testing.assert_allclose(found.shapley["value"].sum(), found.total, **CLOSE)
    assert list(found.spectrum["kind"]) == ["exact", "exact", "sampled", "rest"]
    assert len(found.redundancy) == 18 * 17 / 2
    assert set(found.dividends["grade"]) == {1, 2}


def _hidden_game(count: int) -> tuple[torch.Tensor, Any]:
    """Grades 1 to 4, random; the whole table and a function of subsets."""
    of = torch.randn(2**count, 3, dtype=torch.float64)
    of[grades(count) > 4] = 0
    values = values_of(of)
    return of, lambda keep: values[(keep.long() * 2 ** torch.arange(count)).sum(1)]


def test_sampled_tables_against_the_whole_table() -> None:
    of, game = _hidden_game(8)
    exact = spectrum(of).mean(1)
    found = sample(game, 8, draws=3000, resamples=200, seed=1)
    np.testing.assert_allclose(found.spectrum["total"][:2], exact[1:3], **CLOSE)
    single = of[2 ** torch.arange(8)].mean(1)
    np.testing.assert_allclose(found.singles["dividend"], single, **CLOSE)
    np.testing.assert_allclose(
        found.mean_grade, (exact @ torch.arange(9.0).double()) / exact[1:].sum()
    )
    # One prompt, twice: what is left is the error of the draws.
    drawn = sample(
        lambda keep: game(keep)[:, :1].repeat(1, 2), 8, draws=3000, resamples=200, seed=2
    )
    expected = torch.cat([spectrum(of)[3:4, 0], spectrum(of)[4:, 0].sum()[None]])
    rows = drawn.spectrum.iloc[2:]
    width = rows["high"] - rows["low"]
    assert ((rows["total"] - expected.numpy()).abs() < width).all()
    assert (rows["total"].sum() - float(expected.sum())) == pytest.approx(0, abs=1e-8)
    shapley = shapley_values(of[:, :1])[:, 0].numpy()
    error = (drawn.shapley["value"] - shapley).abs()
    assert (error < drawn.shapley["high"] - drawn.shapley["low"]).all()
    assert error.max() < 0.6
