"""A difference split among its causes, so that the parts add up exactly.

`values` holds the outcome for every set of causes at work: entry `s` is that of the set whose
members are the bits of s, so entry 0 is with none of them and the last with all.
"""

from collections.abc import Sequence
from math import factorial

import torch
from jaxtyping import Float
from torch import Tensor


def in_order(
    values: Float[Tensor, "n_set ..."], order: Sequence[int]
) -> Float[Tensor, "n_cause ..."]:
    """What each cause adds when they set in one after the other; row = cause, not place in order.

    The rows add up to `values[-1] - values[0]`.
    """
    parts, at_work = torch.zeros_like(values[: len(order)]), 0
    for cause in order:
        parts[cause] = values[at_work | 1 << cause] - values[at_work]
        at_work |= 1 << cause
    return parts


def shapley(values: Float[Tensor, "n_set ..."]) -> Float[Tensor, "n_cause ..."]:
    """What each cause adds, averaged over all orders (Shapley 1953); same sum as `in_order`."""
    n = len(values).bit_length() - 1
    parts = torch.zeros_like(values[:n])
    for cause in range(n):
        for others in range(len(values)):
            if others >> cause & 1:
                continue
            size = others.bit_count()
            weight = factorial(size) * factorial(n - size - 1) / factorial(n)
            parts[cause] += weight * (values[others | 1 << cause] - values[others])
    return parts
