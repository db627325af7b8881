"""Tests over prompts: against scipy, by hand, and under their null hypotheses."""

import numpy as np
import pytest
from scipy import stats

from saecircuits.validation.statistics import (
    benjamini_hochberg,
    exceedance_p,
    holm,
    sign_flip_p,
    sign_resampled,
    smallest_effect,
)


def _mean_difference(first: np.ndarray, second: np.ndarray, axis: int) -> np.ndarray:
    return first.mean(axis) - second.mean(axis)


def test_exact_sign_flips_are_those_of_scipy() -> None:
    values = np.random.default_rng(3).normal(0.4, 1, size=(5, 9))
    for row, found in zip(values, sign_flip_p(values), strict=True):
        theirs = stats.permutation_test(
            (row, np.zeros_like(row)),
            _mean_difference,
            permutation_type="samples",
            alternative="greater",
            n_resamples=2**9,  # all of them: then scipy draws none
            vectorized=True,
        )
        assert found == pytest.approx(theirs.pvalue, rel=1e-12)


def test_sampled_sign_flips_are_near_the_exact_ones() -> None:
    values = np.random.default_rng(4).normal(0.4, 1, size=(4, 12))
    np.testing.assert_allclose(sign_flip_p(values, flips=2000), sign_flip_p(values), atol=0.03)


def test_sign_flips_by_hand() -> None:
    # Of eight signs of (3, 2, 1) the sums are 6, 4, 2, 0, 0, -2, -4, -6.
    values = np.array([[3.0, 2.0, 1.0], [-1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(sign_flip_p(values), [1 / 8, 2 / 8, 1.0])


def test_sign_flips_keep_their_level_and_have_their_power() -> None:
    generator = np.random.default_rng(5)
    null = generator.laplace(0, 1, size=(400, 24))
    rejected = int((sign_flip_p(null, flips=999) <= 0.05).sum())
    assert stats.binom.ppf(0.001, 400, 0.05) <= rejected <= stats.binom.ppf(0.999, 400, 0.05)
    shift = smallest_effect(1.0, 24, level=0.05, power=0.8)
    seen = (sign_flip_p(generator.normal(shift, 1, size=(400, 24)), flips=999) <= 0.05).mean()
    assert seen == pytest.approx(0.8, abs=0.07)


def test_smallest_effect_shrinks_with_prompts_and_grows_with_the_spread() -> None:
    at = smallest_effect(1.0, 10, level=0.05, power=0.8)
    assert smallest_effect(1.0, 40, level=0.05, power=0.8) < at / 1.9
    assert smallest_effect(3.0, 10, level=0.05, power=0.8) == pytest.approx(3 * at)
    assert smallest_effect(1.0, 10, level=0.001, power=0.8) > at
    assert np.isnan(smallest_effect(1.0, 1, level=0.05, power=0.8))


def test_exceedance_counts_the_circuit_itself() -> None:
    assert exceedance_p(3.0, np.array([1.0, 3.0, 5.0])) == 3 / 4
    assert exceedance_p(9.0, np.zeros(19)) == 1 / 20


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.5 times 4, 3, 2, 1, none below one before it.
    found = holm(np.array([0.03, 0.01, 0.5, 0.02]))
    np.testing.assert_allclose(found, [0.06, 0.04, 0.5, 0.06])
    assert holm(np.array([])).shape == benjamini_hochberg(np.array([])).shape == (0,)


def test_holm_bounds_any_false_finding() -> None:
    uniform = np.random.default_rng(6).uniform(size=(2000, 7))
    wrong = int(sum((holm(row) <= 0.05).any() for row in uniform))
    assert wrong <= stats.binom.ppf(0.999, 2000, 0.05)
    assert wrong >= stats.binom.ppf(0.001, 2000, 0.045)


def test_sign_resampled() -> None:
    values = np.array([[1.0, 2.0, 3.0, 4.0], [1.0, -1.0, 1.0, -1.0], [0.0] * 4, [-5.0, -1, -1, 1]])
    always, even, never, mostly = sign_resampled(values)
    assert always == 1.0
    assert even == never == 0.0  # their means are zero and have no sign to keep
    assert 0.8 < mostly < 1.0
