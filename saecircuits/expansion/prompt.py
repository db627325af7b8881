"""What an expansion is asked of: a prompt, what it is compared with, and a metric."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.errors import InputError
from saecircuits.splicing import SplicedModel
from saecircuits.splicing.model import AtTokens
from saecircuits.tasks.tokens import encode_answer, encode_prompt

Prompt: TypeAlias = str | Sequence[int] | Int[Tensor, " pos"]


@dataclass(frozen=True)
class Metric:
    """The difference of two logits at one position, before any soft-cap; in logits.

    Attributes:
        answer: the token whose logit counts, and `wrong` the one that is taken off.
    """

    name: str
    answer: int
    wrong: int
    position: int

    def of(self, logits: Float[Tensor, "*lead d_vocab"]) -> Float[Tensor, "*lead"]:
        """The metric of logits at its position."""
        return logits[..., self.answer] - logits[..., self.wrong]


@dataclass(frozen=True, eq=False)
class Baseline:
    """What the clean run is compared with: another prompt, or no tokens but what is prepended.

    Attributes:
        at_tokens: what is put in the place of the token embeddings; None for another prompt.
    """

    name: str
    tokens: Int[Tensor, " pos"]
    at_tokens: AtTokens | None


def read_prompt(model: SplicedModel, prompt: Prompt) -> Int[Tensor, " pos"]:
    """The prompt's tokens, behind what the model prepends.

    Raises:
        TaskError: a text that is too long, or brings what is prepended itself.
        InputError: tokens that are none of the model's, or more than it reads.
    """
    if isinstance(prompt, str):
        ids = encode_prompt(prompt, model.tokenizer, n_ctx=model.n_ctx, front=model.prepended)
        return torch.tensor(ids, device=model.device)
    tokens = torch.as_tensor(prompt, device=model.device)
    d_vocab = int(model.bridge.cfg.d_vocab)
    is_right = (
        tokens.ndim == 1 and 0 < len(tokens) <= model.n_ctx and not tokens.is_floating_point()
    )
    if not is_right or int(tokens.min()) < 0 or int(tokens.max()) >= d_vocab:
        raise InputError(
            f"tokens {list(tokens.shape)} of {tokens.dtype} are no prompt; give between 1 and "
            f"{model.n_ctx} token ids below {d_vocab} in one row"
        )
    return tokens


def read_baseline(
    model: SplicedModel, tokens: Int[Tensor, " pos"], corrupted: Prompt | None
) -> Baseline:
    """What the run is compared with; without a corrupted prompt, all token embeddings at 0 but of
    what the model prepends.

    Raises:
        InputError: the corrupted prompt has another number of tokens.
    """
    if corrupted is None:
        if not model.prepended.width:
            return Baseline("token embeddings at zero", tokens, torch.zeros_like)
        return Baseline("token embeddings at zero, all but the first", tokens, _only_first)
    other = read_prompt(model, corrupted)
    if len(other) != len(tokens):
        raise InputError(
            f"the corrupted prompt has {len(other)} tokens and the prompt {len(tokens)}; give one "
            "of the same length, token for token"
        )
    return Baseline(f"corrupted prompt {model.tokenizer.decode(other.tolist())!r}", other, None)


def read_metric(
    model: SplicedModel,
    logits: Float[Tensor, "pos d_vocab"],
    *,
    answer: str | None,
    wrong: str | None,
    at: int | None,
) -> Metric:
    """The metric asked for; by default the most likely next token against the second.

    Args:
        logits: of the clean run.
        at: the position; None for the last.

    Raises:
        TaskError: an answer that is not one token.
        InputError: no such position.
    """
    position = check_position(len(logits) - 1 if at is None else at, len(logits))
    ranked = logits[position].argsort(descending=True).tolist()
    asked = None if answer is None else encode_answer(answer, model.tokenizer)
    against = None if wrong is None else encode_answer(wrong, model.tokenizer)
    first = next(token for token in ranked if token != against) if asked is None else asked
    second = next(token for token in ranked if token != first) if against is None else against
    names = [repr(model.tokenizer.decode([token])) for token in (first, second)]
    return Metric(f"logit of {names[0]} less logit of {names[1]}", first, second, position)


def check_position(position: int, n_pos: int) -> int:
    """The position counted from the front; InputError where there is none such."""
    if not -n_pos <= position < n_pos:
        raise InputError(f"there is no position {position} in {n_pos} tokens")
    return position % n_pos


def _only_first(embeddings: Tensor) -> Tensor:
    kept = torch.zeros_like(embeddings)
    kept[:, :1] = embeddings[:, :1]
    return kept
