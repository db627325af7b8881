"""Interactions of a game: Harsanyi dividends, their spectrum by grade, and pairwise redundancy.

A game gives every subset S of n members a value v(S). Its dividends are what each subset adds
beyond all its parts (Harsanyi 1963):

    D(S) = sum over R in S of (-1)^(|S|-|R|) v(R)          v(S) = sum over R in S of D(R)

so `v(N) - v(empty)` is the sum of all dividends but D(empty), exactly. The grade of a dividend is
|S|; grade 1 is the additive part of the game.

Subsets are counted in binary: row r of a table holds the subset of the members i whose bit
`(r >> i) & 1` is 1, so row 0 is the empty subset and the last row all members. Trailing axes of a
table (prompts, say) are carried along.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def all_subsets(count: int) -> Bool[Tensor, "n_subset n_member"]:
    """Every subset of `count` members, in the order of the rows of a table; on the CPU."""
    rows = torch.arange(2**count, device="cpu")
    return (rows[:, None] >> torch.arange(count, device="cpu") & 1).bool()


def grades(count: int) -> Int[Tensor, " n_subset"]:
    """How many members each subset has."""
    return all_subsets(count).sum(1)


def dividends(values: Float[Tensor, "n_subset ..."]) -> Float[Tensor, "n_subset ..."]:
    """D of every subset, from v of every subset: the fast Moebius transform, n 2^n additions."""
    out = values.clone()
    for bit in range(_members(values)):
        halves = out.view(-1, 2, 2**bit, *values.shape[1:])
        halves[:, 1] -= halves[:, 0]
    return out


def values_of(dividends: Float[Tensor, "n_subset ..."]) -> Float[Tensor, "n_subset ..."]:
    """v of every subset, from D of every subset: the inverse of `dividends`."""
    out = dividends.clone()
    for bit in range(_members(dividends)):
        halves = out.view(-1, 2, 2**bit, *dividends.shape[1:])
        halves[:, 1] += halves[:, 0]
    return out


def spectrum(dividends: Float[Tensor, "n_subset ..."]) -> Float[Tensor, "n_grade ..."]:
    """The sum of the dividends of every grade, from 0, which is v(empty), to n."""
    count = _members(dividends)
    sums = dividends.new_zeros(count + 1, *dividends.shape[1:])
    return sums.index_add(0, grades(count).to(dividends.device), dividends)


def shapley_values(dividends: Float[Tensor, "n_subset ..."]) -> Float[Tensor, "n_member ..."]:
    """Each member's share when every dividend is divided equally among those who make it.

    They add up to `v(N) - v(empty)` (Shapley 1953; Harsanyi 1963 for this form).
    """
    count = _members(dividends)
    inside = all_subsets(count).to(dividends)
    share = inside / grades(count).clamp(min=1)[:, None].to(dividends)
    return torch.tensordot(share.T, dividends, dims=1)


def mean_grade(dividends: Float[Tensor, "n_subset ..."]) -> Float[Tensor, "..."]:
    """`sum of |S| D(S)` over `sum of D(S)`, the empty subset apart: 1 for an additive game.

    The numerator is also the sum over members of `v(N) - v(N less the member)`, so n + 2 values
    give it for any n. Below 1 where grades above the first cancel the first (backup).
    """
    sums = spectrum(dividends)
    weights = torch.arange(len(sums), device=sums.device).to(sums)
    return torch.tensordot(weights, sums, dims=1) / sums[1:].sum(0)


def redundancy(
    whole: Float[Tensor, "..."],
    without_one: Float[Tensor, "n_member ..."],
    without_two: Float[Tensor, "n_member n_member ..."],
) -> Float[Tensor, "n_member n_member ..."]:
    """`v(N) - v(N less A) - v(N less B) + v(N less A and B)` of every pair; negative means backup.

    It is the sum of the dividends of all subsets that hold both A and B. Negative, it says that
    either covers for the other: together they do more than their single ablations show.

    Args:
        whole: v(N).
        without_one: v(N less A); the diagonal of `without_two` has to be the same.
    """
    return whole - without_one[:, None] - without_one[None, :] + without_two


def redundancy_of(
    values: Float[Tensor, "n_subset ..."],
) -> Float[Tensor, "n_member n_member ..."]:
    """`redundancy` from the whole table; the diagonal is `v(N) - v(N less A)`."""
    count = _members(values)
    member = 2 ** torch.arange(count, device=values.device)
    pair = member[:, None] | member[None, :]
    last = 2**count - 1
    return redundancy(values[last], values[last - member], values[last - pair])


def _members(table: Tensor) -> int:
    count = table.shape[0].bit_length() - 1
    assert table.shape[0] == 2**count, f"a table of subsets has 2^n rows, found {table.shape[0]}"
    return count
