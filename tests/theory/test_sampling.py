"""Estimates of large games: exact when everything is drawn, and unbiased when it is not."""

from itertools import combinations
from math import comb

import torch

from saecircuits.theory.interactions import all_subsets, dividends, spectrum
from saecircuits.theory.sampling import (
    diagonal,
    grade_sums,
    random_orders,
    random_triples,
    size_means,
    triple_dividends,
)
from tests.tolerance import Tolerance

CLOSE: Tolerance = {"rtol": 1e-9, "atol": 1e-10}


def _game(count: int, *rest: int) -> torch.Tensor:
    return torch.randn(2**count, *rest, dtype=torch.float64)


def test_means_by_size_give_the_grades() -> None:
    values = _game(7, 2)
    by_grade = spectrum(dividends(values))
    means = size_means(values)
    assert means.shape == (8, 2)
    torch.testing.assert_close(grade_sums(means, 7), by_grade, **CLOSE)
    torch.testing.assert_close(grade_sums(means[:4], 7), by_grade[:4], **CLOSE)


def test_the_diagonal_is_the_mean_over_random_subsets() -> None:
    values = _game(6)
    share = torch.tensor([0.0, 0.3, 0.5, 1.0], dtype=torch.float64)
    size = all_subsets(6).sum(1)
    weights = share[:, None] ** size * (1 - share[:, None]) ** (6 - size)
    found = diagonal(spectrum(dividends(values)), share)
    torch.testing.assert_close(found, weights @ values, **CLOSE)


def test_triples_from_their_values_and_pairs() -> None:
    values, count = _game(6, 3), 6
    member = 2 ** torch.arange(count)
    triples = torch.tensor(list(combinations(range(count), 3)))
    rows = member[triples].sum(1)
    pairs = values[member[:, None] | member[None, :]]
    found = triple_dividends(values[rows], pairs, values[member], values[0], triples)
    torch.testing.assert_close(found, dividends(values)[rows], **CLOSE)
    by_grade = spectrum(dividends(values))
    torch.testing.assert_close(comb(count, 3) * found.mean(0), by_grade[3], **CLOSE)


def test_draws_are_even() -> None:
    generator = torch.Generator().manual_seed(3)
    triples = random_triples(5, 20_000, generator)
    assert bool((triples.diff(dim=1) > 0).all())
    codes, counts = triples.unique(dim=0, return_counts=True)
    assert len(codes) == comb(5, 3)
    assert counts.min() > 0.9 * 2000
    assert counts.max() < 1.1 * 2000
    orders = random_orders(4, 10, generator)
    assert bool((orders.sort(1).values == torch.arange(4)).all())
