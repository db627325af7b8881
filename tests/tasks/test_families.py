"""Every shipped family keeps what a circuit needs: no overlap, alignment, both directions."""

import re
from collections import Counter

import pytest

from saecircuits.errors import TaskError
from saecircuits.tasks import FAMILIES, load_task, task_names
from saecircuits.tasks.tokens import Tokenizer, encode_text
from tests.tasks.conftest import Reading

EVERY_FAMILY = pytest.mark.parametrize("name", FAMILIES)


@EVERY_FAMILY
def test_counts_and_no_shared_prompt(name: str, tokenizer: Tokenizer) -> None:
    pairs = FAMILIES[name].make_pairs(tokenizer)
    assert Counter(pair.split for pair in pairs) == {"train": 120, "test": 120}
    # Stronger than no overlap between the halves: no text occurs twice at all.
    assert len({text for pair in pairs for text in (pair.clean, pair.corrupted)}) == 480
    assert len({pair.id for pair in pairs}) == 240


@EVERY_FAMILY
def test_answers_are_one_token_and_prompts_align(name: str, tokenizer: Tokenizer) -> None:
    task = load_task(name, Reading(tokenizer, 64))
    for prompts in (task.train, task.test):
        assert len(prompts) == 120 and prompts.has_spans and prompts.is_aligned
        assert prompts.answer_mask.any(1).all() and prompts.wrong_mask.any(1).all()
        # Every span occurs in every prompt, so nothing is averaged over different prompts.
        for row in prompts.clean_spans:
            assert set(row.tolist()) - {-1} == set(range(len(prompts.span_names)))
    assert task.train.span_names == task.test.span_names


@EVERY_FAMILY
def test_both_directions_equally_often(name: str, tokenizer: Tokenizer) -> None:
    family = FAMILIES[name]
    sides = {(first.text, second.text) for first, second in family.contrasts()}
    for split in ("train", "test"):
        chosen = [pair for pair in family.make_pairs(tokenizer) if pair.split == split]
        forward = sum((pair.clean, pair.corrupted) in sides for pair in chosen)
        backward = sum((pair.corrupted, pair.clean) in sides for pair in chosen)
        assert (forward, backward) == (60, 60)


@EVERY_FAMILY
def test_both_halves_use_the_same_words(name: str, tokenizer: Tokenizer) -> None:
    """The words that differ within a pair: those are what the task is about."""
    about: dict[str, set[str]] = {"train": set(), "test": set()}
    for pair in FAMILIES[name].make_pairs(tokenizer):
        clean, corrupted = (encode_text(t, tokenizer) for t in (pair.clean, pair.corrupted))
        differing = {
            token for a, b in zip(clean, corrupted, strict=True) if a != b for token in (a, b)
        }
        assert pair.split is not None
        about[pair.split] |= {tokenizer.decode([token]) for token in differing}
    assert about["train"] == about["test"]
    assert 2 <= len(about["train"]) <= 12


@EVERY_FAMILY
def test_the_same_pairs_every_time(name: str, tokenizer: Tokenizer) -> None:
    family = FAMILIES[name]
    assert family.make_pairs(tokenizer) == family.make_pairs(tokenizer)


@EVERY_FAMILY
def test_the_first_pairs_are_balanced_too(name: str, tokenizer: Tokenizer) -> None:
    """A run on the first pairs alone sees both directions."""
    sides = {(first.text, second.text) for first, second in FAMILIES[name].contrasts()}
    task = load_task(name, Reading(tokenizer, 64), limit=8)
    assert sum(texts in sides for texts in task.train.texts) == 4


def test_one_answer_is_right_and_one_wrong_in_all_but_one(tokenizer: Tokenizer) -> None:
    for name in FAMILIES:
        counts = {
            len(texts)
            for pair in FAMILIES[name].make_pairs(tokenizer)
            for texts in (pair.answer, pair.wrong)
        }
        assert (counts == {1}) is (name != "greater_than")


def test_an_end_is_later_than_its_beginning(tokenizer: Tokenizer) -> None:
    """Whatever single year follows: the tens decide, of the clean prompt and of what differs."""
    for pair in FAMILIES["greater_than"].make_pairs(tokenizer):
        (century, begun), (_, other) = (
            re.findall(r" (\d\d)(\d)\d ", text)[0] for text in (pair.clean, pair.corrupted)
        )
        assert pair.clean.endswith(f" year {century}")
        assert all(int(ten) > int(begun) for ten in pair.answer)
        assert all(int(ten) < int(begun) for ten in pair.wrong)
        # Some of them turn from right to wrong, or from wrong to right, in the other prompt.
        turned = {ten for ten in pair.answer if ten < other} | {
            ten for ten in pair.wrong if ten > other
        }
        assert turned in ({*pair.answer}, {*pair.wrong})


def test_words_of_stories_and_of_plain_english() -> None:
    stories, english = task_names("stories"), task_names("english")
    assert {*english} == {"ioi", "greater_than"}
    assert "pronoun" in stories and task_names() == (*stories, *english)


def test_a_tokenizer_that_splits_the_words_is_refused(letters: Tokenizer) -> None:
    with pytest.raises(TaskError) as caught:
        FAMILIES["pronoun"].make_pairs(letters)
    assert str(caught.value) == (
        "0 usable pairs with this tokenizer, 240 needed; it splits too many of the words, so use a "
        "task file made for it"
    )


def test_known_prompts() -> None:
    """One pair of each kind of contrast, as a reader would write it down."""
    expected = {
        "agreement": ("Today, the dog", "Today, the dogs", " was", " were"),
        "noun_copy": (
            "Tom had a red ball and a blue hat. He lost the red",
            "Tom had a red hat and a blue ball. He lost the red",
            " ball",
            " hat",
        ),
        "quotation": (
            'Lily said, "I like the cake',
            "Lily said that now I like the cake",
            '."',
            ".",
        ),
        "induction": (
            "Look: ball cup hat fish. ball cup hat",
            "Look: ball cup hat duck. ball cup hat",
            " fish",
            " duck",
        ),
        "ioi": (
            "When Mary and John arrived at the office, Mary gave a letter to",
            "When Mary and John arrived at the office, John gave a letter to",
            " John",
            " Mary",
        ),
        "greater_than": (
            "The war lasted from the year 1732 to the year 17",
            "The war lasted from the year 1762 to the year 17",
            ("4", "5"),
            ("7", "8", "9"),
        ),
    }
    for name, (clean, corrupted, answer, wrong) in expected.items():
        found = {
            (first.text, second.text, first.answer, second.answer)
            for first, second in FAMILIES[name].contrasts()
        }
        assert (clean, corrupted, answer, wrong) in found
