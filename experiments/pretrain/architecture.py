"""A small GPT-2 in plain torch, faster to train on a CPU than the transformers one.

The state is exported to `GPT2LMHeadModel`, which is what everything else loads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

Tap = Callable[[str, Tensor], Tensor]
"""Sees the activation at a named site and returns what takes its place."""


def untouched(_site: str, activation: Tensor) -> Tensor:
    """The tap that changes nothing."""
    return activation


@dataclass(frozen=True)
class Shape:
    """The sizes of the model."""

    vocabulary: int = 3072
    layers: int = 4
    width: int = 128
    heads: int = 4
    hidden: int = 512
    context: int = 128

    def facts(self) -> dict[str, int | str]:
        """The sizes and choices, for the manifest."""
        return {
            **asdict(self),
            "family": "GPT-2",
            "activation": "gelu (exact)",
            "normalisation": "LayerNorm",
            "positions": "learned",
            "embeddings": "tied",
        }


class Block(nn.Module):
    """One pre-norm transformer block, its sites named as transformer_lens names them."""

    def __init__(self, shape: Shape, index: int) -> None:
        super().__init__()
        self.site = f"blocks.{index}."
        self.heads = shape.heads
        self.ln_1 = nn.LayerNorm(shape.width)
        self.query = nn.Linear(shape.width, shape.width)
        self.key = nn.Linear(shape.width, shape.width)
        self.value = nn.Linear(shape.width, shape.width)
        self.merge = nn.Linear(shape.width, shape.width)
        self.ln_2 = nn.LayerNorm(shape.width)
        self.up = nn.Linear(shape.width, shape.hidden)
        self.down = nn.Linear(shape.hidden, shape.width)

    def _attention(self, stream: Tensor, low: bool) -> Tensor:
        rows, length, width = stream.shape
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=low):
            normed = self.ln_1(stream)
            parts = [part(normed) for part in (self.query, self.key, self.value)]
        split = [part.float().view(rows, length, self.heads, -1).transpose(1, 2) for part in parts]
        mixed = F.scaled_dot_product_attention(*split, is_causal=True)
        mixed = mixed.transpose(1, 2).reshape(rows, length, width)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=low):
            return self.merge(mixed).float()

    def _mlp(self, stream: Tensor, low: bool, tap: Tap) -> Tensor:
        normalized = F.layer_norm(stream, stream.shape[-1:], eps=self.ln_2.eps)
        normalized = tap(self.site + "ln2.hook_normalized", normalized)
        normed = normalized * self.ln_2.weight + self.ln_2.bias
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=low):
            return self.down(F.gelu(self.up(normed))).float()

    def forward(self, stream: Tensor, low: bool, tap: Tap) -> Tensor:
        """Add what attention and the MLP write; `low` runs linear layers in bfloat16."""
        stream = tap(self.site + "hook_resid_pre", stream)
        stream = stream + tap(self.site + "hook_attn_out", self._attention(stream, low))
        stream = stream + tap(self.site + "hook_mlp_out", self._mlp(stream, low, tap))
        return tap(self.site + "hook_resid_post", stream)


class Blocks(nn.ModuleList):
    """The blocks of a model, in order."""

    def __iter__(self) -> Iterator[Block]:
        return cast("Iterator[Block]", super().__iter__())


class LanguageModel(nn.Module):
    """The model as it is trained."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.positions = nn.Embedding(shape.context, shape.width)
        self.blocks = Blocks(Block(shape, index) for index in range(shape.layers))
        self.ln_f = nn.LayerNorm(shape.width)
        nn.init.normal_(self.tokens.weight, std=0.05)
        nn.init.normal_(self.positions.weight, std=0.02)
        for block in self.blocks:
            for layer in (block.query, block.key, block.value, block.merge, block.up, block.down):
                nn.init.normal_(layer.weight, std=0.5 / math.sqrt(layer.in_features))
                nn.init.zeros_(layer.bias)
            for layer in (block.merge, block.down):
                nn.init.zeros_(layer.weight)

    @property
    def unembedding(self) -> Tensor:
        """The weight of the unembedding, `[vocabulary, width]`: here that of the embedding."""
        return self.tokens.weight

    def final(self, ids: Tensor, low: bool = False, tap: Tap = untouched) -> Tensor:
        """What the unembedding reads: the normalised stream after the last block."""
        stream = self.tokens(ids) + self.positions.weight[: ids.shape[1]]
        for block in self.blocks:
            stream = block(stream, low, tap)
        return self.ln_f(stream)

    def forward(self, ids: Tensor, tap: Tap = untouched) -> Tensor:
        """Logits at every position, in float32."""
        return self.final(ids, tap=tap) @ self.unembedding.T

    def loss(self, ids: Tensor, chunk: int = 512) -> Tensor:
        """Mean next-token loss, the logits made and dropped a few rows at a time."""
        hidden = self.final(ids, low=True)[:, :-1].reshape(-1, self.shape.width)
        targets = ids[:, 1:].reshape(-1)
        total = hidden.new_zeros(())
        for part, target in zip(hidden.split(chunk), targets.split(chunk), strict=True):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = part @ self.unembedding.T
            total = total + F.cross_entropy(logits.float(), target, reduction="sum")
        return total / targets.numel()


