"""Attention layers at a recorded run, as linear maps.

For head h with pattern A, values v, queries q and keys k, a layer adds at position p

    sum_h W_O^h z_h,   z_hp = sum_s A[h,p,s] v_hs,   A = softmax(cap(scale * q_hp . k_hs))

In some models queries and keys are normed, and rotary positions turn them, before they meet. Where
patterns move, so do q and k.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.splicing.anatomy.checks import NotCoveredError
from saecircuits.splicing.anatomy.norms import Norm, read_norm
from saecircuits.splicing.anatomy.recording import Recording, times
from saecircuits.splicing.anatomy.rotary import Rotary, read_rotary
from saecircuits.splicing.anatomy.scores import ScoreMap, read_score_map
from saecircuits.splicing.part_hooks import AttentionHooks, NormHooks


@dataclass(frozen=True, eq=False)
class Attention:
    """An attention layer at a run; keys and values are laid out once per query head.

    Attributes:
        W_O: times what the model multiplies the layer's output by before it is added, if it does.
        q: queries as they meet the keys: normed, and turned to their positions; so are the keys.
        scale: what products of queries and keys are multiplied by.
        slope: derivative of the soft-cap on scores; None where there is none.
        q_norm: what queries pass before they meet keys, head by head or all heads side by side;
            None in most models, and where patterns are held.
        k_norm: what keys pass.
        rotary: how queries and keys are turned; None without rotary positions.
        norm: what the layer's input passes first.
        post_norm: what its output passes before it joins the stream; None in most models.
        is_held: True where patterns are constants of the operator.
        b_Q: biases of queries; `b_K` those of keys and `b_V` those of values. Zero where there are
            none.
        cap: the soft-cap on scores, which the scaled product passes before the softmax.
        alibi: what a score gains for every position that the key is further on, by head.
        shared: so many neighbouring query heads have one key head and one value head.
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
    q_norm: Norm | None
    k_norm: Norm | None
    rotary: Rotary | None
    norm: Norm
    post_norm: Norm | None
    is_held: bool
    b_Q: Float[Tensor, "head d_head"]
    b_K: Float[Tensor, "head d_head"]
    b_V: Float[Tensor, "head d_head"]
    cap: float | None = None
    alibi: Float[Tensor, " head"] | None = None
    shared: int = 1

    @property
    def read_at_others(self) -> Float[Tensor, "many_heads d_model d_head"]:
        """The weights by which other tokens are read: W_V, then W_K if patterns move."""
        return self.W_V if self.is_held else torch.cat([self.W_V, self.W_K])

    def into_heads(
        self,
        cotangent: Float[Tensor, "n_row d_model"],
        prompt: Int[Tensor, " n_row"],
        pos: Int[Tensor, " n_row"],
    ) -> Float[Tensor, "n_row head d_head"]:
        """Vector-Jacobian product from what the layer adds to the stream to the heads' results."""
        if self.post_norm is not None:
            cotangent = self.post_norm.pull_back(cotangent, prompt, pos)
        return torch.einsum("nm,hdm->nhd", cotangent, self.W_O)

    def push_to_heads(
        self, change: Float[Tensor, "*lead batch pos d_model"]
    ) -> Float[Tensor, "*lead batch pos head d_head"]:
        """From the stream that the layer reads to the heads' results, the patterns as they are.

        The Jacobian-vector product where patterns are held; otherwise its part through values.
        """
        n_heads, d_model, d_head = self.W_V.shape
        W_V = self.W_V.transpose(0, 1).reshape(d_model, n_heads * d_head)
        values = (self.norm.push_each(change) @ W_V).unflatten(-1, (n_heads, d_head))
        return (self.pattern @ values.transpose(-3, -2)).transpose(-3, -2)

    def push_from_heads(
        self, results: Float[Tensor, "*lead batch pos head d_head"]
    ) -> Float[Tensor, "*lead batch pos d_model"]:
        """Jacobian-vector product from the heads' results to what the layer adds to the stream."""
        written = results.flatten(-2) @ self.W_O.flatten(0, 1)
        return written if self.post_norm is None else self.post_norm.push_each(written)

    def push(
        self, change: Float[Tensor, "*lead batch pos d_model"]
    ) -> Float[Tensor, "*lead batch pos d_model"]:
        """From the stream that the layer reads to what it adds to it, patterns as they are."""
        return self.push_from_heads(self.push_to_heads(change))

    def push_from_head(
        self, results: Float[Tensor, "*lead batch pos d_head"], head: int
    ) -> Float[Tensor, "*lead batch pos d_model"]:
        """As `push_from_heads`, of one head."""
        written = results @ self.W_O[head]
        return written if self.post_norm is None else self.post_norm.push_each(written)

    def push_head(
        self, change: Float[Tensor, "*lead batch pos d_model"], head: int
    ) -> Float[Tensor, "*lead batch pos d_model"]:
        """As `push`, of one head."""
        values = self.norm.push_each(change) @ self.W_V[head]
        return self.push_from_head(self.pattern[:, head] @ values, head)

    def pull_back_query(
        self,
        cotangent: Float[Tensor, "n_row head d_head"],
        prompt: Int[Tensor, " n_row"],
        pos: Int[Tensor, " n_row"],
    ) -> Float[Tensor, "n_row head d_head"]:
        """Vector-Jacobian product from queries as they meet keys to what `W_Q` gives."""
        if self.rotary is not None:
            cotangent = self.rotary.turn_back(cotangent, pos)
        return cotangent if self.q_norm is None else _pull_back(self.q_norm, cotangent, prompt, pos)

    def pull_back_key(
        self,
        cotangent: Float[Tensor, "n_row head d_head"],
        prompt: Int[Tensor, " n_row"],
        *,
        at: Int[Tensor, " n_row"],
    ) -> Float[Tensor, "n_row head d_head"]:
        """As `pull_back_query`, from keys at some tokens to what `W_K` gives.

        Where one norm is over all heads side by side, what it makes one head's key do to another's
        counts for the head before the norm.
        """
        if self.rotary is not None:
            cotangent = self.rotary.turn_back(cotangent, at)
        if self.k_norm is None:
            return cotangent
        return _pull_back(self.k_norm, cotangent, prompt, at)


