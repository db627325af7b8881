"""What a task needs from a tokenizer, and how one text becomes token ids.

The tokenizer comes in from above (a Hugging Face fast tokenizer has all of it), so nothing here
loads a model. BOS is prepended in `encode_prompt` and nowhere else: a doubled BOS shifts every
position by one and goes unnoticed.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from saecircuits.errors import TaskError


@runtime_checkable
class Tokenizer(Protocol):
    """The part of a Hugging Face tokenizer that tasks use."""

    bos_token_id: int | None

    def encode(self, text: str, add_special_tokens: bool = ...) -> list[int]:
        """The token ids of a text."""
        ...

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of token ids."""
        ...


@runtime_checkable
class Reader(Protocol):
    """What reads prompts: a spliced model, or anything with a tokenizer and a context length."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that the prompts are cut with."""
        ...

    @property
    def n_ctx(self) -> int:
        """The longest sequence that can be read, BOS included."""
        ...


def encode_text(text: str, tokenizer: Tokenizer) -> list[int]:
    """The token ids of a text alone, without BOS or any other special token."""
    return list(tokenizer.encode(text, add_special_tokens=False))


def encode_prompt(text: str, tokenizer: Tokenizer, *, n_ctx: int) -> list[int]:
    """BOS followed by the tokens of the text, so the first token of the text is at position 1.

    Args:
        text: the prompt as the model is to read it, without BOS.
        tokenizer: the model's own tokenizer.
        n_ctx: the longest sequence the model reads, BOS included.

    Raises:
        TaskError: no BOS token, a text that brings its own, or a prompt longer than `n_ctx`.
    """
    bos = tokenizer.bos_token_id
    if bos is None:
        raise TaskError("the tokenizer has no BOS token; position 0 needs one, so set `bos_token`")
    ids = encode_text(text, tokenizer)
    if ids[:1] == [bos]:
        raise TaskError(
            f"the prompt {_shortened(text)} already starts with BOS; leave it out, it is prepended"
        )
    if len(ids) + 1 > n_ctx:
        raise TaskError(
            f"the prompt {_shortened(text)} has {len(ids) + 1} tokens with BOS, but the model "
            f"reads {n_ctx}; shorten it"
        )
    return [bos, *ids]


def encode_answer(text: str, tokenizer: Tokenizer) -> int:
    """The one token that an answer consists of; the text is taken literally, spaces included.

    Raises:
        TaskError: the text is not exactly one token; the message lists the tokens found.
    """
    ids = encode_text(text, tokenizer)
    if len(ids) == 1:
        return ids[0]
    found = ", ".join(repr(tokenizer.decode([token])) for token in ids) or "none"
    hint = "" if text.startswith(" ") else f" (perhaps {' ' + text!r}, with a leading space?)"
    raise TaskError(
        f"the answer {text!r} is {len(ids)} tokens ({found}); give one that is exactly one{hint}"
    )


def check_end(prompt: str, answer: str, tokenizer: Tokenizer) -> None:
    """Refuses a prompt that ends in the space with which its answer begins.

    Most tokenizers put a space at the beginning of the word behind it. Behind a space that stands
    by itself a model has hardly ever seen a word begin, so that its logits there say little. Where
    spaces are tokens of their own, or belong to no token, nothing is refused.

    Raises:
        TaskError: the tokenizer makes one token of the space and the answer.
    """
    stem, word = prompt.rstrip(" "), answer.lstrip(" ")
    if stem == prompt or not stem or not word:
        return
    before = encode_text(stem, tokenizer)
    behind = encode_text(f"{stem} {word}", tokenizer)
    is_apart = encode_text(prompt, tokenizer) != before
    if is_apart and len(behind) == len(before) + 1 and behind[:-1] == before:
        raise TaskError(
            f"the prompt {_shortened(prompt)} ends in a space, which this tokenizer puts at the "
            f"beginning of the next word; write prompts without it, and answers as {' ' + word!r}"
        )


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
