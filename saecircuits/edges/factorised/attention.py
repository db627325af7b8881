"""Norms and attention as linear maps at a recorded run, without ever crossing positions densely.

A cotangent `c` at what an attention layer adds to the stream at position p is carried into its
heads, where it is d_head wide. For head h with pattern A, values v, queries q and keys k:

    u_h      = W_O^h c                                  meets sources by  A[h,p,s] u_h . W_V^h dx_s
    dS[h,s]  = A[h,p,s] (u_h . v_hs - sum_s' A[h,p,s'] u_h . v_hs') * slope / sqrt(d_head)
                                                        key part    dS[h,s] q_hp . W_K^h dx_s
    y_h      = sum_s dS[h,s] k_hs                       query part  y_h . W_Q^h dx_p

where `dx` is a source's direction through the norm that the layer reads by, `slope` the derivative
of a soft-cap on scores, and rotary positions turn q and k. dS and y are there only where patterns
move (linearization `full`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.edges.factorised.checks import NotCoveredError, agree, linear_agrees


@dataclass(frozen=True, eq=False)
class Norm:
    """LayerNorm or RMSNorm at every token of a run.

    Attributes:
        scale: what was divided by: standard deviation or root mean square.
        normalized: the result before the weight.
        is_held: True where the scale is a constant of the operator.
    """

    weight: Float[Tensor, " d_model"]
    scale: Float[Tensor, "batch pos 1"]
    normalized: Float[Tensor, "batch pos d_model"]
    is_rms: bool
    is_held: bool

    def pull_back(
        self,
        cotangent: Float[Tensor, "n_row d_model"],
        prompt: Int[Tensor, " n_row"],
        pos: Int[Tensor, " n_row"],
        *,
        with_weight: bool = True,
    ) -> Float[Tensor, "n_row d_model"]:
        """Vector-Jacobian product at each row's own token; optionally from before the weight."""
        out = cotangent * self.weight if with_weight else cotangent
        if not self.is_held:
            normalized = self.normalized[prompt, pos]
            out = out - normalized * (normalized * out).mean(-1, keepdim=True)
        if not self.is_rms:
            out = out - out.mean(-1, keepdim=True)
        return out / self.scale[prompt, pos]

    def push(self, vectors: Float[Tensor, "*lead d_model"]) -> Float[Tensor, "*lead d_model"]:
        """The part of the derivative that is the same at every token: centred, weighted."""
        centred = vectors if self.is_rms else vectors - vectors.mean(-1, keepdim=True)
        return centred * self.weight

    def along(
        self, vectors: Float[Tensor, "n_source d_model"]
    ) -> Float[Tensor, "batch pos n_source"] | None:
        """How much of each direction changes the scale: `n . d / d_model`; None if it is held."""
        if self.is_held:
            return None
        return self.normalized @ vectors.T / vectors.shape[-1]

    def push_each(
        self, vectors: Float[Tensor, "batch pos d_model"]
    ) -> Float[Tensor, "batch pos d_model"]:
        """The derivative at every token along a vector of its own."""
        centred = vectors if self.is_rms else vectors - vectors.mean(-1, keepdim=True)
        if not self.is_held:
            inner = (self.normalized * vectors).mean(-1, keepdim=True)
            centred = centred - self.normalized * inner
        return centred * self.weight / self.scale


@dataclass(frozen=True, eq=False)
class Crossing:
    """What is left of every row's cotangent once it is inside the heads.

    Attributes:
        value: `u_h`.
        score: `dS[h, s]`; None where patterns are held, and so for the following.
        query: the row's own query, rotated to its position.
        from_keys: `y_h`, rotated back to the row's position.
    """

    value: Float[Tensor, "n_row head d_head"]
    score: Float[Tensor, "n_row head pos"] | None
    query: Float[Tensor, "n_row head d_head"] | None
    from_keys: Float[Tensor, "n_row head d_head"] | None

    def rows(self, chosen: Int[Tensor, " n_chosen"]) -> "Crossing":
        """Some of the rows."""
        return Crossing(
            self.value[chosen],
            *(
                None if part is None else part[chosen]
                for part in (self.score, self.query, self.from_keys)
            ),
        )


