"""From templates to prompt pairs: what every task family does with its contrasts.

A family states *contrasts*: two sides that differ in what the family is about, each in named
pieces, with what is right there and what is wrong: mostly the one answer of the other side.
`Family.make_pairs`

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
from typing import Literal, TypeAlias

from saecircuits.errors import TaskError
from saecircuits.tasks.pairs import PromptPair, Split
from saecircuits.tasks.spans import Span
from saecircuits.tasks.tokens import Tokenizer, encode_text

PAIRS_PER_SPLIT = 120
SEED = 0
Words: TypeAlias = Literal["stories", "english"]


@dataclass(frozen=True)
class Side:
    """One prompt of a contrast.

    Attributes:
        pieces: (span name, text) in order; the texts joined are the prompt.
        answer: what follows this prompt, or each of what may.
        wrong: what would be wrong; empty for what is right on the other side.
    """

    pieces: tuple[tuple[str, str], ...]
    answer: str | tuple[str, ...]
    wrong: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The prompt."""
        return "".join(text for _, text in self.pieces)

    @property
    def answers(self) -> tuple[str, ...]:
        """What is right, one or several."""
        return (self.answer,) if isinstance(self.answer, str) else self.answer

    def wrong_beside(self, other: "Side") -> tuple[str, ...]:
        """What is wrong here, the other side being that one."""
        return self.wrong or other.answers


Contrast: TypeAlias = tuple[Side, Side]


@dataclass(frozen=True)
class Family:
    """A shipped task: a behaviour, and the templates that show it.

    Attributes:
        name: what `load_task` calls it.
        description: one sentence for reports.
        example: a clean prompt and its answer, for listings.
        contrasts: makes every contrast of the templates, always the same ones.
        words: `stories`, of children's stories, which models of general text know as well; or
            `english`, which the shipped model of stories was not taught.
    """

    name: str
    description: str
    example: str
    contrasts: Callable[[], Iterable[Contrast]]
    words: Words = "stories"

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
            answer=clean.answers,
            wrong=clean.wrong_beside(corrupted),
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
    one, other = contrast
    first, second = _spans(one, tokenizer), _spans(other, tokenizer)
    fits = first == second and all(
        _is_told_apart(side.answers, side.wrong_beside(beside), tokenizer)
        for side, beside in ((one, other), (other, one))
    )
    return first if fits else ()


def _is_told_apart(answers: Iterable[str], wrong: Iterable[str], tokenizer: Tokenizer) -> bool:
    """Whether all are single tokens, and none is right and wrong."""
    right, others = (
        {tuple(encode_text(text, tokenizer)) for text in texts} for texts in (answers, wrong)
    )
    return all(len(ids) == 1 for ids in right | others) and not right & others


def _spans(side: Side, tokenizer: Tokenizer) -> tuple[Span, ...]:
    spans: list[Span] = []
    joined: list[int] = []
    for name, text in side.pieces:
        start = len(joined) + 1
        joined += encode_text(text, tokenizer)
        spans.append((name, start, len(joined) + 1))
    # A tokenizer may merge across the border of two pieces; then the ranges mean nothing.
    return tuple(spans) if joined == encode_text(side.text, tokenizer) else ()
