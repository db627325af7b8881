"""One prompt pair, as a file or a task family states it, before any tokenizer has seen it.

A pair is a clean prompt, a corrupted one that differs from it in what the task is about, the
tokens that rightly continue the clean prompt, and those that would be wrong there.
"""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from saecircuits.errors import TaskError
from saecircuits.tasks.spans import Span, check_spans

Split: TypeAlias = Literal["train", "test"]


@dataclass(frozen=True)
class PromptPair:
    """A clean and a corrupted prompt, with the answers to the clean one.

    Attributes:
        clean: the prompt whose behaviour is explained, without BOS.
        corrupted: the counterfactual prompt, the source of baselines.
        answer: what rightly follows the clean prompt, one token each, spaces included.
        wrong: what would be wrong there.
        id: unique in its task.
        split: "train", "test", or None if the pair has not been assigned.
        clean_spans: named token ranges of the text, whose first token is 1.
        corrupted_spans: the same names on the corrupted prompt.
        by_word: cut both prompts into white-space words instead of giving spans.
        line: where the pair stood in its file, for messages; not part of its identity.
    """

    clean: str
    corrupted: str
    answer: tuple[str, ...]
    wrong: tuple[str, ...]
    id: str
    split: Split | None = None
    clean_spans: tuple[Span, ...] = ()
    corrupted_spans: tuple[Span, ...] = ()
    by_word: bool = False
    line: int | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        try:
            self._check()
        except TaskError as error:
            raise TaskError(f"{self.label}: {error}") from None

    def _check(self) -> None:
        if not self.clean or not self.corrupted:
            raise TaskError("a prompt is empty; both 'clean' and 'corrupted' need text")
        if self.clean == self.corrupted:
            raise TaskError(f"clean and corrupted are both {self.clean!r}; they must differ")
        if not self.answer or not self.wrong:
            raise TaskError("'answer' and 'wrong' need at least one token each")
        if self.split not in (None, "train", "test"):
            raise TaskError(
                f"split is {self.split!r}; it must be 'train' or 'test', or be left out"
            )
        if self.by_word and (self.clean_spans or self.corrupted_spans):
            raise TaskError("spans are given and asked for by word; choose one")
        check_spans(self.clean_spans)
        check_spans(self.corrupted_spans)
        alone = {name for name, _, _ in self.clean_spans} ^ {n for n, _, _ in self.corrupted_spans}
        if alone:
            raise TaskError(
                f"span {min(alone)!r} is in one prompt only; both prompts need the same span names"
            )

    @property
    def label(self) -> str:
        """How messages point at this pair: its line in the file, otherwise its id."""
        return f"pair {self.id!r}" if self.line is None else f"line {self.line}"

    @property
    def has_spans(self) -> bool:
        """Whether the pair says how its tokens are grouped."""
        return self.by_word or bool(self.clean_spans)
