"""Rows inside the heads of an attention layer, without ever crossing positions densely.

A cotangent `c` at what an attention layer adds to the stream at position p is carried into its
heads, where it is d_head wide. For head h with pattern A, values v, queries q and keys k:

    u_h      = W_O^h c                                  meets sources by  A[h,p,s] u_h . W_V^h dx_s
    dS[h,s]  = A[h,p,s] (u_h . v_hs - sum_s' A[h,p,s'] u_h . v_hs') * slope / sqrt(d_head)
                                                        key part    dS[h,s] q_hp . W_K^h dx_s
    y_h      = sum_s dS[h,s] k_hs                       query part  y_h . W_Q^h dx_p

where `dx` is a source's direction through the norm that the layer reads by and `slope` the
derivative of a soft-cap on scores. Rotary positions turn q and k and norms of q and k change their
lengths, so `dS q` and `y` pass back through both on their way to W_K and W_Q. They are there only
where patterns move (linearization `full`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.splicing.anatomy import Attention


@dataclass(frozen=True, eq=False)
class Crossing:
    """What is left of every row's cotangent once it is inside the heads.

    Where components are told apart, a row has a cotangent for each way that it came here: all rows
    by the first way, then all by the second.

    Attributes:
        value: `u_h`.
        score: `dS[h, s]`; None where patterns are held, and so for the following.
        query: the row's own query, as it meets keys.
        from_keys: `y_h`, as what W_Q gives.
    """

    value: Float[Tensor, "n_row head d_head"]
    score: Float[Tensor, "n_row head pos"] | None
    query: Float[Tensor, "n_row head d_head"] | None
    from_keys: Float[Tensor, "n_row head d_head"] | None


def joined(crossings: Sequence[Crossing]) -> Crossing:
    """The same rows' crossings by several ways, as one."""
    if len(crossings) == 1:
        return crossings[0]
    value = torch.cat([crossing.value for crossing in crossings])
    others = (
        [getattr(crossing, name) for crossing in crossings]
        for name in ("score", "query", "from_keys")
    )
    return Crossing(value, *(None if part[0] is None else torch.cat(part) for part in others))


def cross(
    attention: Attention,
    value: Float[Tensor, "n_row head d_head"],
    prompt: Int[Tensor, " n_row"],
    pos: Int[Tensor, " n_row"],
) -> Crossing:
    """Rows, ordered by prompt, at the heads' results: `u_h` and what follows from it."""
    if attention.is_held:
        return Crossing(value, None, None, None)
    counts = torch.bincount(prompt, minlength=len(attention.pattern)).tolist()
    per_prompt = zip(value.split(counts), pos.split(counts), strict=True)
    scores, from_keys = [], []
    for index, (here, at) in enumerate(per_prompt):
        pattern = attention.pattern[index][:, at]  # [head, row, key]
        moved = torch.einsum("nhd,shd->hns", here, attention.v[index])
        score = pattern * (moved - (pattern * moved).sum(-1, keepdim=True)) * attention.scale
        if attention.slope is not None:
            score = score * attention.slope[index][:, at]
        scores.append(score.transpose(0, 1))
        from_keys.append(torch.einsum("hns,shd->nhd", score, attention.k[index]))
    return Crossing(
        value,
        torch.cat(scores),
        attention.q[prompt, pos],
        attention.pull_back_query(torch.cat(from_keys), prompt, pos),
    )


def reaching(
    attention: Attention,
    crossing: Crossing,
    row: Int[Tensor, " n_pair"],
    own: tuple[Int[Tensor, " n_pair"], Int[Tensor, " n_pair"]],
    *,
    at: Int[Tensor, " n_pair"],
) -> Float[Tensor, "n_pair many_heads d_head"]:
    """What of some rows reaches a token each: by its values, then its keys if patterns move.

    Args:
        row: which rows, among those of the crossing.
        own: their prompts, and the tokens that they stand at.
        at: the tokens reached.
    """
    prompt, pos = own
    left = crossing.value[row] * attention.pattern[prompt, :, pos, at][..., None]
    if crossing.score is None or crossing.query is None:
        return left
    key = crossing.query[row] * crossing.score[row, :, at][..., None]
    key = attention.pull_back_key(key, prompt, at=at)
    return torch.cat([left, key], 1)
