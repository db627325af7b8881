"""A GPT-2 without MLPs: their weights are zero, and stay zero in training.

Hugging Face has no attention-only GPT-2. One whose MLPs write exactly nothing is the same function
and loads everywhere. The unembedding is a matrix of its own: with tied ones the direct path from
a token to the next would have to be symmetric, which bigrams are not.
"""

from __future__ import annotations

import torch
from architecture import LanguageModel, Shape
from torch import Tensor, nn


class AttentionOnly(LanguageModel):
    """The model as it is trained."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.output = nn.Parameter(torch.randn(shape.vocabulary, shape.width) * 0.05)
        for block in self.blocks:
            for layer in (block.ln_2, block.up, block.down):
                layer.requires_grad_(False)
            for layer in (block.up, block.down):
                nn.init.zeros_(layer.weight)

    @property
    def unembedding(self) -> Tensor:
        """The weight of the unembedding, `[vocabulary, width]`."""
        return self.output

    def mlps_are_zero(self) -> bool:
        """Whether every MLP still writes exactly nothing."""
        return all(
            not parameter.any()
            for block in self.blocks
            for layer in (block.up, block.down)
            for parameter in layer.parameters()
        )
