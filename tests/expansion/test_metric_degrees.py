"""A task's metric by degree: it adds up to the model's own, and is what `expand` says."""

import pytest
import torch

import saecircuits as sc
from saecircuits.errors import UnknownNameError
from saecircuits.expansion import metric_degrees
from saecircuits.tasks import PromptPair, last_position_logits, logit_difference, tokenize
from tests.models import Toy


@pytest.mark.parametrize("operator", ["secant", "frozen"])
def test_degrees_add_up_to_the_metric(toy_mixed: Toy, operator: str) -> None:
    model, prompts = toy_mixed.model, toy_mixed.prompts
    found = metric_degrees(model, prompts, operator=operator)
    own = model.bridge(prompts.clean_tokens)
    wanted = logit_difference(last_position_logits(own, prompts.clean_lengths), prompts)
    torch.testing.assert_close(found.value, wanted, rtol=0, atol=1e-11)
    whole = found.terms.sum(1) + found.constant
    torch.testing.assert_close(whole, wanted, rtol=0, atol=1e-11)
    assert found.terms.shape == (len(prompts), 7) and found.paths == (1, 6, 15, 20, 15, 6, 1)


def test_each_prompt_is_expanded_by_itself_and_answers_are_averaged(toy_mixed: Toy) -> None:
    model = toy_mixed.model
    pairs = [
        PromptPair("w4 w9 w2", "w4 w9 w3", answer=("w3", "w8"), wrong=("w5",), id="a"),
        PromptPair("w4 w9 w2 w11 w7", "w4 w9 w2 w11 w8", ("w3",), ("w5", "w6"), "b"),
    ]
    prompts = tokenize(pairs, model.tokenizer, n_ctx=model.n_ctx)
    found = metric_degrees(model, prompts)
    for number, pair in enumerate(pairs):
        one = [
            sc.expand(model, pair.clean, answer=answer, wrong=wrong, naive_degree=0)
            .metric_by_degree().terms
            for answer in pair.answer for wrong in pair.wrong
        ]  # fmt: skip
        torch.testing.assert_close(
            found.terms[number], torch.stack(one).mean(0), rtol=0, atol=1e-11
        )


def test_full_gradients_are_no_affine_operator(toy: Toy) -> None:
    with pytest.raises(UnknownNameError, match="operator"):
        metric_degrees(toy.model, toy.prompts, operator="full")
