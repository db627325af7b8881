"""Tokenised prompts against tensors written down by hand, and the pairs they refuse."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from saecircuits.errors import TaskError
from saecircuits.tasks import PromptPair, Prompts, tokenize
from saecircuits.tasks.tokens import Tokenizer, encode_text


def pair(clean: str, corrupted: str, **changes: object) -> PromptPair:
    """A pair of texts of single letters, answered by single letters."""
    given = {"answer": ("y",), "wrong": ("n",), "id": f"{clean}-{corrupted}", **changes}
    return PromptPair(clean, corrupted, **given)


def exact(found: torch.Tensor, expected: list[object]) -> None:
    assert_close(found, torch.tensor(expected), rtol=0, atol=0)


def test_tensors_of_two_pairs(letters: Tokenizer) -> None:
    a, b, c, n, y, z = encode_text("abcnyz", letters)
    bos = letters.bos_token_id
    prompts = tokenize(
        [
            pair("abc", "abba", clean_spans=(("s", 2, 3),), corrupted_spans=(("s", 2, 4),)),
            pair(
                "cb",
                "ba",
                clean_spans=(("s", 2, 3),),
                corrupted_spans=(("s", 1, 3),),
                answer=("y", "z"),
            ),
        ],
        letters,
        n_ctx=8,
    )
    exact(prompts.clean_tokens, [[bos, a, b, c], [bos, c, b, 0]])
    exact(prompts.corrupted_tokens, [[bos, a, b, b, a], [bos, b, a, 0, 0]])
    exact(prompts.clean_lengths, [4, 3])
    exact(prompts.corrupted_lengths, [5, 3])
    exact(prompts.answer_tokens, [[y, 0], [y, z]])
    exact(prompts.answer_mask, [[True, False], [True, True]])
    exact(prompts.wrong_tokens, [[n], [n]])
    assert prompts.span_names == ("before s", "s", "after s")
    exact(prompts.clean_spans, [[-1, 0, 1, 2], [-1, 0, 1, -1]])
    exact(prompts.corrupted_spans, [[-1, 0, 1, 1, 2], [-1, 1, 1, -1, -1]])
    assert prompts.texts == (("abc", "abba"), ("cb", "ba"))
    assert len(prompts) == 2 and prompts.has_spans and not prompts.is_aligned


def test_without_spans_and_of_one_length_each_token_is_a_span(
    letters: Tokenizer,
) -> None:
    prompts = tokenize([pair("ab", "cb"), pair("ba", "ca")], letters, n_ctx=8)
    assert prompts.require_spans() == ("t1", "t2")
    exact(prompts.clean_spans, [[-1, 0, 1], [-1, 0, 1]])
    assert prompts.is_aligned


def test_without_spans_and_of_several_lengths_spans_are_refused_only_when_needed(
    letters: Tokenizer,
) -> None:
    prompts = tokenize([pair("ab", "cb"), pair("bab", "cab")], letters, n_ctx=8)
    assert not prompts.has_spans and prompts.is_aligned
    assert (prompts.clean_spans == -1).all()
    with pytest.raises(TaskError) as caught:
        prompts.require_spans()
    assert str(caught.value) == (
        "spans were asked for, but the task names none and its prompts have 3 to 4 tokens; add "
        "'spans' to the task file, or use positions='sum'"
    )


@pytest.mark.parametrize(
    ("corrupted_span", "aligned"), [(("s", 1, 2), True), (("s", 2, 3), False), (("s", 1, 3), False)]
)
def test_alignment_means_spans_in_equal_places(
    corrupted_span: tuple[str, int, int], aligned: bool, letters: Tokenizer
) -> None:
    given = pair("abc", "cba", clean_spans=(("s", 1, 2),), corrupted_spans=(corrupted_span,))
    assert tokenize([given], letters, n_ctx=8).is_aligned is aligned


def test_word_spans(tokenizer: Tokenizer) -> None:
    given = pair("The uncle", "The dog", answer=(" was",), wrong=(" were",), by_word=True)
    prompts = tokenize([given], tokenizer, n_ctx=16)
    assert prompts.span_names == ("word 1", "word 2")
    n_uncle = len(encode_text(" uncle", tokenizer))
    assert n_uncle > 1 and not prompts.is_aligned
    exact(prompts.clean_spans, [[-1, 0, *[1] * n_uncle]])
    exact(prompts.corrupted_spans, [[-1, 0, 1]])


def test_unequal_lengths_are_never_aligned(letters: Tokenizer) -> None:
    prompts = tokenize([pair("ab", "cb"), pair("bab", "cab")], letters, n_ctx=8)
    shorter = replace(prompts, corrupted_lengths=prompts.corrupted_lengths - 1)
    assert prompts.is_aligned and not shorter.is_aligned


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([pair("ab", "abc", line=3)], "line 3: clean has 3 tokens and corrupted 4 (with BOS); make "
         "them equal, or add 'spans' so that their tokens can be matched"),
        ([pair("ab", "ba", answer=("yy",), line=2)],
         "line 2: the answer 'yy' is 2 tokens ('y', 'y'); give one that is exactly one (perhaps "
         "' yy', with a leading space?)"),
        ([pair("ab", "ba", answer=("y", "n"))],
         "pair 'ab-ba': 'n' is among the answers and among the wrong ones; keep it in one"),
        ([pair("abcdefgh", "ba", line=4)], "line 4: the prompt 'abcdefgh' has 9 tokens with BOS, "
         "but the model reads 8; shorten it"),
        ([pair("a b", "b", by_word=True)], "pair 'a b-b': clean has 2 words and corrupted 1; make "
         "them equal, or give token ranges as 'spans'"),
        ([pair("ab", "ba", by_word=True), pair("ab", "bb", line=2)],
         "line 2: no spans, but other pairs have them; add 'spans'"),
        ([pair("ab", "ba", clean_spans=(("s", 1, 4),), corrupted_spans=(("s", 1, 2),))],
         "pair 'ab-ba': span 's' is [1, 4], but the text has tokens 1 to 2; a stop is one more "
         "than the last token"),
        ([], "there are 0 prompt pairs; a task needs at least one"),
    ],
)  # fmt: skip
def test_pairs_that_cannot_be_used(
    pairs: list[PromptPair], message: str, letters: Tokenizer
) -> None:
    with pytest.raises(TaskError) as caught:
        tokenize(pairs, letters, n_ctx=8)
    assert str(caught.value) == message


@pytest.fixture
def four(letters: Tokenizer) -> tuple[list[PromptPair], Prompts]:
    """Four pairs of different lengths, with spans, and their tensors."""
    spans = {"clean_spans": (("s", 1, 2),), "corrupted_spans": (("s", 1, 2),)}
    texts = [("ab", "ba"), ("abcd", "dcba"), ("abc", "cb"), ("a", "bbbbb")]
    pairs = [pair(*both, **spans) for both in texts]
    pairs[2] = replace(pairs[2], wrong=("n", "m", "o"))
    return pairs, tokenize(pairs, letters, n_ctx=8)


@pytest.mark.parametrize("indices", [[0], [2, 0], [3], [1, 2, 3]])
def test_a_subset_is_what_tokenising_its_pairs_gives(
    indices: list[int],
    four: tuple[list[PromptPair], Prompts],
    letters: Tokenizer,
) -> None:
    pairs, prompts = four
    subset = prompts.subset(indices)
    direct = tokenize([pairs[index] for index in indices], letters, n_ctx=8)
    assert subset.digest == direct.digest
    assert subset.span_names == prompts.span_names
    for name in ("clean_tokens", "corrupted_tokens", "wrong_tokens", "wrong_mask"):
        exact(getattr(subset, name), getattr(direct, name).tolist())


def test_an_empty_subset_is_refused(four: tuple[list[PromptPair], Prompts]) -> None:
    with pytest.raises(TaskError, match=r"a subset of 0 prompt pairs was asked for"):
        four[1].subset([])


@pytest.mark.parametrize(
    "change",
    [
        {"answer": ("z",)},
        {"wrong": ("z",)},
        {"id": "other"},
        {"corrupted": "dab"},
        {"clean_spans": (("s", 2, 3),), "corrupted_spans": (("s", 2, 3),)},
        {"clean_spans": (("r", 1, 2),), "corrupted_spans": (("r", 1, 2),)},
    ],
)
def test_the_digest_sees_every_change(change: dict[str, object], letters: Tokenizer) -> None:
    spans = {"clean_spans": (("s", 1, 2),), "corrupted_spans": (("s", 1, 2),)}
    given = pair("abc", "cab", **spans)
    before = tokenize([given], letters, n_ctx=8).digest
    assert tokenize([replace(given, line=5)], letters, n_ctx=8).digest == before
    assert tokenize([replace(given, **change)], letters, n_ctx=8).digest != before
