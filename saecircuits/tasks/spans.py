"""Named token ranges, so that prompts of different lengths have places in common.

A span is `(name, start, stop)`: tokens `start` to `stop - 1` of the text, counted from 1 whether or
not BOS stands before it as 0, so that a file names the same tokens for every model that cuts its
texts alike. In prompts that use spans they are a partition: every token of a text belongs to
exactly one.

1. Named ranges come from the task.
2. What lies between them gets a name from its neighbours: the tokens before the first span X are
   "before X", those that follow a span Y are "after Y". So the names depend on the order of the
   spans alone and agree across prompts whose gaps differ in length.
3. Texts without ranges may be cut at white space instead: "word 1", "word 2", ...
"""

import re
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from saecircuits.errors import TaskError
from saecircuits.tasks.tokens import Tokenizer

Span: TypeAlias = tuple[str, int, int]


def check_spans(spans: Sequence[Span]) -> None:
    """Refuse empty or overlapping ranges, a name used twice, and one that begins before the text.

    Raises:
        TaskError: the first fault found, with the range.
    """
    names: set[str] = set()
    previous: Span = ("what is prepended", 0, 1)
    for name, start, stop in sorted(spans, key=lambda span: span[1:]):
        if not name:
            raise TaskError(f"the span [{start}, {stop}] has no name; give it one")
        if name in names:
            raise TaskError(f"two spans are called {name!r}; a name stands for one range")
        if start >= stop:
            raise TaskError(f"span {name!r} is [{start}, {stop}]; its stop must be above its start")
        if start < previous[2]:
            raise TaskError(
                f"span {name!r} starts at {start}, inside {previous[0]!r} "
                f"[{previous[1]}, {previous[2]}]; spans must not overlap, and a text begins at 1"
            )
        names.add(name)
        previous = (name, start, stop)


def partition(named: Sequence[Span], length: int) -> tuple[Span, ...]:
    """The named spans in order, with every gap turned into a span "before X" or "after Y".

    Args:
        named: ranges that do not overlap, in any order; at least one.
        length: one more than the text has tokens.

    Raises:
        TaskError: a range that ends after the prompt, or a name that a gap needs.
    """
    complete: list[Span] = []
    end = 1
    for name, start, stop in sorted(named, key=lambda span: span[1]):
        if stop > length:
            raise TaskError(
                f"span {name!r} is [{start}, {stop}], but the text has tokens 1 to {length - 1}; "
                "a stop is one more than the last token"
            )
        if start > end:
            gap = f"after {complete[-1][0]}" if complete else f"before {name}"
            complete.append((gap, end, start))
        complete.append((name, start, stop))
        end = stop
    if end < length:
        complete.append((f"after {complete[-1][0]}", end, length))
    names = [name for name, _, _ in complete]
    for name in names:
        if names.count(name) > 1:
            raise TaskError(
                f"{name!r} is the name of a gap between spans; name that span otherwise"
            )
    return tuple(complete)


def word_spans(text: str, ids: Sequence[int], tokenizer: Tokenizer) -> tuple[Span, ...]:
    """One span for each white-space word: "word 1", "word 2", ...

    Args:
        text: the prompt.
        ids: its tokens, nothing prepended.
        tokenizer: the tokenizer that made them.

    Raises:
        TaskError: a token reaches across the end of a word.
    """
    spans: list[Span] = []
    start = 0
    # Each word takes the white space before it; what trails the text goes to the last word.
    for number, match in enumerate(re.finditer(r"\s*\S+(?:\s+\Z)?", text), start=1):
        stop = start
        while stop < len(ids) and tokenizer.decode(list(ids[:stop])) != text[: match.end()]:
            stop += 1
        if tokenizer.decode(list(ids[:stop])) != text[: match.end()]:
            raise TaskError(
                f"no token ends where word {number} of {text!r} ends; give token ranges as 'spans'"
            )
        spans.append((f"word {number}", start + 1, stop + 1))
        start = stop
    return tuple(spans)


def merged_names(prompts: Iterable[Sequence[Span]]) -> tuple[str, ...]:
    """Every span name once, in the order in which the names occur.

    A name that first appears in a later prompt is put behind the name that it follows there.
    """
    names: list[str] = []
    for spans in prompts:
        place = 0
        for name, _, _ in spans:
            if name not in names:
                names.insert(place, name)
            place = names.index(name) + 1
    return tuple(names)
