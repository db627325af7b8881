"""Tasks by name and from files, and halves that never share a prompt."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

import pytest

from saecircuits.errors import TaskError, UnknownNameError
from saecircuits.tasks import load_task, task_names
from saecircuits.tasks.tokens import Tokenizer
from tests.models import build_tokenizer
from tests.tasks.conftest import Reading


def row(clean: str, corrupted: str, **extra: object) -> dict[str, object]:
    """A row whose prompts are single letters after "The"."""
    return {
        "clean": f"The {clean}",
        "corrupted": f"The {corrupted}",
        "answer": "y",
        "wrong": "n",
        **extra,
    }


def written(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """A task file of these rows."""
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    return path


def prompt_texts(texts: tuple[tuple[str, str], ...]) -> set[str]:
    """All clean and corrupted texts."""
    return {text for both in texts for text in both}


@pytest.mark.parametrize("seed", range(5))
def test_prompts_that_hang_together_stay_together(
    seed: int, tmp_path: Path, letters: Tokenizer
) -> None:
    rng = Random(seed)
    letter_pairs = [rng.sample("abcdefghijklmnopqrstuvwx", 2) for _ in range(14)]
    rows = [row(*both, id=str(number)) for number, both in enumerate(letter_pairs)]
    task = load_task(written(tmp_path / "t.jsonl", rows), Reading(letters, 16))
    assert len(task.train) + len(task.test) == 14
    assert not prompt_texts(task.train.texts) & prompt_texts(task.test.texts)
    rng.shuffle(rows)
    again = load_task(written(tmp_path / "u.jsonl", rows), Reading(letters, 16))
    assert set(again.train.ids) == set(task.train.ids)


def test_pairs_without_shared_prompts_are_divided_in_half(
    tmp_path: Path, letters: Tokenizer
) -> None:
    rows = [row(letter, letter.upper()) for letter in "abcdefghij"]
    task = load_task(written(tmp_path / "letters.jsonl", rows), Reading(letters, 16))
    assert (len(task.train), len(task.test)) == (5, 5)
    assert task.name == "letters"
    assert task.description == "10 pairs of letters.jsonl"
    assert list(task.train.ids) == sorted(task.train.ids, key=int)  # the order of the file


def test_splits_of_the_file_are_kept(tmp_path: Path, letters: Tokenizer) -> None:
    rows = [row(a, a.upper(), split="test" if a in "bd" else "train") for a in "abcde"]
    task = load_task(written(tmp_path / "t.jsonl", rows), Reading(letters, 16))
    assert (task.train.ids, task.test.ids) == (("1", "3", "5"), ("2", "4"))
    limited = load_task(tmp_path / "t.jsonl", Reading(letters, 16), limit=1)
    assert (limited.train.ids, limited.test.ids) == (("1",), ("2",))
    assert limited.digest != task.digest


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row("a", "b", split="train"), row("c", "a", split="test")],
         "line 2: the test prompt 'The a' is a train prompt too (line 1); keep it on one side"),
        ([row("b", "a", split="train"), row("a", "c", split="test")],
         "line 2: the test prompt 'The a' is a train prompt too (line 1); keep it on one side"),
        ([row("a", "b", split="train"), row("c", "d")],
         "line 2: no split, but other pairs have one; add 'split'"),
        ([row("a", "b", split="train")], "1 train and 0 test pairs; both are needed, or leave "
         "'split' out and the pairs are divided"),
        ([row("a", "b"), row("c", "b")], "the 2 pairs all share prompts with each other, so no "
         "test pairs can be held out; add pairs with other prompts"),
        ([row("a", "b"), row("c", "dd")], "line 2: clean has 6 tokens and corrupted 7 (with BOS); "
         "make them equal, or add 'spans' so that their tokens can be matched"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_used(
    rows: list[dict[str, object]],
    message: str,
    tmp_path: Path,
    letters: Tokenizer,
) -> None:
    path = written(tmp_path / "t.jsonl", rows)
    with pytest.raises(TaskError) as caught:
        load_task(str(path), Reading(letters, 16))
    assert str(caught.value) == f"{path}: {message}"


def test_an_unknown_name_lists_the_near_ones(tokenizer: Tokenizer) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown task 'pronon'; did you mean 'pronoun'"):
        load_task("pronon", Reading(tokenizer, 16))


@pytest.mark.parametrize("name", ["pronoun.jsonl", "pronoun.json", "tasks/pronoun", "a\\b"])
def test_what_looks_like_a_path_is_one(name: str, tokenizer: Tokenizer) -> None:
    with pytest.raises(TaskError) as caught:
        load_task(name, Reading(tokenizer, 16))
    assert str(caught.value).startswith(f"{name}: no such file; give a .jsonl file or one of ")


def test_a_folder_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(TaskError, match=r": is a folder; give a .jsonl file"):
        load_task(tmp_path, Reading(tokenizer, 16))


def test_the_limit_is_at_least_one(tokenizer: Tokenizer) -> None:
    with pytest.raises(TaskError, match=r"limit is 0; it must be at least 1"):
        load_task("pronoun", Reading(tokenizer, 16), limit=0)


def test_a_context_too_short_for_a_family_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(TaskError, match=r"^task 'pronoun': pair 'pronoun-train-\d+': the prompt "):
        load_task("pronoun", Reading(tokenizer, 6))


def test_names_and_digests_of_the_shipped_tasks(tokenizer: Tokenizer) -> None:
    tasks = [load_task(name, Reading(tokenizer, 64)) for name in task_names()]
    assert [task.name for task in tasks] == list(task_names())
    assert len({task.digest for task in tasks}) == len(tasks) == 11
    assert load_task("pronoun", Reading(tokenizer, 64)).digest == tasks[0].digest


def test_prompts_of_the_same_tokens_are_one_prompt(tmp_path: Path) -> None:
    # This tokenizer reads any white space alike: two texts, one prompt.
    words = build_tokenizer()

    def pair(clean: str, corrupted: str, **more: object) -> dict[str, object]:
        return {"clean": clean, "corrupted": corrupted, "answer": "w5", "wrong": "w6", **more}

    given = [pair("w1 w2", "w1 w3", split="train"), pair("w1  w2", "w4 w2", split="test")]
    with pytest.raises(TaskError, match="the test prompt 'w1  w2' is a train prompt too"):
        load_task(written(tmp_path / "given.jsonl", given), Reading(words, 16))
    divided = [pair("w1 w2", "w1 w3"), pair("w1  w2", "w4 w2")]
    divided += [pair("w7 w8", "w7 w9"), pair("w7  w8", "w7 w2")]
    task = load_task(written(tmp_path / "divided.jsonl", divided), Reading(words, 16))
    assert sorted([set(task.train.ids), set(task.test.ids)], key=min) == [{"1", "2"}, {"3", "4"}]


@pytest.mark.parametrize("splits", [(None,) * 2, (None,) * 3, ("train", "train", "test")])
def test_halves_of_one_prompt_are_refused(tmp_path: Path, splits: tuple[str | None, ...]) -> None:
    # Of one prompt every interval would be NaN.
    rows = [
        {"clean": f"w{n} w8", "corrupted": f"w{n} w9", "answer": "w5", "wrong": "w6"}
        | ({} if split is None else {"split": split})
        for n, split in enumerate(splits, start=1)
    ]
    reader = Reading(build_tokenizer(), 16)
    with pytest.raises(TaskError, match="of one prompt there is no interval; give 4 pairs"):
        load_task(written(tmp_path / "few.jsonl", rows), reader)
    whole = [{**rows[0], "clean": f"w{n} w8", "corrupted": f"w{n} w9"} for n in range(10, 14)]
    for number, row in enumerate(whole):
        row.pop("split", None)
        row |= {"split": ("train", "test")[number % 2]} if splits[0] else {}
    task = load_task(written(tmp_path / "enough.jsonl", whole), reader)
    assert (len(task.train), len(task.test)) == (2, 2)
    # A quick look may be at fewer.
    quick = load_task(tmp_path / "enough.jsonl", reader, limit=1)
    assert (len(quick.train), len(quick.test)) == (1, 1)
