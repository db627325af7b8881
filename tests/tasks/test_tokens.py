"""BOS exactly once, and answers of exactly one token."""

from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from saecircuits.errors import TaskError
from saecircuits.tasks.tokens import Tokenizer, check_end, encode_answer, encode_prompt, encode_text
from tests.models import build_tokenizer


def test_bos_comes_first_and_once(tokenizer: Tokenizer) -> None:
    ids = encode_prompt("The dog", tokenizer, n_ctx=16)
    assert ids == [tokenizer.bos_token_id, *encode_text("The dog", tokenizer)]
    assert sum(token == tokenizer.bos_token_id for token in ids) == 1


def test_a_text_with_its_own_bos_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(TaskError, match=r"already starts with BOS; leave it out"):
        encode_prompt("<|endoftext|>The dog", tokenizer, n_ctx=16)


def test_a_tokenizer_without_bos_prepends_nothing(tokenizer: Any) -> None:
    without: Any = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer)
    assert encode_prompt("The dog", without, n_ctx=2) == encode_text("The dog", tokenizer)


def test_the_context_counts_bos(letters: Tokenizer) -> None:
    assert len(encode_prompt("abcd", letters, n_ctx=5)) == 5
    with pytest.raises(TaskError) as caught:
        encode_prompt("abcde", letters, n_ctx=5)
    assert str(caught.value) == (
        "the prompt 'abcde' has 6 tokens with BOS, but the model reads 5; shorten it"
    )


def test_an_answer_is_taken_literally(tokenizer: Tokenizer) -> None:
    assert [encode_answer(" dog", tokenizer)] == encode_text(" dog", tokenizer)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            "ab",
            "the answer 'ab' is 2 tokens ('a', 'b'); give one that is exactly one (perhaps ' ab'"
            ", with a leading space?)",
        ),
        (" a", "the answer ' a' is 2 tokens (' ', 'a'); give one that is exactly one"),
    ],
)
def test_an_answer_of_several_tokens_is_refused(
    answer: str, message: str, letters: Tokenizer
) -> None:
    with pytest.raises(TaskError) as caught:
        encode_answer(answer, letters)
    assert str(caught.value) == message


def test_an_empty_answer_is_refused(letters: Tokenizer) -> None:
    with pytest.raises(TaskError, match=r"the answer '' is 0 tokens \(none\)"):
        encode_answer("", letters)


def test_a_space_at_the_end_belongs_to_the_answer(tokenizer: Tokenizer) -> None:
    # Byte-level: " was" is one token, so behind a space of its own no word begins.
    for answer in ("was", " was"):
        with pytest.raises(TaskError, match="write prompts without it, and answers as ' was'"):
            check_end("One day, the dog ", answer, tokenizer)
        check_end("One day, the dog", answer, tokenizer)
    # A digit, or a word of several tokens, does not take the space into its token.
    assert len(tokenizer.encode(" 4", add_special_tokens=False)) == 2
    check_end("2 + 2 = ", "4", tokenizer)


def test_a_tokenizer_without_spaces_takes_any_end() -> None:
    check_end("w1 w2 ", "w3", build_tokenizer())
