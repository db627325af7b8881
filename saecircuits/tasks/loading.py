"""A task by name or from a file: prompts to choose a circuit with, and others to judge it on.

The two halves never share a prompt, neither as clean nor as corrupted one: no sequence of tokens is
in both, so neither is a text. A file may assign its pairs itself (`split`); otherwise they are
divided here:

1. pairs that share a prompt, directly or through others, form a group that stays together;
2. the groups are ordered by a hash of their texts, so the order of the lines does not matter;
3. each goes to the half that has fewer pairs so far.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from saecircuits.errors import TaskError, UnknownNameError, public_path
from saecircuits.tasks.families import FAMILIES
from saecircuits.tasks.files import read_pairs
from saecircuits.tasks.pairs import PromptPair
from saecircuits.tasks.prompts import Prompts, tokenize
from saecircuits.tasks.templates import Words
from saecircuits.tasks.tokens import Reader
from saecircuits.torch_state import in_own_state

SPLIT_SEED = 0
# In each half. A bootstrap interval needs two.
FEWEST_IN_A_HALF = 2
_Tokens: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Task:
    """Prompts of one behaviour, in two halves that share no prompt.

    Attributes:
        name: the family's name, or the file's without its ending.
        description: one sentence for reports.
        train: the pairs that select a circuit.
        test: the pairs that judge it; the same span names as `train`.
        digest: sha256 over both halves.
        source: the file that it was read from, as it was given (of an absolute path the name
            alone); None for a shipped task and for prompts made in Python.
    """

    name: str
    description: str
    train: Prompts
    test: Prompts
    source: str | None = None

    @property
    def digest(self) -> str:
        """sha256 over the digests of both halves; name and description have no part in it."""
        return hashlib.sha256(f"{self.train.digest} {self.test.digest}".encode()).hexdigest()


def task_names(words: Words | None = None) -> tuple[str, ...]:
    """The names of the shipped tasks.

    Args:
        words: only of tasks in these words: `stories`, which every model of language here knows,
            or `english`, for models of general text; None for all.
    """
    return tuple(
        name for name, family in FAMILIES.items() if words is None or family.words == words
    )


@in_own_state
def load_task(
    name_or_path: str | Path,
    reader: Reader,
    *,
    limit: int | None = None,
    prepend: str | None = None,
) -> Task:
    """A shipped task, or the task of a JSON lines file, tokenised for a model.

    Args:
        name_or_path: one of `task_names()`, or a path (a `Path`, or a string that ends in .jsonl
            or .json or contains a separator).
        reader: the model that is to read the prompts.
        limit: at most this many pairs in each half, the first ones; for a quick look.
        prepend: what is put in front of every prompt: `bos`, `none`, or a token as the tokenizer
            writes it; None for what the reader puts there, which by default is the tokenizer's own
            BOS if it has one, and nothing otherwise.

    Raises:
        UnknownNameError: no shipped task has this name.
        TaskError: a file that is missing or cannot be used; the message begins with its path.
    """
    path, read = _found(name_or_path, limit)
    name = str(name_or_path) if path is None else path.stem
    source = f"task {name!r}" if path is None else str(path)
    try:
        pairs = FAMILIES[name].make_pairs(reader.tokenizer) if path is None else read
        # All pairs: a file is refused for any of its lines, and all limits share the spans.
        front = getattr(reader, "prepend", None) if prepend is None else prepend
        prompts = tokenize(pairs, reader.tokenizer, n_ctx=reader.n_ctx, prepend=front)
        train, test = _halves(pairs, _read(prompts))
        _check_enough(train, test)
    except TaskError as error:
        raise TaskError(f"{source}: {error}") from None
    description = (
        FAMILIES[name].description if path is None else f"{len(pairs)} pairs of {path.name}"
    )
    return Task(
        name=name,
        description=description,
        train=prompts.subset(train[:limit]),
        test=prompts.subset(test[:limit]),
        source=None if path is None else public_path(path),
    )


def _check_enough(train: Sequence[int], test: Sequence[int]) -> None:
    """Refuses halves over which no interval can be made; all figures have one over prompts."""
    fewest = min(len(train), len(test))
    if fewest < FEWEST_IN_A_HALF:
        raise TaskError(
            f"{len(train)} train and {len(test)} test pairs: of one prompt there is no interval; "
            f"give {2 * FEWEST_IN_A_HALF} pairs that share no prompts, or better 8: over fewer "
            "than 4 prompts a 95% bootstrap interval is no more than their range"
        )


def check_task(name_or_path: str | Path, *, limit: int | None = None) -> str:
    """The name of a task, found and read as far as no model is needed; see `load_task`.

    Raises:
        UnknownNameError: no shipped task has this name.
        TaskError: a file that is missing or whose lines cannot be used.
    """
    path, _ = _found(name_or_path, limit)
    return str(name_or_path) if path is None else path.stem


def _found(
    name_or_path: str | Path, limit: int | None
) -> tuple[Path | None, tuple[PromptPair, ...]]:
    """The file of a task and its pairs; None, and no pairs yet, for a shipped one."""
    if limit is not None and limit < 1:
        raise TaskError(f"limit is {limit}; it must be at least 1, or None for all pairs")
    path = _as_path(name_or_path)
    if path is None:
        if str(name_or_path) not in FAMILIES:
            raise UnknownNameError("task", str(name_or_path), FAMILIES)
        return None, ()
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise TaskError(f"{path}: {what}; give a .jsonl file or one of {', '.join(FAMILIES)}")
    try:
        return path, read_pairs(path)
    except TaskError as error:
        raise TaskError(f"{path}: {error}") from None


def _as_path(name_or_path: str | Path) -> Path | None:
    if isinstance(name_or_path, Path):
        return name_or_path
    looks_like_path = name_or_path.endswith((".jsonl", ".json")) or "/" in name_or_path
    return Path(name_or_path) if looks_like_path or "\\" in name_or_path else None


def _read(prompts: Prompts) -> list[tuple[_Tokens, _Tokens]]:
    """What the model reads of every pair, clean and corrupted: two texts may be the same to it."""
    sides = (
        (prompts.clean_tokens, prompts.clean_lengths),
        (prompts.corrupted_tokens, prompts.corrupted_lengths),
    )
    clean, corrupted = (
        [tuple(row[:length]) for row, length in zip(tokens.tolist(), lengths.tolist(), strict=True)]
        for tokens, lengths in sides
    )
    return list(zip(clean, corrupted, strict=True))


def _halves(
    pairs: Sequence[PromptPair], read: Sequence[tuple[_Tokens, _Tokens]]
) -> tuple[list[int], list[int]]:
    """The indices of the training and of the test pairs, each in the order given."""
    if all(pair.split is None for pair in pairs):
        return _divided(pairs, read)
    for pair in pairs:
        if pair.split is None:
            raise TaskError(f"{pair.label}: no split, but other pairs have one; add 'split'")
    train = [index for index, pair in enumerate(pairs) if pair.split == "train"]
    test = [index for index, pair in enumerate(pairs) if pair.split == "test"]
    if not train or not test:
        raise TaskError(
            f"{len(train)} train and {len(test)} test pairs; both are needed, or leave 'split' out "
            "and the pairs are divided"
        )
    known = {tokens: pairs[i].label for i in train for tokens in read[i]}
    for index in test:
        texts = (pairs[index].clean, pairs[index].corrupted)
        for text, tokens in zip(texts, read[index], strict=True):
            if tokens in known:
                raise TaskError(
                    f"{pairs[index].label}: the test prompt {text!r} is a train prompt too "
                    f"({known[tokens]}); keep it on one side"
                )
    return train, test


def _divided(
    pairs: Sequence[PromptPair], read: Sequence[tuple[_Tokens, _Tokens]]
) -> tuple[list[int], list[int]]:
    train: list[int] = []
    test: list[int] = []
    groups = sorted(_groups(read), key=lambda group: _group_key([pairs[i] for i in group]))
    if len(groups) < 2:
        raise TaskError(
            f"the {len(pairs)} pairs all share prompts with each other, so no test pairs can be "
            "held out; add pairs with other prompts"
        )
    for group in groups:
        (train if len(train) <= len(test) else test).extend(group)
    return sorted(train), sorted(test)


def _groups(pairs: Sequence[tuple[_Tokens, _Tokens]]) -> list[list[int]]:
    """The pairs that hang together through prompts they share, as lists of indices."""
    parent = list(range(len(pairs)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first_with: dict[_Tokens, int] = {}
    for index, pair in enumerate(pairs):
        for tokens in pair:
            parent[root(index)] = root(first_with.setdefault(tokens, index))
    groups: dict[int, list[int]] = {}
    for index in range(len(pairs)):
        groups.setdefault(root(index), []).append(index)
    return list(groups.values())


def _group_key(group: Sequence[PromptPair]) -> str:
    texts = sorted({text for pair in group for text in (pair.clean, pair.corrupted)})
    return hashlib.sha256("\0".join([str(SPLIT_SEED), *texts]).encode()).hexdigest()