@dataclass(frozen=True, eq=False)
class Attention:
    """An attention layer at a run; keys and values are laid out once per query head.

    Attributes:
        q: queries as they meet the keys: rotated to their positions, as are the keys.
        scale: what products of queries and keys are multiplied by.
        slope: derivative of the soft-cap on scores; None where there is none.
        turn: cosines and sines of the rotary angles by position; None without rotary positions.
    """

    W_Q: Float[Tensor, "head d_model d_head"]
    W_K: Float[Tensor, "head d_model d_head"]
    W_V: Float[Tensor, "head d_model d_head"]
    W_O: Float[Tensor, "head d_head d_model"]
    pattern: Float[Tensor, "batch head pos pos_key"]
    q: Float[Tensor, "batch pos head d_head"]
    k: Float[Tensor, "batch pos head d_head"]
    v: Float[Tensor, "batch pos head d_head"]
    scale: float
    slope: Float[Tensor, "batch head pos pos_key"] | None
    turn: tuple[Float[Tensor, "pos d_rotary"], Float[Tensor, "pos d_rotary"]] | None
    norm: Norm
    post_norm: Norm | None

    @property
    def is_held(self) -> bool:
        """True where patterns are constants of the operator."""
        return self.norm.is_held

    def into_heads(
        self,
        cotangent: Float[Tensor, "n_row d_model"],
        prompt: Int[Tensor, " n_row"],
        pos: Int[Tensor, " n_row"],
    ) -> Float[Tensor, "n_row head d_head"]:
        """`u_h`: from what the layer adds to the stream to the heads' results."""
        if self.post_norm is not None:
            cotangent = self.post_norm.pull_back(cotangent, prompt, pos)
        return torch.einsum("nm,hdm->nhd", cotangent, self.W_O)

    def cross(
        self,
        value: Float[Tensor, "n_row head d_head"],
        prompt: Int[Tensor, " n_row"],
        pos: Int[Tensor, " n_row"],
    ) -> Crossing:
        """Rows, ordered by prompt, at the heads' results: `u_h` and what follows from it."""
        if self.is_held:
            return Crossing(value, None, None, None)
        counts = torch.bincount(prompt, minlength=len(self.pattern)).tolist()
        per_prompt = zip(value.split(counts), pos.split(counts), strict=True)
        scores, from_keys = [], []
        for index, (here, at) in enumerate(per_prompt):
            pattern = self.pattern[index][:, at]  # [head, row, key]
            moved = torch.einsum("nhd,shd->hns", here, self.v[index])
            score = pattern * (moved - (pattern * moved).sum(-1, keepdim=True)) * self.scale
            if self.slope is not None:
                score = score * self.slope[index][:, at]
            scores.append(score.transpose(0, 1))
            from_keys.append(torch.einsum("hns,shd->nhd", score, self.k[index]))
        return Crossing(
            value,
            torch.cat(scores),
            self.q[prompt, pos],
            self.turn_back(torch.cat(from_keys), pos),
        )

    def reaching(
        self,
        crossing: Crossing,
        prompt: Int[Tensor, " n_row"],
        pos: Int[Tensor, " n_row"],
        *,
        at: int,
    ) -> Float[Tensor, "n_row head wide"]:
        """What of every row reaches the token `at`: for its value, and its key if patterns move."""
        left = crossing.value * self.pattern[prompt, :, pos, at][..., None]
        if crossing.score is None or crossing.query is None:
            return left
        key = self.turn_back(crossing.query, at) * crossing.score[..., at, None]
        return torch.cat([left, key], -1)

    @property
    def read_at_others(self) -> Float[Tensor, "head d_model wide"]:
        """The weights by which other tokens are read: W_V, and W_K if patterns move."""
        return self.W_V if self.is_held else torch.cat([self.W_V, self.W_K], -1)

    def leave(
        self, crossing: Crossing, prompt: Int[Tensor, " n_row"], pos: Int[Tensor, " n_row"]
    ) -> Iterator[tuple[int, Int[Tensor, " n_later"], Float[Tensor, "n_later d_model"]]]:
        """Rows carried on, out of the heads to the stream that the layer reads.

        Returns:
            Token by token: the token, which rows reach it, and their cotangents there.
        """
        for at in range(self.pattern.shape[-1]):
            row = (pos >= at).nonzero()[:, 0]
            here = crossing.rows(row)
            left = self.reaching(here, prompt[row], pos[row], at=at)
            vectors = torch.einsum("nhd,hmd->nm", left, self.read_at_others)
            if here.from_keys is not None:
                own = (pos[row] == at)[:, None, None]
                vectors += torch.einsum("nhd,hmd->nm", here.from_keys * own, self.W_Q)
            yield at, row, self.norm.pull_back(vectors, prompt[row], torch.full_like(row, at))

    def turn_back(
        self, vectors: Float[Tensor, "n_row head d_head"], pos: Int[Tensor, " n_row"] | int
    ) -> Float[Tensor, "n_row head d_head"]:
        """The transposed rotation of each row's position, or of one position for all."""
        if self.turn is None:
            return vectors
        cos, sin = (angle[pos].unsqueeze(-2) for angle in self.turn)
        return _turned(vectors, cos, -sin)


