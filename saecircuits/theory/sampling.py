"""Interactions of games too large for a table: what a few values say, without bias.

`f(p) = E[v(random subset, every member in it with probability p)]`, the multilinear extension of v
along its diagonal (Owen 1972), is the polynomial `sum over grades k of G_k p^k`, G_k being the sum
of the dividends of grade k. A binomial mixture of `a_s`, the mean value of a random subset of s
members, it is fixed by them:

    a_s = sum over k of C(s,k)/C(n,k) G_k           G_k = C(n,k) sum over s of (-1)^(k-s) C(k,s) a_s

Both are linear, so unbiased estimates of `a_0 ... a_k` give an unbiased estimate of G_k; its
standard error grows like `C(n,k) 2^k` times that of the `a_s`, which is why high grades of many
members cannot be told apart by sampling, only their sum.

Exact for any n, from few values: G_0 = v(empty); G_1 from the n single members; G_2 from the pairs;
`f(1) - f(0) = v(N) - v(empty)`; and `f'(1)`, the sum of what each member adds last.
"""

from math import comb

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.theory.interactions import grades


def size_means(values: Float[Tensor, "n_subset ..."]) -> Float[Tensor, "n_size ..."]:
    """The mean value of the subsets of every size, from the whole table."""
    size = grades(values.shape[0].bit_length() - 1)
    sums = values.new_zeros(int(size[-1]) + 1, *values.shape[1:]).index_add(0, size, values)
    counts = torch.bincount(size).to(values)
    return sums / counts.view(-1, *[1] * (values.ndim - 1))


def grade_sums(means: Float[Tensor, "n_size ..."], count: int) -> Float[Tensor, "n_size ..."]:
    """`G_0 ... G_k` from `a_0 ... a_k`, exactly (Newton's forward differences).

    Args:
        means: the mean value of subsets of 0, 1, ..., k members.
        count: n, the number of members.
    """
    size = means.shape[0]
    weights = means.new_tensor(
        [[comb(count, k) * (-1) ** (k + s) * comb(k, s) for s in range(size)] for k in range(size)]
    )
    return torch.tensordot(weights, means, dims=1)


def diagonal(
    sums: Float[Tensor, "n_grade ..."], share: Float[Tensor, " point"]
) -> Float[Tensor, "point ..."]:
    """`f(p)` at every share p of members, from the sums of all grades."""
    powers = share[:, None] ** torch.arange(sums.shape[0], device=share.device).to(share)
    return torch.tensordot(powers, sums, dims=1)


def random_orders(
    count: int, draws: int, generator: torch.Generator
) -> Int[Tensor, "draw n_member"]:
    """Members in random order. What each adds as they enter one by one is, on average over the
    orders, its Shapley value (Castro, Gomez and Tejada 2009), and the first s are a random subset
    of s."""
    return torch.rand(draws, count, generator=generator, device=generator.device).argsort(1)


def random_triples(count: int, draws: int, generator: torch.Generator) -> Int[Tensor, "draw three"]:
    """Three different members each, every triple equally likely, drawn with replacement."""
    return random_orders(count, draws, generator)[:, :3].sort(1).values


def triple_dividends(
    values: Float[Tensor, "draw ..."],
    pairs: Float[Tensor, "n_member n_member ..."],
    singles: Float[Tensor, "n_member ..."],
    empty: Float[Tensor, "..."],
    triples: Int[Tensor, "draw three"],
) -> Float[Tensor, "draw ..."]:
    """D of triples from one value each, where the values of all pairs are known.

    `C(n,3)` times their mean over random triples is an unbiased estimate of G_3.
    """
    a, b, c = triples.unbind(1)
    of_pairs = pairs[a, b] + pairs[a, c] + pairs[b, c]
    return values - of_pairs + singles[a] + singles[b] + singles[c] - empty
