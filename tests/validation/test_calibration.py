"""Calibration: known agreements come out as such."""

import numpy as np
import pytest
import torch
from scipy import stats

from saecircuits.edges.attribute import attribute
from saecircuits.errors import InputError
from saecircuits.nodes.effects import node_effects, node_index
from saecircuits.nodes.estimators import clean_gradients
from saecircuits.validation.calibration import (
    _joint_effects,
    agreement,
    calibrate,
    spread_ranks,
)
from tests.models import Toy, make_contrast


def test_measured_effects_agree_with_themselves(toy: Toy) -> None:
    prompts = toy.prompts.subset([0, 1])
    graph = attribute(toy.model, prompts, estimator="intervention", max_nodes=12)
    found = calibrate(toy.model, graph, prompts, n_nodes=15, n_edges=15)
    for what in ("nodes", "edges"):
        np.testing.assert_allclose(found[what]["measured"], found[what]["estimated"], atol=1e-11)
        assert found[what]["pearson"] == pytest.approx(1.0)
        assert found[what]["sign_agreement"] == 1.0


def test_in_an_affine_operator_the_joint_share_is_the_single_effect(toy: Toy) -> None:
    contrast = make_contrast(toy.model, toy.prompts, linearization="secant")
    effects = node_effects(contrast, clean_gradients(contrast))
    index = node_index(contrast)
    columns = np.unique(effects.effects.nonzero()[1])[::17]
    spots = [index.spot(int(column)) for column in columns]
    spots, columns = zip(
        *((s, c) for s, c in zip(spots, columns, strict=True) if s.place >= 0), strict=True
    )
    joint = _joint_effects(contrast, spots).T
    expected = torch.tensor(effects.effects[:, list(columns)].toarray())
    torch.testing.assert_close(joint, expected, rtol=1e-9, atol=1e-10)


def test_ranks_are_spread_over_the_whole_range() -> None:
    assert spread_ranks(3, 10).tolist() == [0, 1, 2]
    assert spread_ranks(101, 5).tolist() == [0, 25, 50, 75, 100]


def test_agreement_of_a_reversed_and_of_a_constant_sample() -> None:
    values = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    assert agreement(values, -values)["spearman"] == pytest.approx(-1.0)
    assert agreement(values, -values)["sign_agreement"] == 0.0
    assert agreement(values, np.ones(5))["pearson"] is None
    monotone = agreement(values, values**3)
    assert monotone["spearman"] == pytest.approx(1.0)
    assert monotone["pearson"] < 0.99


def test_correlations_and_their_intervals_are_scipy_s() -> None:
    generator = np.random.default_rng(3)
    first = generator.integers(0, 4, size=7).astype(float)  # few values: ties, and constant draws
    second = first + generator.integers(0, 3, size=7)
    found = agreement(first, second, resamples=300, seed=1)
    draws = np.random.default_rng(1).integers(0, 7, size=(300, 7))
    for name, correlate in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
        expected = [
            correlate(first[draw], second[draw]).statistic
            for draw in draws
            if np.ptp(first[draw]) > 0 and np.ptp(second[draw]) > 0
        ]
        assert found[name] == pytest.approx(correlate(first, second).statistic, abs=1e-12)
        low, high = np.quantile(expected, [0.025, 0.975])
        assert found[f"{name}_low"] == pytest.approx(low, abs=1e-12)
        assert found[f"{name}_high"] == pytest.approx(high, abs=1e-12)


def test_other_prompts_are_refused(toy: Toy) -> None:
    graph = attribute(toy.model, toy.prompts.subset([0, 1]), max_nodes=5)
    with pytest.raises(InputError, match="other prompts"):
        calibrate(toy.model, graph, toy.prompts.subset([2, 3]))
