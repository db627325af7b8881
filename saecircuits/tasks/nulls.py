"""Prompts on which there is nothing to find: what a test of circuits must not call a circuit."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from saecircuits.tasks.prompts import Prompts


def unchanged(prompts: Prompts) -> Prompts:
    """The same pairs with the clean prompt as its own corruption: no node has an effect."""
    return replace(
        prompts,
        corrupted_tokens=prompts.clean_tokens,
        corrupted_lengths=prompts.clean_lengths,
        corrupted_spans=prompts.clean_spans,
        texts=tuple((clean, clean) for clean, _ in prompts.texts),
    )


def shuffled_labels(prompts: Prompts, *, seed: int = 0) -> Prompts:
    """The same pairs with right and wrong answers exchanged in a random half of them.

    Each pair is exchanged with probability 1/2, so its metric has either sign with equal chance:
    effects are as large as before, prompt by prompt, and mean nothing.
    """
    generator = torch.Generator().manual_seed(seed)
    is_exchanged = torch.rand(len(prompts), 1, generator=generator, device="cpu") < 0.5
    width = max(prompts.answer_tokens.shape[1], prompts.wrong_tokens.shape[1])

    def wide(values: Tensor) -> Tensor:
        return pad(values, (0, width - values.shape[1]))

    def exchanged(first: Tensor, second: Tensor) -> Tensor:
        return torch.where(is_exchanged, wide(second), wide(first))

    right, wrong = prompts.answer_tokens, prompts.wrong_tokens
    return replace(
        prompts,
        answer_tokens=exchanged(right, wrong),
        wrong_tokens=exchanged(wrong, right),
        answer_mask=exchanged(prompts.answer_mask, prompts.wrong_mask),
        wrong_mask=exchanged(prompts.wrong_mask, prompts.answer_mask),
    )
