"""Which contrasts of a family become pairs, on a family of four."""

import pytest

from saecircuits.errors import TaskError
from saecircuits.tasks import Family, templates
from saecircuits.tasks.templates import Contrast, Side
from saecircuits.tasks.tokens import Tokenizer


def contrast(first: str, second: str, answers: str = "yn", cut: int = 1) -> Contrast:
    """Two texts, each in two pieces cut after `cut` letters."""
    one, other = (
        Side((("start", text[:cut]), ("end", text[cut:])), answer)
        for text, answer in zip((first, second), answers, strict=True)
    )
    return one, other


GOOD = [contrast("ab", "cb"), contrast("abc", "cba")]


def family(*contrasts: Contrast) -> Family:
    """A family of the given contrasts."""
    return Family("toy", "A toy.", "ab -> y", lambda: contrasts)


@pytest.fixture(autouse=True)
def _one_pair_a_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "PAIRS_PER_SPLIT", 1)


def test_pairs_and_their_spans(letters: Tokenizer) -> None:
    train, test = family(*GOOD).make_pairs(letters)
    assert (train.id, train.split) == ("toy-train-000", "train")
    assert (test.id, test.split) == ("toy-test-000", "test")
    for pair in (train, test):
        assert pair.clean_spans == pair.corrupted_spans
        assert pair.clean_spans == (("start", 1, 2), ("end", 2, len(pair.clean) + 1))
    # The first of a contrast is answered "y": the second pair has its sides exchanged.
    assert (train.answer, train.wrong) == (("y",), ("n",))
    assert (test.answer, test.wrong) == (("n",), ("y",))


@pytest.mark.parametrize(
    "unusable",
    [
        pytest.param(contrast("dd", "ddd"), id="unequal lengths"),
        pytest.param(contrast("dd", "ee", "yy"), id="equal answers"),
        pytest.param(contrast("ab", "dd"), id="a text that is used"),
    ],
)
def test_contrasts_that_are_passed_over(unusable: Contrast, letters: Tokenizer) -> None:
    with pytest.raises(TaskError, match=r"^1 usable pairs with this tokenizer, 2 needed; "):
        family(GOOD[0], unusable).make_pairs(letters)


def test_a_piece_that_ends_within_a_token_is_passed_over(
    tokenizer: Tokenizer,
) -> None:
    # " dog" and "s" are tokens too, but " dogs" is one token: none ends before its last letter.
    within = contrast(" dogs", " cats", cut=4)
    between = contrast("The dog", "The cat", cut=3)
    with pytest.raises(TaskError, match=r"^1 usable pairs"):
        family(within, between).make_pairs(tokenizer)
