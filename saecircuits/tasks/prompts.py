"""The tokenised collection of prompt pairs that every later stage reads.

`tokenize` turns pairs into one `Prompts`:

1. encode both prompts (BOS prepended here, once, or what was asked for) and the answers (one token
   each);
2. check what would make a circuit meaningless: lengths, context, answers in common;
3. complete the spans to a partition of every prompt, or number the tokens if all lengths agree;
4. pad on the right. In a causal model nothing that counts can see the padding, so it is exact.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from saecircuits.errors import TaskError
from saecircuits.tasks.pairs import PromptPair
from saecircuits.tasks.prepending import Prepended, prepended
from saecircuits.tasks.spans import Span, merged_names, partition, word_spans
from saecircuits.tasks.tokens import Tokenizer, check_end, encode_answer, encode_prompt


@dataclass(frozen=True, eq=False, repr=False)
class Prompts:
    """Tokenised prompt pairs, padded on the right with token 0; what is prepended is at position 0.

    Attributes:
        clean_tokens: token ids of the clean prompts.
        corrupted_tokens: token ids of the corrupted prompts.
        clean_lengths: tokens of each clean prompt, what is prepended included, padding not.
        corrupted_lengths: the same for the corrupted prompts.
        answer_tokens: ids of the right answers; read them with `answer_mask`.
        answer_mask: which entries of `answer_tokens` are answers.
        wrong_tokens: ids of the wrong answers; read them with `wrong_mask`.
        wrong_mask: which entries of `wrong_tokens` are answers.
        span_names: the spans, in the order in which they occur; empty without spans.
        clean_spans: for each token the index of its span in `span_names`; -1 for what is
            prepended, for padding, and everywhere if there are no spans.
        corrupted_spans: the same for the corrupted prompts.
        texts: (clean, corrupted) as given.
        ids: the pairs' ids.
        prepended: the token in front of every prompt, or nothing, and why.
    """

    clean_tokens: Int[Tensor, "batch pos"]
    corrupted_tokens: Int[Tensor, "batch pos_corrupted"]
    clean_lengths: Int[Tensor, " batch"]
    corrupted_lengths: Int[Tensor, " batch"]
    answer_tokens: Int[Tensor, "batch n_answer"]
    answer_mask: Bool[Tensor, "batch n_answer"]
    wrong_tokens: Int[Tensor, "batch n_wrong"]
    wrong_mask: Bool[Tensor, "batch n_wrong"]
    span_names: tuple[str, ...]
    clean_spans: Int[Tensor, "batch pos"]
    corrupted_spans: Int[Tensor, "batch pos_corrupted"]
    texts: tuple[tuple[str, str], ...]
    ids: tuple[str, ...]
    prepended: Prepended

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"Prompts({len(self)} pairs of up to {self.clean_tokens.shape[1]} tokens)"

    @property
    def has_spans(self) -> bool:
        """Whether every token of the texts belongs to a span."""
        return bool(self.span_names)

    @property
    def first(self) -> int:
        """Position of the first token of the texts: 1, or 0 where nothing is prepended."""
        return self.prepended.width

    @property
    def is_aligned(self) -> bool:
        """Whether clean and corrupted agree in every pair: equal lengths, spans in equal places."""
        return torch.equal(self.clean_lengths, self.corrupted_lengths) and torch.equal(
            self.clean_spans, self.corrupted_spans
        )

    @cached_property
    def digest(self) -> str:
        """sha256 of texts, tokens, answers, spans and ids, in their order; padding has no part."""
        rows = [
            [
                self.ids[row],
                *self.texts[row],
                *(
                    tokens[row, : lengths[row]].tolist()
                    for tokens, lengths in (
                        (self.clean_tokens, self.clean_lengths),
                        (self.corrupted_tokens, self.corrupted_lengths),
                    )
                ),
                self.answer_tokens[row, self.answer_mask[row]].tolist(),
                self.wrong_tokens[row, self.wrong_mask[row]].tolist(),
                *(
                    [self.span_names[index] for index in spans[row].tolist() if index >= 0]
                    for spans in (self.clean_spans, self.corrupted_spans)
                ),
            ]
            for row in range(len(self))
        ]
        canonical = json.dumps(rows, separators=(",", ":")).encode()
        return hashlib.sha256(canonical).hexdigest()

    def require_spans(self) -> tuple[str, ...]:
        """The span names.

        Raises:
            TaskError: the task names no spans and its prompts differ in length, so there is no way
                to say which token of one prompt corresponds to which of another.
        """
        if self.has_spans:
            return self.span_names
        low, high = int(self.clean_lengths.min()), int(self.clean_lengths.max())
        raise TaskError(
            f"spans were asked for, but the task names none and its prompts have {low} to {high} "
            "tokens; add 'spans' to the task file, or use positions='sum'"
        )

    def subset(self, indices: Sequence[int]) -> "Prompts":
        """The pairs at `indices`, in that order; span names stay, so span indices stay comparable.

        Raises:
            TaskError: no index given.
        """
        rows = list(indices)
        if not rows:
            raise TaskError("a subset of 0 prompt pairs was asked for; choose at least one")
        clean_lengths = self.clean_lengths[rows]
        corrupted_lengths = self.corrupted_lengths[rows]
        clean, corrupted = int(clean_lengths.max()), int(corrupted_lengths.max())
        n_answer = int(self.answer_mask[rows].sum(1).max())
        n_wrong = int(self.wrong_mask[rows].sum(1).max())
        return Prompts(
            clean_tokens=self.clean_tokens[rows, :clean],
            corrupted_tokens=self.corrupted_tokens[rows, :corrupted],
            clean_lengths=clean_lengths,
            corrupted_lengths=corrupted_lengths,
            answer_tokens=self.answer_tokens[rows, :n_answer],
            answer_mask=self.answer_mask[rows, :n_answer],
            wrong_tokens=self.wrong_tokens[rows, :n_wrong],
            wrong_mask=self.wrong_mask[rows, :n_wrong],
            span_names=self.span_names,
            clean_spans=self.clean_spans[rows, :clean],
            corrupted_spans=self.corrupted_spans[rows, :corrupted],
            texts=tuple(self.texts[row] for row in rows),
            ids=tuple(self.ids[row] for row in rows),
            prepended=self.prepended,
        )


@dataclass(frozen=True)
class _Encoded:
    """One pair as token ids; the spans are a partition, or empty."""

    clean: list[int]
    corrupted: list[int]
    answer: list[int]
    wrong: list[int]
    clean_spans: tuple[Span, ...]
    corrupted_spans: tuple[Span, ...]


def tokenize(
    pairs: Sequence[PromptPair], tokenizer: Tokenizer, *, n_ctx: int, prepend: str | None = None
) -> Prompts:
    """The pairs as tensors, checked; see the module's steps.

    Args:
        pairs: at least one; either all of them have spans or none has.
        tokenizer: the model's own.
        n_ctx: the longest sequence the model reads, what is prepended included.
        prepend: what is put in front of every prompt: `bos`, `none`, or a token as the tokenizer
            writes it; None for the tokenizer's own BOS if it has one, and nothing otherwise.

    Raises:
        TaskError: the first pair that cannot be used, by its line or id, and what would be right.
    """
    front = prepended(tokenizer, prepend)
    if not pairs:
        raise TaskError("there are 0 prompt pairs; a task needs at least one")
    if any(pair.has_spans for pair in pairs):
        for pair in pairs:
            if not pair.has_spans:
                raise TaskError(f"{pair.label}: no spans, but other pairs have them; add 'spans'")
    encoded: list[_Encoded] = []
    for pair in pairs:
        try:
            encoded.append(_encode(pair, tokenizer, n_ctx, front))
        except TaskError as error:
            raise TaskError(f"{pair.label}: {error}") from None
    encoded = _with_numbered_tokens(encoded, front.width)
    names = merged_names(s for pair in encoded for s in (pair.clean_spans, pair.corrupted_spans))
    answers, answer_mask = _padded([pair.answer for pair in encoded])
    wrongs, wrong_mask = _padded([pair.wrong for pair in encoded])
    clean, clean_mask = _padded([pair.clean for pair in encoded])
    corrupted, corrupted_mask = _padded([pair.corrupted for pair in encoded])
    return Prompts(
        clean_tokens=clean,
        corrupted_tokens=corrupted,
        clean_lengths=clean_mask.sum(1),
        corrupted_lengths=corrupted_mask.sum(1),
        answer_tokens=answers,
        answer_mask=answer_mask,
        wrong_tokens=wrongs,
        wrong_mask=wrong_mask,
        span_names=names,
        clean_spans=_span_index([pair.clean_spans for pair in encoded], names, clean, front),
        corrupted_spans=_span_index(
            [pair.corrupted_spans for pair in encoded], names, corrupted, front
        ),
        texts=tuple((pair.clean, pair.corrupted) for pair in pairs),
        ids=tuple(pair.id for pair in pairs),
        prepended=front,
    )


def _encode(pair: PromptPair, tokenizer: Tokenizer, n_ctx: int, front: Prepended) -> _Encoded:
    clean = encode_prompt(pair.clean, tokenizer, n_ctx=n_ctx, front=front)
    corrupted = encode_prompt(pair.corrupted, tokenizer, n_ctx=n_ctx, front=front)
    for text in (pair.clean, pair.corrupted):
        check_end(text, pair.answer[0], tokenizer)
    answer = [encode_answer(text, tokenizer) for text in pair.answer]
    wrong = [encode_answer(text, tokenizer) for text in pair.wrong]
    shared = set(answer) & set(wrong)
    if shared:
        both = tokenizer.decode([min(shared)])
        raise TaskError(f"{both!r} is among the answers and among the wrong ones; keep it in one")
    if not pair.has_spans and len(clean) != len(corrupted):
        counted = f" ({front.counted})" if front.width else ""
        raise TaskError(
            f"clean has {len(clean)} tokens and corrupted {len(corrupted)}{counted}; make them "
            "equal, or add 'spans' so that their tokens can be matched"
        )
    clean_spans: tuple[Span, ...] = ()
    corrupted_spans: tuple[Span, ...] = ()
    if pair.by_word:
        clean_spans = word_spans(pair.clean, clean[front.width :], tokenizer)
        corrupted_spans = word_spans(pair.corrupted, corrupted[front.width :], tokenizer)
        if len(clean_spans) != len(corrupted_spans):
            raise TaskError(
                f"clean has {len(clean_spans)} words and corrupted {len(corrupted_spans)}; make "
                "them equal, or give token ranges as 'spans'"
            )
    elif pair.clean_spans:
        clean_spans = partition(pair.clean_spans, len(clean) - front.width + 1)
        corrupted_spans = partition(pair.corrupted_spans, len(corrupted) - front.width + 1)
    return _Encoded(clean, corrupted, answer, wrong, clean_spans, corrupted_spans)


def _with_numbered_tokens(encoded: list[_Encoded], first: int) -> list[_Encoded]:
    """Each token its own span ("t1", "t2", ...) if there are no spans and all lengths agree."""
    length = len(encoded[0].clean)
    if encoded[0].clean_spans or any(len(pair.clean) != length for pair in encoded):
        return encoded
    spans = tuple((f"t{place}", place, place + 1) for place in range(1, length - first + 1))
    return [replace(pair, clean_spans=spans, corrupted_spans=spans) for pair in encoded]


def _padded(rows: list[list[int]]) -> tuple[Int[Tensor, "batch n"], Bool[Tensor, "batch n"]]:
    width = max(len(row) for row in rows)
    padded = [row + [0] * (width - len(row)) for row in rows]
    values = torch.tensor(padded, dtype=torch.int64, device="cpu")
    lengths = torch.tensor([len(row) for row in rows], device="cpu")
    return values, torch.arange(width, device="cpu") < lengths[:, None]


def _span_index(
    prompts: list[tuple[Span, ...]],
    names: tuple[str, ...],
    tokens: Int[Tensor, "batch pos"],
    front: Prepended,
) -> Int[Tensor, "batch pos"]:
    index = torch.full_like(tokens, -1)
    places = {name: number for number, name in enumerate(names)}
    for row, spans in enumerate(prompts):
        for name, start, stop in spans:
            # Spans count the text from 1, whether or not there is a position 0 before it.
            index[row, start - 1 + front.width : stop - 1 + front.width] = places[name]
    return index
