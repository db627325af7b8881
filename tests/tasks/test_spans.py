"""Spans partition a prompt, under names that do not depend on its length."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saecircuits.errors import TaskError
from saecircuits.tasks.spans import Span, check_spans, merged_names, partition, word_spans
from saecircuits.tasks.tokens import Tokenizer, encode_text


@st.composite
def prompts_with_spans(draw: st.DrawFn) -> tuple[list[Span], int]:
    """Ranges that do not overlap, shuffled, and the length of a prompt that holds them."""
    cuts = sorted(draw(st.sets(st.integers(1, 30), min_size=2, max_size=12)))
    ranges = list(zip(cuts[::2], cuts[1::2], strict=False))
    spans = [(f"s{number}", *bounds) for number, bounds in enumerate(ranges)]
    return draw(st.permutations(spans)), draw(st.integers(cuts[-1], 40))


@given(prompts_with_spans())
def test_every_token_but_bos_is_in_one_span(case: tuple[list[Span], int]) -> None:
    named, length = case
    complete = partition(named, length)
    assert [place for _, start, stop in complete for place in range(start, stop)] == list(
        range(1, length)
    )
    assert set(named) <= set(complete)
    assert len({name for name, _, _ in complete}) == len(complete)


def test_gaps_are_named_after_their_neighbours() -> None:
    #  BOS One day , the dog near it was    0 | 1 2 3 4 | 5 | 6 7 | 8
    assert partition([("verb", 8, 9), ("subject", 5, 6)], 9) == (
        ("before subject", 1, 5),
        ("subject", 5, 6),
        ("after subject", 6, 8),
        ("verb", 8, 9),
    )
    assert partition([("subject", 1, 2)], 4) == (("subject", 1, 2), ("after subject", 2, 4))


def test_gap_names_agree_when_lengths_differ() -> None:
    short = partition([("a", 2, 3), ("b", 4, 5)], 6)
    long = partition([("a", 5, 9), ("b", 14, 15)], 29)
    assert [name for name, _, _ in short] == [name for name, _, _ in long]


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([("a", 0, 2)], "span 'a' starts at 0, inside 'what is prepended' [0, 1]; spans must not "
         "overlap, and a text begins at 1"),
        ([("b", 3, 5), ("a", 2, 4)], "span 'b' starts at 3, inside 'a' [2, 4]; spans must not "
         "overlap, and a text begins at 1"),
        ([("a", 2, 2)], "span 'a' is [2, 2]; its stop must be above its start"),
        ([("a", 5, 2)], "span 'a' is [5, 2]; its stop must be above its start"),
        ([("a", 1, 2), ("a", 3, 4)], "two spans are called 'a'; a name stands for one range"),
        ([("", 1, 2)], "the span [1, 2] has no name; give it one"),
    ],
)  # fmt: skip
def test_faulty_spans_are_refused(spans: list[Span], message: str) -> None:
    with pytest.raises(TaskError) as caught:
        check_spans(spans)
    assert str(caught.value) == message


def test_a_span_past_the_end_is_refused() -> None:
    with pytest.raises(TaskError) as caught:
        partition([("a", 2, 5)], 4)
    assert str(caught.value) == (
        "span 'a' is [2, 5], but the text has tokens 1 to 3; a stop is one more than the last token"
    )


def test_a_name_that_a_gap_needs_is_refused() -> None:
    with pytest.raises(TaskError, match=r"'after a' is the name of a gap between spans"):
        partition([("a", 1, 2), ("after a", 3, 4)], 4)


def test_words_take_all_their_tokens(letters: Tokenizer) -> None:
    text = "a bc\n d "  # the trailing space belongs to the last word
    assert word_spans(text, encode_text(text, letters), letters) == (
        ("word 1", 1, 2),
        ("word 2", 2, 5),
        ("word 3", 5, 9),
    )


def test_words_with_several_bytes_a_letter(letters: Tokenizer) -> None:
    text = "é ü"
    assert word_spans(text, encode_text(text, letters), letters) == (
        ("word 1", 1, 3),
        ("word 2", 3, 6),
    )


class WholeTextTokenizer:
    """Makes one token of any text."""

    bos_token_id: int | None = 0

    def __init__(self, text: str) -> None:
        self.text = text

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """The one token, with BOS if asked."""
        return [0, 1] if add_special_tokens else [1] * bool(text)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text, if its token is there."""
        return self.text * len(token_ids)


def test_a_token_across_two_words_is_refused() -> None:
    with pytest.raises(TaskError) as caught:
        word_spans("New York", [1], WholeTextTokenizer("New York"))
    assert str(caught.value) == (
        "no token ends where word 1 of 'New York' ends; give token ranges as 'spans'"
    )


def test_names_keep_the_order_of_the_prompts() -> None:
    first = [("before b", 1, 2), ("b", 2, 3)]
    second = [("a", 1, 2), ("after a", 2, 4), ("b", 4, 5), ("after b", 5, 6)]
    assert merged_names([first, second]) == ("a", "after a", "before b", "b", "after b")
    assert merged_names([first, first]) == ("before b", "b")
    assert merged_names([]) == ()