def read_attention(
    bridge: Any,
    layer: int,
    seen: Mapping[str, Tensor],
    *,
    norms: tuple[Norm, Norm | None],
    is_held: bool,
) -> Attention:
    """The layer's attention from its recorded tensors, its weights checked against them."""
    stem = f"blocks.{layer}.attn"
    names = ("q", "k", "v", "z", "pattern", "attn_scores")
    missing = [name for name in names if f"{stem}.hook_{name}" not in seen]
    if missing:
        raise NotCoveredError(f"{stem} records no hook_{missing[0]}")
    q, k, v, z, pattern, scores = (seen[f"{stem}.hook_{name}"] for name in names)
    read = seen[f"blocks.{layer}.ln1.hook_out"]
    if any(x.ndim != 4 for x in (q, k, v, z)):
        raise NotCoveredError(f"{stem} does not record its tensors by head")
    W_Q, W_K, W_V, W_O = (_by_head(bridge, layer, name, q) for name in ("Q", "K", "V", "O"))
    k, v = (_per_query_head(x, q.shape[2], 2) for x in (k, v))
    for what, W, value in (("W_Q", W_Q, q), ("W_K", W_K, k), ("W_V", W_V, v)):
        linear_agrees(f"{stem} ({what})", torch.einsum("btm,hmd->bthd", read, W), value)
    linear_agrees(f"{stem} (W_O)", torch.einsum("bthd,hdm->btm", z, W_O), seen[f"{stem}.hook_out"])
    agree(f"{stem} (values)", torch.einsum("bhts,bshd->bthd", pattern, v), z)
    turn = None
    if f"{stem}.hook_cos" in seen:
        turn = (seen[f"{stem}.hook_cos"][0], seen[f"{stem}.hook_sin"][0])
        q, k = (_turned(x, *(angle[:, None] for angle in turn)) for x in (q, k))
    scale, slope = (1.0, None) if is_held else _score_map(bridge, stem, q, k, pattern, scores)
    return Attention(
        *(W_Q, W_K, W_V, W_O, pattern, q, k, v), scale=scale, slope=slope, turn=turn,
        norm=norms[0], post_norm=norms[1],
    )  # fmt: skip


def _score_map(
    bridge: Any, stem: str, q: Tensor, k: Tensor, pattern: Tensor, scores: Tensor
) -> tuple[float, Tensor | None]:
    """What products of queries and keys are multiplied by, and the slope of a soft-cap."""
    agree(f"{stem} (softmax)", scores.softmax(-1), pattern)
    allowed = scores > torch.finfo(scores.dtype).min / 2  # the causal mask
    scores = torch.where(allowed, scores, 0.0)
    cap = float(getattr(bridge.cfg, "attn_scores_soft_cap", None) or -1.0)
    raw = cap * torch.atanh(scores / cap) if cap > 0 else scores
    products = torch.einsum("bthd,bshd->bhts", q, k) * allowed
    scale = float((products * raw).sum() / (products * products).sum())
    agree(f"{stem} (scores)", scale * products, raw)
    return scale, (1 - (scores / cap) ** 2 if cap > 0 else None)


def _by_head(bridge: Any, layer: int, name: str, q: Tensor) -> Tensor:
    weight = getattr(bridge.blocks[layer].attn, f"W_{name}", None)
    if weight is None or weight.ndim != 3:
        raise NotCoveredError(f"blocks.{layer}.attn has no W_{name} by head")
    return _per_query_head(weight.detach(), q.shape[2], 0)


def _per_query_head(tensor: Tensor, n_heads: int, dim: int) -> Tensor:
    """Each key or value head repeated for the query heads that share it."""
    return tensor.repeat_interleave(n_heads // tensor.shape[dim], dim)


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions on the first `d_rotary` entries: halves are the two axes of each plane."""
    width = cos.shape[-1]
    front, rest = x[..., :width], x[..., width:]
    first, second = front.chunk(2, -1)
    front = front * cos + torch.cat([-second, first], -1) * sin
    return torch.cat([front, rest], -1)
