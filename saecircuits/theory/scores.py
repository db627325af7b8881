"""Attention scores as sums over pairs of terms.

A query and a key are sums of terms, `q = sum_u q_u` and `k = sum_v k_v`, so their product is

    score[q, k] = scale * sum_u sum_v  q_u . k_v                       (exact)

A softmax looks at differences within a row only. What a pair does for a key is therefore its score
there less its mean over the row's keys, weighted by the pattern: its *contrast*.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def pair_scores(
    queries: Float[Tensor, "n_query_term d_head"],
    keys: Float[Tensor, "n_key_term d_head"],
    scale: float,
) -> Float[Tensor, "n_query_term n_key_term"]:
    """Every pair's part of the score: `scale * q_u . k_v`."""
    return scale * queries @ keys.T


def pair_contrasts(
    pairs: Float[Tensor, "n_query_term n_key_term"],
    key: Int[Tensor, " n_key_term"],
    kind: Int[Tensor, " n_key_term"],
    pattern: Float[Tensor, " n_key"],
    chosen: int,
    n_kinds: int,
) -> Float[Tensor, "n_query_term n_kinds"]:
    """Every pair's score at the chosen key less its mean over all keys under the pattern.

    Args:
        pairs: scores of all pairs at all keys, as `pair_scores` gives them.
        key: the key of every column.
        kind: which term it is, wherever it occurs: the same feature at two keys is of one kind.
        pattern: the row of attention, summing to 1 over the keys.

    Returns:
        For each query term and kind; the sum over both is `score[chosen] - sum_k A[k] score[k]`.
    """
    weight = (key == chosen).to(pairs) - pattern[key]
    return pairs.new_zeros(len(pairs), n_kinds).index_add(1, kind, pairs * weight)


def capped(score: Tensor, cap: float | None) -> Tensor:
    """The score after a soft-cap, `cap * tanh(score / cap)`; unchanged without one."""
    return score if cap is None else cap * torch.tanh(score / cap)
