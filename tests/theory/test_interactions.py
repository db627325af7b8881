"""Dividends: the defining sum, its inverse, and games whose interactions are known by hand."""

from itertools import combinations

import pytest
import torch
from torch import Tensor

from saecircuits.theory.interactions import (
    all_subsets,
    dividends,
    grades,
    mean_grade,
    redundancy_of,
    shapley_values,
    spectrum,
    values_of,
)
from tests.tolerance import Tolerance

CLOSE: Tolerance = {"rtol": 1e-12, "atol": 1e-12}


def _random_game(count: int, *rest: int) -> Tensor:
    return torch.randn(2**count, *rest, dtype=torch.float64)


def test_subsets_are_counted_in_binary() -> None:
    expected = [[0, 0], [1, 0], [0, 1], [1, 1]]
    assert all_subsets(2).int().tolist() == expected
    assert grades(3).tolist() == [0, 1, 1, 2, 1, 2, 2, 3]


def test_the_fast_transform_is_the_defining_sum() -> None:
    values = _random_game(5, 3)
    found = dividends(values)
    for row in range(32):
        expected = torch.zeros(3, dtype=torch.float64)
        for other in range(32):
            if other & row == other:
                sign = (-1) ** (row.bit_count() - other.bit_count())
                expected += sign * values[other]
        torch.testing.assert_close(found[row], expected, **CLOSE)


@pytest.mark.parametrize("count", [0, 1, 7, 16])
def test_dividends_add_up_and_invert(count: int) -> None:
    values = _random_game(count, 2)
    before = values.clone()
    found = dividends(values)
    torch.testing.assert_close(values, before, rtol=0, atol=0)
    torch.testing.assert_close(values_of(found), values, rtol=1e-9, atol=1e-9)
    if count < 16:  # 65,536 terms with signs: rounding alone reaches 1e-9 there
        torch.testing.assert_close(found[1:].sum(0), values[-1] - values[0], **CLOSE)
    by_grade = spectrum(found)
    torch.testing.assert_close(by_grade.sum(0), values[-1], rtol=1e-9, atol=1e-8)
    torch.testing.assert_close(by_grade[0], values[0])


def test_an_additive_game_has_grade_one_alone() -> None:
    parts = torch.randn(7, dtype=torch.float64)
    values = 0.3 + all_subsets(7).double() @ parts
    found = dividends(values)
    torch.testing.assert_close(found[2 ** torch.arange(7)], parts, **CLOSE)
    assert found[grades(7) > 1].abs().max() < 1e-13
    torch.testing.assert_close(shapley_values(found), parts, **CLOSE)
    torch.testing.assert_close(mean_grade(found), torch.tensor(1.0).double(), **CLOSE)
    off_diagonal = redundancy_of(values) * (1 - torch.eye(7).double())
    assert off_diagonal.abs().max() < 1e-13


def test_backup_is_negative_and_a_path_is_positive() -> None:
    inside = all_subsets(2).double()
    backup = inside.max(1).values  # either will do
    torch.testing.assert_close(dividends(backup), torch.tensor([0, 1, 1, -1]).double())
    assert redundancy_of(backup)[0, 1] == -1
    assert mean_grade(dividends(backup)) == 0  # neither is missed alone
    path = inside.prod(1)  # both are needed
    torch.testing.assert_close(dividends(path), torch.tensor([0, 0, 0, 1]).double())
    assert redundancy_of(path)[0, 1] == 1
    assert mean_grade(dividends(path)) == 2
    unequal = torch.maximum(2 * inside[:, 0], 3 * inside[:, 1])
    assert redundancy_of(unequal)[0, 1] == -2  # the smaller is what is there twice


def test_redundancy_is_the_sum_of_dividends_that_hold_both() -> None:
    values = _random_game(6)
    found, inside = dividends(values), all_subsets(6)
    table = redundancy_of(values)
    for a, b in combinations(range(6), 2):
        both = found[inside[:, a] & inside[:, b]].sum()
        torch.testing.assert_close(table[a, b], both, **CLOSE)
        assert table[a, b] == table[b, a]


def test_shapley_values_are_means_over_orders() -> None:
    from itertools import permutations

    values = _random_game(4)
    expected = torch.zeros(4, dtype=torch.float64)
    orders = list(permutations(range(4)))
    for order in orders:
        row = 0
        for member in order:
            expected[member] += (values[row | 1 << member] - values[row]) / len(orders)
            row |= 1 << member
    torch.testing.assert_close(shapley_values(dividends(values)), expected, **CLOSE)


def test_the_mean_grade_is_what_each_adds_last() -> None:
    values = _random_game(5)
    last = values[31] - values[31 - 2 ** torch.arange(5)]
    expected = last.sum() / (values[31] - values[0])
    torch.testing.assert_close(mean_grade(dividends(values)), expected, **CLOSE)
