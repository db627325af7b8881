"""Files give back the pairs written, and say which line is wrong and how."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saecircuits.errors import TaskError
from saecircuits.tasks import PromptPair, read_pairs, write_pairs

ROW = {"clean": "The dog", "corrupted": "The dogs", "answer": " was", "wrong": " were"}
PUBLISHED = {
    "clean_prefix": "The uncle",
    "patch_prefix": "The uncles",
    "clean_answer": " has",
    "patch_answer": " have",
}

texts = st.text(min_size=1, max_size=12)
answers = st.lists(texts, min_size=1, max_size=3).map(tuple)


@st.composite
def span_sets(draw: st.DrawFn) -> dict[str, object]:
    """No spans, words, or the same names with ranges of their own on each side."""
    kind = draw(st.sampled_from(["none", "words", "ranges", "shared ranges"]))
    if kind == "none":
        return {}
    if kind == "words":
        return {"by_word": True}
    names = draw(st.lists(texts | st.sampled_from(["clean", "corrupted"]), min_size=1, unique=True))
    sides = []
    for _ in range(2):
        cuts = draw(st.sets(st.integers(1, 99), min_size=2 * len(names), max_size=2 * len(names)))
        bounds = sorted(cuts)
        order = draw(st.permutations(names))
        sides.append(
            tuple((name, bounds[2 * i], bounds[2 * i + 1]) for i, name in enumerate(order))
        )
    corrupted = sides[0] if kind == "shared ranges" else sides[1]
    return {"clean_spans": sides[0], "corrupted_spans": corrupted}


@st.composite
def pair_fields(draw: st.DrawFn) -> list[dict[str, Any]]:
    """What pairs of any text consist of, with unique ids."""
    fields = []
    for name in draw(st.lists(texts, min_size=1, max_size=4, unique=True)):
        clean, corrupted = draw(st.lists(texts, min_size=2, max_size=2, unique=True))
        fields.append(
            {
                "clean": clean,
                "corrupted": corrupted,
                "answer": draw(answers),
                "wrong": draw(answers),
                "id": name,
                "split": draw(st.sampled_from([None, "train", "test"])),
                **draw(span_sets()),
            }
        )
    return fields


@settings(deadline=None)
@given(fields=pair_fields())
def test_what_is_written_is_read(
    fields: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    pairs = [PromptPair(**each) for each in fields]
    path = tmp_path_factory.mktemp("round trip") / "task.jsonl"
    write_pairs(path, pairs)
    assert read_pairs(path) == tuple(pairs)
    assert [entry.name for entry in path.parent.iterdir()] == ["task.jsonl"]


def written(path: Path, *rows: Mapping[str, object] | str) -> Path:
    """A file with these rows, texts as they are."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_ids_and_lines_are_counted_from_one_blank_lines_included(tmp_path: Path) -> None:
    pairs = read_pairs(written(tmp_path / "t.jsonl", ROW, "", {**ROW, "clean": "A dog"}))
    assert [(pair.id, pair.line) for pair in pairs] == [("1", 1), ("3", 3)]


def test_published_keys_are_read_by_word(tmp_path: Path) -> None:
    path = written(tmp_path / "t.json", {**PUBLISHED, "case": "singular"}, PUBLISHED)
    pair = read_pairs(path)[0]
    assert pair == PromptPair("The uncle", "The uncles", (" has",), (" have",), "1", by_word=True)


