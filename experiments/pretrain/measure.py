"""Measurements of the language model: loss on held-out stories, constructions, stream norms."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from architecture import LanguageModel
from phrases import Example
from sentences import CONSTRUCTIONS, examples
from tokenizer import SPECIAL_ID
from torch import Tensor
from transformers import PreTrainedTokenizerFast

TEST_SEED = 90_001
"""Seed of the test examples; the training passages are drawn from other seeds."""

Logits = Callable[[Tensor], Tensor]


class Prompts:
    """Tokenised examples of one construction, padded on the right."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, chosen: list[Example]) -> None:
        encoded = [tokenizer.encode(example.prompt) for example in chosen]
        longest = max(map(len, encoded))
        self.ids = torch.full((len(encoded), longest), SPECIAL_ID)
        for row, ids in enumerate(encoded):
            self.ids[row, : len(ids)] = torch.tensor(ids)
        self.last = torch.tensor([len(ids) - 1 for ids in encoded])
        self.right = self._answers(tokenizer, [example.right for example in chosen])
        self.wrong = self._answers(tokenizer, [example.wrong for example in chosen])

    @staticmethod
    def _answers(tokenizer: PreTrainedTokenizerFast, answers: list[str]) -> Tensor:
        encoded = [tokenizer.encode(answer, add_special_tokens=False) for answer in answers]
        if any(len(ids) != 1 for ids in encoded):
            raise ValueError("an answer is more than one token")
        return torch.tensor(encoded)[:, 0]

    def differences(self, logits_of: Logits) -> Tensor:
        """Logit of the right answer less that of the wrong one, for every prompt."""
        with torch.no_grad():
            logits = logits_of(self.ids)
        last = logits[torch.arange(len(self.ids)), self.last]
        right = last.gather(1, self.right[:, None])
        return (right - last.gather(1, self.wrong[:, None]))[:, 0]


def test_prompts(
    tokenizer: PreTrainedTokenizerFast, count: int, seed: int = TEST_SEED
) -> dict[str, Prompts]:
    """Fresh prompts of every construction."""
    return {name: Prompts(tokenizer, examples(name, count, seed)) for name in CONSTRUCTIONS}


def construction_scores(
    logits_of: Logits, prompts: dict[str, Prompts]
) -> dict[str, dict[str, float]]:
    """Share of right answers and mean logit difference for every construction."""
    scores = {}
    for name, prompt in prompts.items():
        difference = prompt.differences(logits_of)
        scores[name] = {
            "accuracy": (difference > 0).float().mean().item(),
            "logit_difference": difference.mean().item(),
        }
    return scores


def loss_on(logits_of: Logits, rows: Tensor, batch: int = 64) -> float:
    """Mean next-token loss over rows, in float32."""
    total = 0.0
    with torch.no_grad():
        for part in rows.split(batch):
            logits = logits_of(part)[:, :-1].flatten(0, 1)
            total += F.cross_entropy(logits, part[:, 1:].flatten(), reduction="sum").item()
    return total / (rows.shape[0] * (rows.shape[1] - 1))


def stream_norms(model: LanguageModel, rows: Tensor) -> dict[str, float]:
    """Mean norm of the stream and of what each part writes, all positions but BOS."""
    norms: dict[str, float] = {}

    def tap(site: str, activation: Tensor) -> Tensor:
        if "normalized" not in site and not ("resid_pre" in site and "blocks.0" not in site):
            norms[site] = activation[:, 1:].norm(dim=-1).mean().item()
        return activation

    with torch.no_grad():
        model.final(rows, tap=tap)
    return norms
