"""The logit difference against numbers worked out by hand."""

from typing import Any

import torch
from torch.testing import assert_close

from saecircuits.tasks import PromptPair, last_position_logits, logit_difference, tokenize
from saecircuits.tasks.tokens import encode_answer


def test_logits_of_the_last_token_before_the_padding() -> None:
    logits = torch.arange(2 * 3 * 5, dtype=torch.float64).reshape(2, 3, 5)
    found = last_position_logits(logits, torch.tensor([3, 2]))
    assert_close(found, torch.stack([logits[0, 2], logits[1, 1]]), rtol=0, atol=0)


def test_logits_of_the_last_token_alone_are_taken_as_they_are() -> None:
    logits = torch.arange(2 * 5, dtype=torch.float64).reshape(2, 1, 5)
    found = last_position_logits(logits, torch.tensor([3, 2]))
    assert_close(found, logits[:, 0], rtol=0, atol=0)


def test_means_over_several_answers(tokenizer: Any) -> None:
    pairs = [
        PromptPair("The dog", "The dogs", (" was", " dog"), (" were",), "1"),
        PromptPair("The cat", "The cats", (" was",), (" were", " dogs", " cats"), "2"),
    ]
    prompts = tokenize(pairs, tokenizer, n_ctx=16)
    logits = torch.full((2, len(tokenizer)), torch.inf, dtype=torch.float64)
    values = {" was": 5.0, " dog": 2.0, " were": 1.0, " dogs": -4.0, " cats": 6.0}
    for text, value in values.items():
        logits[:, encode_answer(text, tokenizer)] = value
    # (5 + 2) / 2 - 1 = 2.5;  5 - (1 - 4 + 6) / 3 = 4. Padding points at an infinite logit.
    expected = torch.tensor([2.5, 4.0], dtype=torch.float64)
    assert_close(logit_difference(logits, prompts), expected, rtol=0, atol=1e-12)


def test_a_shift_of_all_logits_changes_nothing(tokenizer: Any) -> None:
    prompts = tokenize(
        [PromptPair("The dog", "The dogs", (" was",), (" were",), "1")], tokenizer, n_ctx=16
    )
    logits = torch.randn(1, len(tokenizer), dtype=torch.float64, generator=torch.manual_seed(0))
    assert_close(
        logit_difference(logits + 3, prompts), logit_difference(logits, prompts), rtol=0, atol=1e-12
    )
