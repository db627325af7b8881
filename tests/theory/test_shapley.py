"""A difference split among three causes."""

from itertools import permutations

import torch

from saecircuits.theory import in_order, shapley


def test_shares_are_means_over_all_orders() -> None:
    values = torch.randn(8, 5, 2).double()
    orders = torch.stack([in_order(values, order) for order in permutations(range(3))])
    torch.testing.assert_close(shapley(values), orders.mean(0))
    for parts in (*orders, shapley(values)):
        torch.testing.assert_close(parts.sum(0), values[7] - values[0])


def test_by_hand() -> None:
    # Cause 0 gives 1, cause 1 gives 2, both together 5: the 2 over are shared.
    values = torch.tensor([0.0, 1.0, 2.0, 5.0])
    assert shapley(values).tolist() == [2.0, 3.0]
    assert in_order(values, (0, 1)).tolist() == [1.0, 4.0]
    assert in_order(values, (1, 0)).tolist() == [3.0, 2.0]
