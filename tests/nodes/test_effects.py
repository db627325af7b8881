"""Effects of all nodes as tables, and their intervals."""

import numpy as np
import pytest
import torch
from scipy import sparse

from saecircuits.nodes.contrast import TOKENS
from saecircuits.nodes.effects import (
    NodeIndex,
    bootstrap_interval,
    node_effects,
    node_index,
    sign_stability,
)
from saecircuits.nodes.estimators import PlaceGradient, clean_gradients
from saecircuits.nodes.interventions import ERROR, Spot, node_change
from saecircuits.nodes.units import Positions
from tests.models import D_SAE, Toy, make_contrast


def test_numbering_by_hand() -> None:
    # Two units: tokens take columns 0 and 1, a dictionary of two features and its error node
    # 2 to 4 in unit 0 and 5 to 7 in unit 1, one of four features 8 to 12 and 13 to 17.
    index = NodeIndex(n_unit=2, widths=(1, 3, 5))
    assert index.size == 18
    assert [index.start(place) for place in (TOKENS, 0, 1)] == [0, 2, 8]
    assert index.columns(1) == slice(8, 18)
    assert index.column(Spot(TOKENS, 1, ERROR)) == 1
    assert index.column(Spot(0, 1, 1)) == 6
    assert index.column(Spot(0, 1, ERROR)) == 7
    assert index.column(Spot(1, 0, 3)) == 11
    assert index.spot(12) == Spot(1, 0, ERROR)
    assert index.spot(0) == Spot(TOKENS, 0, ERROR)
    assert [index.column(index.spot(column)) for column in range(18)] == list(range(18))
    with pytest.raises(AssertionError, match="column 18 is beyond the last node, 17"):
        index.spot(18)


@pytest.mark.parametrize("positions", ["each", "span", "sum"])
def test_effects_are_gradient_times_change(each_toy: Toy, positions: Positions) -> None:
    # Any gradient will do: E(u) = <dm/dx, clean minus baseline of what u writes>.
    contrast = make_contrast(each_toy.model, each_toy.prompts, positions=positions)
    gradients = {
        place: PlaceGradient(torch.randn_like(contrast.clean_value(place)), torch.zeros(5), None, 1)
        for place in contrast.places
    }
    found = node_effects(contrast, gradients)
    index = node_index(contrast)
    assert found.effects.shape == (5, index.size)
    assert index.widths == (1, *[D_SAE + 1] * len(each_toy.model.splices))
    for column in range(0, index.size, 7):
        spot = index.spot(column)
        expected = (gradients[spot.place].gradient * node_change(contrast, spot)).sum((1, 2))
        torch.testing.assert_close(
            torch.tensor(found.effects[:, [column]].toarray()[:, 0]), expected, rtol=0, atol=1e-11
        )


def test_activations_are_means_over_the_unit_s_tokens(toy_uneven: Toy) -> None:
    contrast = make_contrast(toy_uneven.model, toy_uneven.prompts, positions="span")
    found = node_effects(contrast, clean_gradients(contrast))

    def cell(table: str, row: int, spot: Spot) -> float:
        return float(getattr(found, table)[row, found.index.column(spot)])

    clean, base = contrast.clean, contrast.baseline
    # `subject` of prompt 0 is tokens 2 and 3; prompt 3 has no `start`.
    for feature in range(D_SAE):
        expected = float(clean.sites[1].features[0, 2:4, feature].mean())
        assert cell("activations", 0, Spot(1, 1, feature)) == pytest.approx(expected, abs=1e-12)
        assert cell("activations", 3, Spot(1, 0, feature)) == 0
    norms = [float(base.sites[2].error[0, position].norm()) for position in (2, 3)]
    assert cell("baselines", 0, Spot(2, 1, ERROR)) == pytest.approx(sum(norms) / 2)
    norms = [float(clean.tokens[0, position].norm()) for position in (2, 3)]
    assert cell("activations", 0, Spot(TOKENS, 1, ERROR)) == pytest.approx(sum(norms) / 2)


def test_interval_is_deterministic_and_ordered() -> None:
    sample = np.random.default_rng(1).normal(size=(20, 2500))
    low, high = bootstrap_interval(sample)
    assert low.shape == high.shape == (2500,)
    assert (low < sample.mean(0)).all()
    assert (sample.mean(0) < high).all()
    again = bootstrap_interval(sample)
    np.testing.assert_array_equal(again, (low, high))
    other = bootstrap_interval(sample, seed=1)
    assert np.abs(other[0] - low).max() > 0
    np.testing.assert_allclose(other, (low, high), atol=0.2)


def test_interval_of_a_column_does_not_depend_on_the_others() -> None:
    sample = np.random.default_rng(2).normal(size=(9, 1500))
    low, high = bootstrap_interval(sample)
    for column in (0, 1023, 1024, 1499):
        alone = bootstrap_interval(sample[:, [column]])
        np.testing.assert_allclose(alone, ([low[column]], [high[column]]), rtol=1e-12)


def test_interval_covers_the_mean_as_often_as_it_says() -> None:
    # 400 samples of 50 from a normal distribution: 95% intervals miss its mean about 20 times, and
    # the percentile bootstrap a little more often; 50% intervals about 200 times.
    sample = np.random.default_rng(3).normal(loc=2.0, scale=3.0, size=(50, 400))
    for level, fewest, most in ((0.95, 10, 45), (0.5, 160, 245)):
        low, high = bootstrap_interval(sample, level=level)
        missed = int(((low > 2.0) | (high < 2.0)).sum())
        assert fewest <= missed <= most


def test_interval_width_is_that_of_the_mean() -> None:
    # 1.96 * standard deviation / sqrt(n) on either side, for a large sample.
    sample = np.random.default_rng(4).normal(size=(400, 50))
    low, high = bootstrap_interval(sample)
    expected = 2 * 1.96 * sample.std(0) / 20
    np.testing.assert_allclose(high - low, expected, rtol=0.15)


def test_one_prompt_has_no_interval(toy: Toy) -> None:
    low, high = bootstrap_interval(np.ones((1, 3)))
    assert np.isnan(low).all()
    assert np.isnan(high).all()
    low, high = bootstrap_interval(np.zeros((4, 0)))
    assert low.shape == high.shape == (0,)


def test_sparse_and_dense_agree(toy: Toy) -> None:
    contrast = make_contrast(toy.model, toy.prompts)
    effects = node_effects(contrast, clean_gradients(contrast)).effects
    np.testing.assert_array_equal(
        bootstrap_interval(effects), bootstrap_interval(effects.toarray())
    )


def test_equal_values_have_no_width() -> None:
    low, high = bootstrap_interval(np.full((6, 2), 1.25))
    np.testing.assert_allclose([low, high], 1.25, rtol=1e-15)


def test_sign_stability_by_hand() -> None:
    # Mean 1, two of three above zero; all zero; one zero, means 2/3; a mean of zero; rounding.
    values = np.array(
        [[1.0, 0.0, 0.0, 1.0, 5.0], [-1.0, 0.0, 3.0, -1.0, -1e-9], [3.0, 0.0, -1.0, 0.0, 2.0]]
    )
    expected = [2 / 3, np.nan, 0.5, np.nan, 1.0]
    for given in (values, sparse.csr_matrix(values)):
        np.testing.assert_allclose(sign_stability(given), expected)
    many = np.tile(values, 700)  # more columns than are taken at once
    np.testing.assert_allclose(sign_stability(many), np.tile(expected, 700))