def test_spans_for_both_prompts_or_for_each(tmp_path: Path) -> None:
    each = {"clean": {"subject": [2, 4]}, "corrupted": {"subject": [2, 5]}}
    shared, separate = read_pairs(
        written(
            tmp_path / "t.jsonl",
            {**ROW, "spans": {"clean": [1, 2], "corrupted": [2, 3]}},
            {**ROW, "spans": each},
        )
    )
    assert shared.clean_spans == shared.corrupted_spans == (("clean", 1, 2), ("corrupted", 2, 3))
    assert separate.clean_spans == (("subject", 2, 4),)
    assert separate.corrupted_spans == (("subject", 2, 5),)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**ROW, "anwser": " is"}, "unknown key 'anwser'; known: clean, corrupted, answer, wrong, "
         "id, split, spans"),
        ({**PUBLISHED, "wrong": " is"}, "unknown key 'wrong'; known: clean_prefix, patch_prefix, "
         "clean_answer, patch_answer, id, split, case"),
        ({"clean": "The dog"},
         "key 'corrupted' is missing; needed: clean, corrupted, answer, wrong"),
        ({**ROW, "clean": 3}, "'clean' is 3; it must be a string"),
        ({**ROW, "answer": [" was", 3]},
         """'answer' is [" was", 3]; give a string or a list of them"""),
        ({**ROW, "answer": []}, "'answer' and 'wrong' need at least one token each"),
        ({**ROW, "id": 3}, "'id' is 3; it must be a string"),
        ({**ROW, "split": "dev"}, "split is 'dev'; it must be 'train' or 'test'"),
        ({**ROW, "spans": [1, 2]},
         "'spans' is [1, 2]; give names with token ranges, or 'words'"),
        ({**ROW, "spans": {"s": [1, 2.5]}},
         "span 's' is [1, 2.5]; give [start, stop] as tokens of the text, the first being 1"),
        ({**ROW, "spans": {"s": [True, 2]}},
         "span 's' is [true, 2]; give [start, stop] as tokens of the text, the first being 1"),
        ({**ROW, "spans": {"s": [0, 2]}},
         "span 's' starts at 0, inside 'what is prepended' [0, 1]; spans must not overlap, and a "
         "text begins at 1"),
        ('{"clean": "a", "clean": "b"}', "key 'clean' is given twice; keep one"),
        ('["The dog"]', "found a JSON list; each line holds one JSON object"),
        ('{"clean": "The dog"', "broken JSON at column 20 (Expecting ',' delimiter); each line "
         "holds one complete JSON object"),
    ],
)  # fmt: skip
def test_a_faulty_line_is_named(row: dict[str, object] | str, message: str, tmp_path: Path) -> None:
    with pytest.raises(TaskError) as caught:
        read_pairs(written(tmp_path / "t.jsonl", ROW, row))
    assert str(caught.value) == f"line 2: {message}"


@pytest.mark.parametrize("text", ['"\\ud800"', "1" * 5000, "[" * 100_000])
def test_json_that_python_cannot_hold_is_refused(text: str, tmp_path: Path) -> None:
    path = written(tmp_path / "t.jsonl", f'{{"clean": {text}}}')
    with pytest.raises(TaskError, match=r"^line 1: "):
        read_pairs(path)


def test_a_repeated_id_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TaskError) as caught:
        read_pairs(written(tmp_path / "t.jsonl", {**ROW, "id": "2"}, ROW))
    assert (
        str(caught.value) == "line 2: id '2' was already given at line 1; every pair needs its own"
    )


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_file_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(content)
    with pytest.raises(TaskError, match=r"^the file is empty; it needs one JSON object a line"):
        read_pairs(path)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(ROW).encode())
    assert len(read_pairs(path)) == 1


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b"ab\xff")
    with pytest.raises(TaskError) as caught:
        read_pairs(path)
    assert str(caught.value) == "not UTF-8 text (byte 2); save it as UTF-8"


def test_nothing_is_left_of_a_write_that_fails(tmp_path: Path) -> None:
    pair = PromptPair("a", "b", ("y",), ("n",), "1")
    with pytest.raises(TaskError, match=r"0 prompt pairs to write"):
        write_pairs(tmp_path / "t.jsonl", [])
    with pytest.raises(TaskError, match=r"id '1' occurs 2 times"):
        write_pairs(tmp_path / "t.jsonl", [pair, pair])
    with pytest.raises(TaskError, match=r"cannot write .*missing/t.jsonl: No such file"):
        write_pairs(tmp_path / "missing" / "t.jsonl", [pair])
    (tmp_path / "folder").mkdir()
    with pytest.raises(TaskError, match=r"cannot write .*folder"):
        write_pairs(tmp_path / "folder", [pair])
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]