def _pull_back(norm: Norm, cotangent: Tensor, prompt: Tensor, pos: Tensor) -> Tensor:
    if norm.normalized.ndim == 4:
        return norm.pull_back(cotangent, prompt, pos)
    # All heads side by side.
    return norm.pull_back(cotangent.flatten(1), prompt, pos).unflatten(1, cotangent.shape[1:])


def read_attention(
    recording: Recording,
    hooks: AttentionHooks,
    *,
    ends: tuple[Tensor, Tensor],
    norms: tuple[Norm, Norm | None],
) -> Attention:
    """An attention layer of the run, its weights checked.

    Args:
        ends: what its first weights read, after the norm, and what its last weights give.
        norms: before the layer, and after it.
    """
    name, (reads, gives) = hooks.module, ends
    q, k, v, z = (recording[hook] for hook in (hooks.q, hooks.k, hooks.v, hooks.heads))
    pattern = recording[hooks.pattern]
    if any(x.ndim != 4 for x in (q, k, v, z)):
        raise NotCoveredError(f"{name} does not record its tensors by head")
    n_heads = q.shape[2]
    W_Q, W_K, W_V, W_O = (_by_head(recording, name, letter, n_heads) for letter in "QKVO")
    v = _per_query_head(v, n_heads)
    biases = []
    for what, W, value in (
        ("W_Q", W_Q, q),
        ("W_K", W_K, _per_query_head(k, n_heads)),
        ("W_V", W_V, v),
    ):
        product = torch.einsum("btm,hmd->bthd", reads, W)
        recording.linear_agrees(f"{name} ({what})", product, value)
        biases.append((value - product)[0, 0])
    made = torch.einsum("bthd,hdm->btm", z, W_O)
    W_O = times(W_O, recording.scale_of(f"{name} (W_O)", made, gives))
    recording.agree(f"{name} (values)", torch.einsum("bhts,bshd->bthd", pattern, v), z)
    scores, rotary, q_norm, k_norm = ScoreMap(1.0, None, None, None), None, None, None
    if not recording.is_held:
        q_norm, q = _normed(recording, hooks.q_norm, q, n_heads)
        k_norm, k = _normed(recording, hooks.k_norm, k, n_heads)
        rotary = read_rotary(recording, hooks, q.shape[1])
        if rotary is not None:
            q, k = rotary.turn(q), rotary.turn(k)
        products = torch.einsum("bthd,bshd->bhts", q, k)
        scores = read_score_map(recording, hooks, products)
    return Attention(
        *(W_Q, W_K, W_V, W_O, pattern, q, _per_query_head(k, n_heads), v),
        scale=scores.scale, slope=scores.slope, q_norm=q_norm, k_norm=k_norm, rotary=rotary,
        norm=norms[0], post_norm=norms[1], is_held=recording.is_held,
        b_Q=biases[0], b_K=biases[1], b_V=biases[2], cap=scores.cap, alibi=scores.alibi,
        shared=n_heads // len(recording.weight(name, "W_K")),
    )  # fmt: skip


def _by_head(recording: Recording, module: str, letter: str, n_heads: int) -> Tensor:
    weight = recording.weight(module, f"W_{letter}")
    if weight.ndim != 3:
        raise NotCoveredError(f"{module} has no W_{letter} by head")
    return _repeated(weight, n_heads, 0)


def _per_query_head(tensor: Tensor, n_heads: int) -> Tensor:
    """Each key or value head repeated for the query heads that share it; `[..., head, d_head]`."""
    return _repeated(tensor, n_heads, -2)


def _repeated(tensor: Tensor, n_heads: int, dim: int) -> Tensor:
    times = n_heads // tensor.shape[dim]
    return tensor if times == 1 else tensor.repeat_interleave(times, dim)


def _normed(
    recording: Recording,
    hooks: NormHooks,
    raw: Float[Tensor, "batch pos head d_head"],
    n_heads: int,
) -> tuple[Norm | None, Float[Tensor, "batch pos n_heads d_head"]]:
    """What queries or keys pass, and what comes of it, laid out once per query head."""
    if hooks.out not in recording:
        return None, _per_query_head(raw, n_heads)
    out = recording[hooks.out]
    is_wide = out.ndim == 3  # all heads side by side
    norm = read_norm(recording, hooks, reads=raw.flatten(2) if is_wide else raw)

    def laid_out(tensor: Tensor) -> Tensor:
        if not is_wide:
            return _per_query_head(tensor, n_heads)
        return _per_query_head(tensor.unflatten(-1, raw.shape[2:]), n_heads).flatten(-2)

    norm = replace(
        norm,
        weight=laid_out(norm.weight),
        scale=norm.scale if is_wide else laid_out(norm.scale),
        normalized=laid_out(norm.normalized),
        bias=None if norm.bias is None else laid_out(norm.bias),
    )
    by_head = out.unflatten(-1, raw.shape[2:]) if is_wide else out.transpose(1, 2)
    return norm, _per_query_head(by_head, n_heads)