def to_transformers(model: LanguageModel) -> GPT2LMHeadModel:
    """The same function as a `GPT2LMHeadModel` in float32."""
    shape = model.shape
    config = GPT2Config(
        vocab_size=shape.vocabulary,
        n_positions=shape.context,
        n_embd=shape.width,
        n_layer=shape.layers,
        n_head=shape.heads,
        n_inner=shape.hidden,
        activation_function="gelu",
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        tie_word_embeddings=model.unembedding is model.tokens.weight,
    )
    target = GPT2LMHeadModel(config).eval()
    state = {
        "transformer.wte.weight": model.tokens.weight,
        "transformer.wpe.weight": model.positions.weight,
        "transformer.ln_f.weight": model.ln_f.weight,
        "transformer.ln_f.bias": model.ln_f.bias,
        "lm_head.weight": model.unembedding,
    }
    for index, block in enumerate(model.blocks):
        joined = (block.query, block.key, block.value)
        layers = {
            "attn.c_attn": [
                torch.cat([getattr(part, kind) for part in joined]) for kind in ("weight", "bias")
            ],
            "attn.c_proj": [block.merge.weight, block.merge.bias],
            "mlp.c_fc": [block.up.weight, block.up.bias],
            "mlp.c_proj": [block.down.weight, block.down.bias],
        }
        for name, (weight, bias) in layers.items():
            state[f"transformer.h.{index}.{name}.weight"] = weight.T
            state[f"transformer.h.{index}.{name}.bias"] = bias
        for name in ("ln_1", "ln_2"):
            for kind in ("weight", "bias"):
                state[f"transformer.h.{index}.{name}.{kind}"] = getattr(getattr(block, name), kind)
    target.load_state_dict({name: value.detach().clone() for name, value in state.items()})
    return target


def from_transformers(source: GPT2LMHeadModel, model: LanguageModel) -> None:
    """Give the model the weights of a `GPT2LMHeadModel` of its shape: `to_transformers` undone."""
    state = source.state_dict()

    def copy(target: nn.Module, name: str) -> None:
        for kind in ("weight", "bias"):
            if hasattr(target, kind):
                getattr(target, kind).data.copy_(state[f"transformer.{name}.{kind}"])

    for target, name in ((model.tokens, "wte"), (model.positions, "wpe"), (model.ln_f, "ln_f")):
        copy(target, name)
    for index, block in enumerate(model.blocks):
        prefix = f"transformer.h.{index}"
        for name in ("ln_1", "ln_2"):
            copy(getattr(block, name), f"h.{index}.{name}")
        layers = {
            "attn.c_attn": (block.query, block.key, block.value),
            "attn.c_proj": (block.merge,),
            "mlp.c_fc": (block.up,),
            "mlp.c_proj": (block.down,),
        }
        for name, parts in layers.items():
            weights = state[f"{prefix}.{name}.weight"].T.chunk(len(parts))
            biases = state[f"{prefix}.{name}.bias"].chunk(len(parts))
            for part, weight, bias in zip(parts, weights, biases, strict=True):
                part.weight.data.copy_(weight)
                part.bias.data.copy_(bias)
