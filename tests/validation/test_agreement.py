"""Agreement of estimates with measurements, against scipy and by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from saecircuits.validation.agreement import agreement, plain_agreement


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
    second = first + generator.integers(0, 3, size=7).astype(float)
    found = agreement(first, second, resamples=300, seed=1)
    draws = np.random.default_rng(1).integers(0, 7, size=(300, 7))
    kinds: dict[str, Callable[..., Any]] = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}
    for name, correlate in kinds.items():
        expected = [
            correlate(first[draw], second[draw]).statistic
            for draw in draws
            if np.ptp(first[draw]) > 0 and np.ptp(second[draw]) > 0
        ]
        assert found[name] == pytest.approx(correlate(first, second).statistic, abs=1e-12)
        low, high = np.quantile(expected, [0.025, 0.975])
        assert found[f"{name}_low"] == pytest.approx(low, abs=1e-12)
        assert found[f"{name}_high"] == pytest.approx(high, abs=1e-12)


def test_intervals_of_sign_agreement_hold_it() -> None:
    estimated = np.array([1.0, -2.0, 3.0, 4.0, -5.0, 6.0, 1e-9])
    measured = np.array([1.0, 2.0, 3.0, 4.0, -5.0, -6.0, -1e-9])
    found = agreement(estimated, measured)
    assert found["sign_agreement"] == pytest.approx(4 / 6)  # the last is measurably zero
    assert found["sign_agreement_low"] < 4 / 6 < found["sign_agreement_high"]
    assert found["error"] == pytest.approx(16 / 21)


def test_nothing_measured_has_no_figures() -> None:
    found = plain_agreement(np.ones(4), np.zeros(4))
    assert {name: value for name, value in found.items() if value is not None} == {"sample": 4}
    assert plain_agreement(np.zeros(0), np.zeros(0))["sample"] == 0
