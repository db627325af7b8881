"""A transformers model of the Llama layout, with the taps that the training of dictionaries needs.

It has what `LanguageModel` has: `final`, which gives what the unembedding reads and shows every
site to a tap, and `unembedding`. Sites are the stream after each layer.
"""

from __future__ import annotations

from pathlib import Path

import torch
from architecture import LanguageModel, Shape, Tap, untouched
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase


class PublicModel(nn.Module):
    """A causal language model with its weights frozen, run in bfloat16."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
        self.whole = loaded.eval().requires_grad_(False)
        self.inner = self.whole.model
        config = self.whole.config
        self.shape = Shape(
            vocabulary=config.vocab_size,
            layers=config.num_hidden_layers,
            width=config.hidden_size,
            heads=config.num_attention_heads,
            hidden=config.intermediate_size,
            context=config.max_position_embeddings,
        )

    @property
    def unembedding(self) -> Tensor:
        """The weight of the unembedding, `[vocabulary, width]`."""
        return self.whole.lm_head.weight

    def final(self, ids: Tensor, low: bool = True, tap: Tap = untouched) -> Tensor:
        """What the unembedding reads. Weights are in bfloat16, whatever `low` says."""
        del low
        stream = self.inner.embed_tokens(ids)
        stream = tap("blocks.0.hook_resid_pre", stream)
        places = torch.arange(ids.shape[1])[None]
        turned = self.inner.rotary_emb(stream, places)
        for index, layer in enumerate(self.inner.layers):
            stream = layer(
                stream, attention_mask=None, position_ids=places, position_embeddings=turned
            )
            stream = tap(f"blocks.{index}.hook_resid_post", stream)
        return self.inner.norm(stream)

    def forward(self, ids: Tensor, tap: Tap = untouched) -> Tensor:
        """Logits at every position, in float32."""
        return (self.final(ids, tap=tap) @ self.unembedding.T).float()


Model = LanguageModel | PublicModel


def tokenizer_of(folder: Path) -> PreTrainedTokenizerBase:
    """The model's tokenizer."""
    return AutoTokenizer.from_pretrained(folder)
