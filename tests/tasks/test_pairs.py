"""A pair refuses what cannot be contrasted."""

import pytest

from saecircuits.errors import TaskError
from saecircuits.tasks import PromptPair

GOOD = {"clean": "The dog", "corrupted": "The dogs", "answer": (" was",), "wrong": (" were",)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clean": ""}, "a prompt is empty; both 'clean' and 'corrupted' need text"),
        ({"corrupted": "The dog"}, "clean and corrupted are both 'The dog'; they must differ"),
        ({"wrong": ()}, "'answer' and 'wrong' need at least one token each"),
        ({"by_word": True, "clean_spans": (("a", 1, 2),)},
         "spans are given and asked for by word; choose one"),
        ({"clean_spans": (("a", 1, 2), ("b", 2, 3)), "corrupted_spans": (("a", 1, 2),)},
         "span 'b' is in one prompt only; both prompts need the same span names"),
    ],
)  # fmt: skip
def test_faulty_pairs_are_refused(change: dict[str, object], message: str) -> None:
    for place, label in (({"line": 7}, "line 7"), ({}, "pair 'p1'")):
        with pytest.raises(TaskError) as caught:
            PromptPair(**{**GOOD, "id": "p1", **change, **place})
        assert str(caught.value) == f"{label}: {message}"


def test_the_line_is_no_part_of_a_pair() -> None:
    assert PromptPair(**GOOD, id="p", line=3) == PromptPair(**GOOD, id="p", line=None)
