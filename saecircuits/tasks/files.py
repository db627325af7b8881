"""Task files: JSON lines, one prompt pair a line.

Our own keys are `clean`, `corrupted`, `answer`, `wrong` (a string or a list of strings, one token
each) and, optionally, `id`, `split` ("train" or "test") and `spans`. `spans` is one of

- `{"subject": [2, 4]}`: token ranges that hold for both prompts, the text's first token being 1
  whatever stands before it, the stop excluded;
- `{"clean": {"subject": [2, 4]}, "corrupted": {"subject": [2, 5]}}`: ranges for each prompt;
- `"words"`: every white-space word is a span.

The published subject-verb agreement files (Finlayson et al. 2021, in the form of Marks et al.
2024) have `clean_prefix`, `patch_prefix`, `clean_answer` and `patch_answer`; their wrong answer is
the answer to the patch. Singular and plural differ in token count there, so they are read by word.
"""

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from saecircuits.errors import TaskError
from saecircuits.tasks.pairs import PromptPair
from saecircuits.tasks.spans import Span

OWN_KEYS = ("clean", "corrupted", "answer", "wrong")
PUBLISHED_KEYS = ("clean_prefix", "patch_prefix", "clean_answer", "patch_answer")
OPTIONAL_KEYS = ("id", "split", "spans")
PUBLISHED_EXTRAS = ("id", "split", "case")


def read_pairs(path: Path) -> tuple[PromptPair, ...]:
    """The prompt pairs of a file, in its order; a pair without an id is called by its line.

    Raises:
        TaskError: the file is missing, empty or not text, or a line cannot be used (its number,
            what was found, what would be right).
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise TaskError(f"not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        raise TaskError(f"cannot read {path}: {error.strerror}") from None
    pairs: list[PromptPair] = []
    lines: dict[str, int] = {}
    # Not splitlines(): JSON strings may hold the other characters that it takes for line ends.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        pair = _pair(_parsed(line, number), number)
        if pair.id in lines:
            raise TaskError(
                f"line {number}: id {pair.id!r} was already given at line {lines[pair.id]}; "
                "every pair needs its own"
            )
        lines[pair.id] = number
        pairs.append(pair)
    if not pairs:
        raise TaskError("the file is empty; it needs one JSON object a line, one for each pair")
    return tuple(pairs)


def write_pairs(path: Path, pairs: Sequence[PromptPair]) -> None:
    """Write the pairs as JSON lines with our own keys; `read_pairs` gives equal pairs back.

    The file appears complete or not at all.

    Raises:
        TaskError: nothing to write, an id that occurs twice, or a folder that cannot be written.
    """
    ids = [pair.id for pair in pairs]
    if not ids:
        raise TaskError(f"0 prompt pairs to write to {path}; give at least one")
    name, count = Counter(ids).most_common(1)[0]
    if count > 1:
        raise TaskError(f"id {name!r} occurs {count} times; every pair needs its own")
    lines = (json.dumps(_row(pair), ensure_ascii=False) + "\n" for pair in pairs)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text("".join(lines), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise TaskError(f"cannot write {path}: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)


def _row(pair: PromptPair) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": pair.id,
        "clean": pair.clean,
        "corrupted": pair.corrupted,
        "answer": pair.answer[0] if len(pair.answer) == 1 else pair.answer,
        "wrong": pair.wrong[0] if len(pair.wrong) == 1 else pair.wrong,
    }
    if pair.split is not None:
        row["split"] = pair.split
    clean = {name: [start, stop] for name, start, stop in pair.clean_spans}
    corrupted = {name: [start, stop] for name, start, stop in pair.corrupted_spans}
    if pair.by_word:
        row["spans"] = "words"
    elif pair.clean_spans == pair.corrupted_spans and clean:
        # Two spans called "clean" and "corrupted" still read as ranges: their values are lists.
        row["spans"] = clean
    elif clean:
        row["spans"] = {"clean": clean, "corrupted": corrupted}
    return row


def _parsed(line: str, number: int) -> dict[str, Any]:
    def without_repeats(items: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in items]
        for key in keys:
            if keys.count(key) > 1:
                raise TaskError(f"line {number}: key {key!r} is given twice; keep one")
        return dict(items)

    try:
        row = json.loads(line, object_pairs_hook=without_repeats)
        json.dumps(row, ensure_ascii=False).encode()  # a lone surrogate has no UTF-8 form
    except json.JSONDecodeError as error:
        raise TaskError(
            f"line {number}: broken JSON at column {error.colno} ({error.msg}); each line holds "
            "one complete JSON object"
        ) from None
    except (RecursionError, ValueError) as error:
        raise TaskError(f"line {number}: unusable JSON ({error}); give plain text") from None
    if not isinstance(row, dict):
        raise TaskError(
            f"line {number}: found a JSON {type(row).__name__}; each line holds one JSON object"
        )
    return row


def _pair(row: dict[str, Any], number: int) -> PromptPair:
    published = any(key in row for key in PUBLISHED_KEYS)
    needed = PUBLISHED_KEYS if published else OWN_KEYS
    known = (*needed, *(PUBLISHED_EXTRAS if published else OPTIONAL_KEYS))
    for key in row:
        if key not in known:
            raise TaskError(f"line {number}: unknown key {key!r}; known: {', '.join(known)}")
    for key in needed:
        if key not in row:
            raise TaskError(f"line {number}: key {key!r} is missing; needed: {', '.join(needed)}")
    clean, corrupted, answer, wrong = (row[key] for key in needed)
    spans = "words" if published else row.get("spans", {})
    split = row.get("split")
    if split not in (None, "train", "test"):
        raise TaskError(f"line {number}: split is {split!r}; it must be 'train' or 'test'")
    clean_spans, corrupted_spans = _both_spans(spans, number)
    return PromptPair(
        clean=_text(clean, needed[0], number),
        corrupted=_text(corrupted, needed[1], number),
        answer=_texts(answer, needed[2], number),
        wrong=_texts(wrong, needed[3], number),
        id=_text(row["id"], "id", number) if "id" in row else str(number),
        split=split,
        clean_spans=clean_spans,
        corrupted_spans=corrupted_spans,
        by_word=spans == "words",
        line=number,
    )


def _text(value: object, key: str, number: int) -> str:
    if isinstance(value, str):
        return value
    raise TaskError(f"line {number}: {key!r} is {_shown(value)}; it must be a string")


def _texts(value: object, key: str, number: int) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    texts = tuple(item for item in values if isinstance(item, str))
    if len(texts) == len(values):
        return texts
    raise TaskError(f"line {number}: {key!r} is {_shown(value)}; give a string or a list of them")


def _both_spans(value: object, number: int) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    if value == "words":
        return (), ()
    if not isinstance(value, dict):
        raise TaskError(
            f"line {number}: 'spans' is {_shown(value)}; give names with token ranges, or 'words'"
        )
    if set(value) == {"clean", "corrupted"} and all(isinstance(v, dict) for v in value.values()):
        return _spans(value["clean"], number), _spans(value["corrupted"], number)
    return _spans(value, number), _spans(value, number)


def _spans(ranges: dict[str, Any], number: int) -> tuple[Span, ...]:
    spans: list[Span] = []
    for name, value in ranges.items():
        match value:
            case [int(start), int(stop)] if bool not in (type(start), type(stop)):
                spans.append((name, start, stop))
            case _:
                raise TaskError(
                    f"line {number}: span {name!r} is {_shown(value)}; give [start, stop] as "
                    "tokens of the text, the first being 1"
                )
    return tuple(spans)


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."
