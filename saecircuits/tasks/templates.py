"""From templates to prompt pairs: what every task family does with its contrasts.

A family states *contrasts*: two sides that differ in what the family is about, each in named
pieces with the one answer that is right there and wrong on the other side. `Family.make_pairs`

1. orders all contrasts by a hash of their texts (the seed is part of it);
2. takes each whose two texts are still unused and that this tokenizer cuts alike: equally many
   tokens in each piece, answers of one token;
3. makes pairs of them, every other one with clean and corrupted exchanged;
4. gives the first half to train, the second to test.

Since no text is used twice, the halves share no prompt.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from saecircuits.errors import TaskError
from saecircuits.tasks.pairs import PromptPair, Split
from saecircuits.tasks.spans import Span
from saecircuits.tasks.tokens import Tokenizer, encode_text

PAIRS_PER_SPLIT = 120
SEED = 0


@dataclass(frozen=True)
class Side:
    """One prompt of a contrast.

    Attributes:
        pieces: (span name, text) in order; the texts joined are the prompt.
        answer: what follows this prompt.
    """

    pieces: tuple[tuple[str, str], ...]
    answer: str

    @property
    def text(self) -> str:
        """The prompt."""
        return "".join(text for _, text in self.pieces)


Contrast: TypeAlias = tuple[Side, Side]


@dataclass(frozen=True)
class Family:
    """A shipped task: a behaviour, and the templates that show it.

    Attributes:
        name: what `load_task` calls it.
        description: one sentence for reports.
        example: a clean prompt and its answer, for listings.
        contrasts: makes every contrast of the templates, always the same ones.
    """

    name: str
    description: str
    example: str
    contrasts: Callable[[], Iterable[Contrast]]

    def make_pairs(self, tokenizer: Tokenizer) -> tuple[PromptPair, ...]:
        """120 train and 120 test pairs with spans, the same ones for the same tokenizer.

        Raises:
            TaskError: the tokenizer splits so many of the words that too few pairs are left.
        """
        ranked = sorted(self.contrasts(), key=_rank)
        used: set[str] = set()
        chosen: list[tuple[Contrast, tuple[Span, ...]]] = []
        for contrast in ranked:
            texts = {side.text for side in contrast}
            spans = () if used & texts else _shared_spans(contrast, tokenizer)
            if spans:
                used |= texts
                chosen.append((contrast, spans))
            if len(chosen) == 2 * PAIRS_PER_SPLIT:
                break
        else:
            raise TaskError(
                f"{len(chosen)} usable pairs with this tokenizer, {2 * PAIRS_PER_SPLIT} needed; it "
                "splits too many of the words, so use a task file made for it"
            )
        return tuple(self._pair(number, *found) for number, found in enumerate(chosen))

    def _pair(self, number: int, contrast: Contrast, spans: tuple[Span, ...]) -> PromptPair:
        clean, corrupted = contrast if number % 2 == 0 else contrast[::-1]
        split: Split = "train" if number < PAIRS_PER_SPLIT else "test"
        return PromptPair(
            clean=clean.text,
            corrupted=corrupted.text,
            answer=(clean.answer,),
            wrong=(corrupted.answer,),
            id=f"{self.name}-{split}-{number % PAIRS_PER_SPLIT:03d}",
            split=split,
            clean_spans=spans,
            corrupted_spans=spans,
        )


def _rank(contrast: Contrast) -> bytes:
    """A random-looking order that no version of Python and no word list elsewhere can change."""
    texts = "\0".join([str(SEED), *(side.text for side in contrast)])
    return hashlib.sha256(texts.encode()).digest()


def _shared_spans(contrast: Contrast, tokenizer: Tokenizer) -> tuple[Span, ...]:
    """The token ranges that both sides have in common; empty if the tokenizer cuts them apart."""
    first, second = (_spans(side, tokenizer) for side in contrast)
    answers = [encode_text(side.answer, tokenizer) for side in contrast]
    fits = first == second and all(len(ids) == 1 for ids in answers) and answers[0] != answers[1]
    return first if fits else ()


def _spans(side: Side, tokenizer: Tokenizer) -> tuple[Span, ...]:
    spans: list[Span] = []
    joined: list[int] = []
    for name, text in side.pieces:
        start = len(joined) + 1
        joined += encode_text(text, tokenizer)
        spans.append((name, start, len(joined) + 1))
    # A tokenizer may merge across the border of two pieces; then the ranges mean nothing.
    return tuple(spans) if joined == encode_text(side.text, tokenizer) else ()
