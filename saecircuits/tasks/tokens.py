"""What a task needs from a tokenizer, and how one text becomes token ids.

The tokenizer comes in from above (a Hugging Face fast tokenizer has all of it), so nothing here
loads a model. What stands in front of a text (`tasks.prepending`) is put there in `encode_prompt`
and nowhere else: a doubled BOS shifts every position by one and goes unnoticed.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from saecircuits.errors import TaskError
from saecircuits.tasks.prepending import Prepended, prepended


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
    """What reads prompts: a spliced model, or anything with a tokenizer and a context length.

    It may have a `prepend` too: what it puts in front of every text, see `tasks.prepending`.
    """

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that the prompts are cut with."""
        ...

    @property
    def n_ctx(self) -> int:
        """The longest sequence that can be read, what is prepended included."""
        ...


def encode_text(text: str, tokenizer: Tokenizer) -> list[int]:
    """The token ids of a text alone, without BOS or any other special token."""
    return list(tokenizer.encode(text, add_special_tokens=False))


def encode_prompt(
    text: str, tokenizer: Tokenizer, *, n_ctx: int, front: Prepended | None = None
) -> list[int]:
    """The tokens of the text behind what is prepended, at position 1, or 0 behind nothing.

    Args:
        text: the prompt as the model is to read it, without BOS.
        tokenizer: the model's own tokenizer.
        n_ctx: the longest sequence the model reads, what is prepended included.
        front: what is prepended; by default the tokenizer's own BOS, if it has one.

    Raises:
        TaskError: a text that brings what is prepended itself, or a prompt longer than `n_ctx`.
    """
    front = prepended(tokenizer) if front is None else front
    ids = encode_text(text, tokenizer)
    if front.width and ids[:1] == [*front.ids]:
        raise TaskError(
            f"the prompt {_shortened(text)} already starts {front.counted}; leave it out, it is "
            "prepended"
        )
    length = len(ids) + front.width
    if length > n_ctx:
        raise TaskError(
            f"the prompt {_shortened(text)} has {length} {tokens_with(front)}, but the model reads "
            f"{n_ctx}; shorten it"
        )
    return [*front.ids, *ids]


def tokens_with(front: Prepended) -> str:
    """`tokens with BOS`, behind a number that takes in what is prepended."""
    return f"tokens {front.counted}".strip()


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
