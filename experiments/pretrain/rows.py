"""Training rows: BOS and 127 tokens, of stories or of generated passages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sentences import passage
from tokenizer import SPECIAL_ID
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

ROW = 128
GENERATED_SHARE = 0.3
CHUNK_ROWS = 2048


class Rows(Protocol):
    """An endless text, row after row, the same for the same seed."""

    def batch(self, step: int, size: int) -> torch.Tensor:
        """The rows of one step, `[size, tokens of a row]`."""
        ...


def encode_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """The token ids of each text, without BOS."""
    return tokenizer(list(texts), add_special_tokens=False)["input_ids"]


class Texts:
    """Texts as one stream of tokens, each behind the token that begins a prompt."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], bos: int = SPECIAL_ID
    ) -> None:
        encoded = encode_texts(tokenizer, texts)
        self.bos = bos
        self.starts = np.cumsum([0] + [len(ids) + 1 for ids in encoded])[:-1]
        stream = [token for ids in encoded for token in (bos, *ids)]
        self.stream: NDArray[np.int64] = np.array(stream, dtype=np.int64)

    def rows(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Random rows; half begin where a text begins, so that one does follow BOS."""
        starts = rng.choice(self.starts, count)
        anywhere = rng.integers(0, len(self.stream) - ROW, count)
        begin = np.where(rng.random(count) < 0.5, starts, anywhere)
        begin = np.minimum(begin, len(self.stream) - ROW)
        rows = self.stream[begin[:, None] + np.arange(ROW)]
        rows[:, 0] = self.bos
        return rows


def generated_rows(tokenizer: PreTrainedTokenizerFast, count: int, seed: str) -> NDArray[np.int64]:
    """Rows packed with fresh passages, each preceded by the separator, as at test time."""
    rng = Random(seed)
    rows = np.empty((count, ROW), dtype=np.int64)
    pending: list[int] = []
    filled = 0
    while filled < count:
        for ids in encode_texts(tokenizer, [passage(rng) for _ in range(1000)]):
            pending += [SPECIAL_ID, *ids]
            if len(pending) >= ROW and filled < count:
                rows[filled] = pending[:ROW]
                filled += 1
                pending = []
    return rows


class ChunkedRows:
    """The endless training text: row after row, the same for the same seed from any point.

    Rows come in chunks, and a chunk depends on the seed and its number only, so that a training
    run that was interrupted goes on with the rows it would have had.

    Args:
        parts: of a chunk, by its number and a generator of its own; they are mixed.
        chunk_rows: rows of a chunk.
    """

    def __init__(
        self,
        parts: Callable[[int, np.random.Generator], Sequence[NDArray[np.int64]]],
        *,
        seed: int,
        chunk_rows: int = CHUNK_ROWS,
    ) -> None:
        self.seed = seed
        self._parts = parts
        self._chunk_rows = chunk_rows
        self._number = -1
        self._chunk = np.empty((0, ROW), dtype=np.int64)

    def _load(self, number: int) -> None:
        if number != self._number:
            rng = np.random.default_rng([self.seed, number])
            self._chunk = rng.permutation(np.concatenate(self._parts(number, rng)))
            self._number = number

    def batch(self, step: int, size: int) -> torch.Tensor:
        """The rows of one step; `size` must divide the rows of a chunk."""
        number, within = divmod(step * size, self._chunk_rows)
        self._load(number)
        return torch.from_numpy(self._chunk[within : within + size])


class MixedRows(ChunkedRows):
    """Stories and generated passages."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        stories: Texts,
        seed: int,
        generated_share: float = GENERATED_SHARE,
    ) -> None:
        self.generated = round(CHUNK_ROWS * generated_share)
        super().__init__(
            lambda number, rng: (
                stories.rows(CHUNK_ROWS - self.generated, rng),
                generated_rows(tokenizer, self.generated, f"rows {seed} {number}"),
            ),
            seed=seed,
        )
