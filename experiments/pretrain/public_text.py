"""Text for the dictionaries of a public model, each part with its licence.

- stories of TinyStories (CDLA-Sharing-1.0, not distributed here);
- passages of `sentences.py` and of the tasks' templates, written by this project;
- docstrings of installed packages under the 3-clause BSD licence: numpy, scipy, pandas;
- what the model writes itself at temperature 1.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from public_model import PublicModel
from public_sentences import public_passage
from rows import ROW, ChunkedRows
from transformers import PreTrainedTokenizerBase

PACKAGES = ("numpy", "scipy", "pandas")
SHARES = {"stories": 0.35, "passages": 0.3, "docstrings": 0.2, "own": 0.15}
CHUNK_ROWS = 1024
_SHORTEST = 200


def docstrings(packages: Sequence[str] = PACKAGES) -> Iterator[str]:
    """Every docstring of at least 200 characters, tests left out, in the order of the files."""
    for package in packages:
        spec = find_spec(package)
        assert spec is not None and spec.origin is not None, f"{package} is not installed"
        for path in sorted(Path(spec.origin).parent.rglob("*.py")):
            if "tests" in path.parts:
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                    text = ast.get_docstring(node) or ""
                    if len(text) >= _SHORTEST:
                        yield text


def passage_rows(
    tokenizer: PreTrainedTokenizerBase, count: int, seed: str, bos: int
) -> NDArray[np.int64]:
    """Rows of fresh passages; each row begins with one, as a prompt does."""
    rng = Random(seed)
    rows = np.empty((count, ROW), dtype=np.int64)
    filled, pending = 0, [bos]
    while filled < count:
        texts = [public_passage(rng) for _ in range(500)]
        for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]:
            pending += ids if len(pending) == 1 else [*tokenizer.encode("\n"), *ids]
            if len(pending) >= ROW and filled < count:
                rows[filled] = pending[:ROW]
                filled, pending = filled + 1, [bos]
    return rows


@torch.no_grad()
def own_rows(model: PublicModel, count: int, seed: int, bos: int) -> NDArray[np.int64]:
    """Rows that the model writes itself, from a random first token on, at temperature 1."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.full((count, ROW), bos)
    rows[:, 1] = torch.randint(20, model.shape.vocabulary, (count,), generator=generator)
    past, read = None, rows[:, :2]
    for place in range(2, ROW):
        with warnings.catch_warnings():
            # The argument's name changes with the version of transformers; the old one is taken.
            warnings.simplefilter("ignore", FutureWarning)
            found = model.whole(read, past_key_values=past, use_cache=True, logits_to_keep=1)
        past = found.past_key_values
        shares = found.logits[:, -1].float().softmax(-1)
        read = torch.multinomial(shares, 1, generator=generator)
        rows[:, place] = read[:, 0]
    return rows.numpy()


class PublicRows(ChunkedRows):
    """Text of every kind, each in its share.

    Args:
        streams: of each kind but passages: so many rows, by a generator.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        streams: dict[str, Callable[[int, np.random.Generator], NDArray[np.int64]]],
        *,
        seed: int,
        bos: int,
    ) -> None:
        counts = {name: round(CHUNK_ROWS * share) for name, share in SHARES.items()}
        counts["passages"] += CHUNK_ROWS - sum(counts.values())
        super().__init__(
            lambda number, rng: (
                *(draw(counts[name], rng) for name, draw in streams.items()),
                passage_rows(tokenizer, counts["passages"], f"public {seed} {number}", bos),
            ),
            seed=seed,
            chunk_rows=CHUNK_ROWS,
        )
