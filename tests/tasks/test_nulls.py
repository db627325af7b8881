"""Prompts without anything to find."""

import torch

from saecircuits.tasks import logit_difference
from saecircuits.tasks.nulls import shuffled_labels, unchanged
from tests.models import Toy


def test_unchanged_pairs_are_one_prompt(toy: Toy) -> None:
    null = unchanged(toy.prompts)
    assert torch.equal(null.corrupted_tokens, toy.prompts.clean_tokens)
    assert null.is_aligned
    assert null.digest != toy.prompts.digest


def test_shuffled_labels_turn_the_metric_of_some_pairs(toy_uneven: Toy) -> None:
    prompts = toy_uneven.prompts
    logits = torch.randn(len(prompts), 23, dtype=torch.float64)
    own = logit_difference(logits, prompts)
    signs = set()
    for seed in range(6):
        ratio = logit_difference(logits, shuffled_labels(prompts, seed=seed)) / own
        torch.testing.assert_close(ratio.abs(), torch.ones_like(ratio))
        signs.add(tuple(ratio.sign().tolist()))
    assert len(signs) > 2
