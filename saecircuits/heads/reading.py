"""What a head reads: weights checked on a run, and vectors of the stream as queries or keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.errors import InputError
from saecircuits.splicing import SplicedModel
from saecircuits.splicing.anatomy import Anatomy, Attention, Norm, NotCoveredError, take_apart
from saecircuits.splicing.operators import FULL
from saecircuits.tasks.tokens import encode_prompt

Prompt: TypeAlias = str | Sequence[int]
Side: TypeAlias = Literal["query", "key"]


def read_prompt(model: SplicedModel, prompt: Prompt) -> Int[Tensor, "1 pos"]:
    """Token ids of a text behind what the model prepends; ids are taken as they are."""
    if isinstance(prompt, str):
        front = model.prepended
        prompt = encode_prompt(prompt, model.tokenizer, n_ctx=model.n_ctx, front=front)
    if len(prompt) < 2:
        raise InputError(
            f"the prompt has {len(prompt)} token(s), what is prepended included; give at least two"
        )
    return torch.tensor([list(prompt)], device=model.device)


def check_head(model: SplicedModel, layer: int, head: int) -> None:
    """Raises InputError unless the model has the head."""
    if not 0 <= layer < model.n_layers:
        raise InputError(f"layer {layer} was asked for; the model has layers 0 to "
                         f"{model.n_layers - 1}")  # fmt: skip
    n_heads = int(model.bridge.cfg.n_heads)
    if not 0 <= head < n_heads:
        raise InputError(f"head {head} was asked for; the layer has heads 0 to {n_heads - 1}")


def any_anatomy(model: SplicedModel) -> Anatomy:
    """The model taken apart at a few arbitrary tokens, for what does not depend on the prompt."""
    size = min(int(model.bridge.cfg.d_vocab), 8, model.n_ctx)
    return take_apart(model, torch.arange(size, device=model.device)[None], FULL)


@dataclass(frozen=True, eq=False)
class HeadReader:
    """One head of a run with one prompt, its norms held, as linear maps of the stream."""

    attention: Attention
    head: int

    def normed(
        self, vectors: Float[Tensor, "n d_model"], pos: Int[Tensor, " n"]
    ) -> Float[Tensor, "n d_model"]:
        """Parts of the stream at their positions, behind the layer's norm, without its bias."""
        return self.attention.norm.push(vectors) / self.attention.norm.scale[0, pos]

    def read(
        self, side: Side, vectors: Float[Tensor, "n d_model"], pos: Int[Tensor, " n"]
    ) -> Float[Tensor, "n d_head"]:
        """What parts of the stream add to the queries or keys, as they meet."""
        weight = self.attention.W_Q if side == "query" else self.attention.W_K
        return self._met(side, self.normed(vectors, pos) @ weight[self.head], pos)

    def bias(self, side: Side, pos: Int[Tensor, " n"]) -> Float[Tensor, "n d_head"]:
        """What is in queries or keys whatever the stream: biases of norms and of the weights."""
        attention = self.attention
        weight, bias, inner = (
            (attention.W_Q, attention.b_Q, attention.q_norm)
            if side == "query"
            else (attention.W_K, attention.b_K, attention.k_norm)
        )
        constant = bias[self.head]
        if attention.norm.bias is not None:
            constant = constant + attention.norm.bias @ weight[self.head]
        met = self._met(side, constant.expand(len(pos), -1), pos)
        if inner is not None and inner.bias is not None and inner.bias.any():
            met = met + self._turned(_of_head(inner.bias, self.head, met).expand_as(met), pos)
        return met

    def _met(self, side: Side, projected: Tensor, pos: Tensor) -> Tensor:
        inner = self.attention.q_norm if side == "query" else self.attention.k_norm
        if inner is not None:
            projected = _held(inner, self.head, projected, pos)
        return self._turned(projected, pos)

    def _turned(self, vectors: Tensor, pos: Tensor) -> Tensor:
        rotary = self.attention.rotary
        return vectors if rotary is None else rotary.turn_at(vectors, pos)


def _held(norm: Norm, head: int, vectors: Tensor, pos: Tensor) -> Tensor:
    """A norm of queries or keys with its scale held, on vectors of one head."""
    is_wide = norm.weight.ndim == 1
    if not norm.is_rms:
        if is_wide:
            raise NotCoveredError("a LayerNorm over the queries of all heads mixes them")
        vectors = vectors - vectors.mean(-1, keepdim=True)
    scale = norm.scale[0, pos] if is_wide else norm.scale[0, pos, head]
    return vectors * _of_head(norm.weight, head, vectors) / scale


def _of_head(weight: Tensor, head: int, like: Tensor) -> Tensor:
    return weight.unflatten(0, (-1, like.shape[-1]))[head] if weight.ndim == 1 else weight[head]
