"""Text to look at features on, made offline: the model's own samples, or a file of the user's.

A shipped corpus would bring a licence and a download; what the model writes brings neither, and is
the text on which its features fire. A file's text is somebody's: its licence travels with what is
shown of it.
"""

import codecs
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from jaxtyping import Int
from torch import Tensor

from saecircuits.errors import InputError
from saecircuits.features.at_once import texts_at_once
from saecircuits.memory_limit import DEFAULT
from saecircuits.splicing import SplicedModel
from saecircuits.splicing.generation import generate

# Long enough for a feature's context.
SAMPLE_LENGTH = 64

# Tokens that are sampled; on a CPU fewer of a large model, as many as take so many operations.
_SAMPLED: Final = 2**13
_FEWEST_SAMPLED: Final = 2**10
_OPERATIONS_ON_CPU: Final = 2.4e12

# Tokens of a file that are looked at, from its beginning.
READ_TOKENS: Final = 2**16
# More than a token has, in any language.
_BYTES_OF_TOKEN: Final = 64
NOT_STATED: Final = "not stated"


@dataclass(frozen=True, eq=False)
class Contexts:
    """Text to look at features on.

    Attributes:
        text: token ids, what the model prepends first and wherever a text begins; -1 behind the end
            of a text where it prepends nothing.
        source: where it comes from, in words.
        licence: under which verbatim pieces of it may be shown.
        is_shown: False to publish figures about it, and none of its words: no contexts, and labels
            from the task's prompts and the weights alone.
    """

    text: Int[Tensor, "text pos"]
    source: str
    licence: str
    is_shown: bool = True


def generated_contexts(
    model: SplicedModel,
    *,
    n_tokens: int | None = None,
    seed: int = 0,
    memory_limit: int = DEFAULT,
    progress: Callable[[float], None] = lambda share: None,
) -> Contexts:
    """Samples of the model itself; see `generate_text`."""
    begun = "" if model.prepended.width else ", each text from a token drawn at random"
    text = generate_text(
        model, n_tokens=n_tokens, seed=seed, memory_limit=memory_limit, progress=progress
    )
    return Contexts(
        text=text,
        source=f"sampled from the model itself at temperature 1, seed {seed}{begun}",
        licence="none needed: written by the model",
    )


def no_contexts() -> Contexts:
    """No text at all: labels then come from the task's prompts and the weights alone."""
    return Contexts(
        text=torch.zeros(0, 1, dtype=torch.long, device="cpu"),
        source="no text was looked at",
        licence="none needed",
        is_shown=False,
    )


def read_contexts(
    path: str | Path,
    model: SplicedModel,
    *,
    n_tokens: int = READ_TOKENS,
    licence: str | None = None,
    is_shown: bool = True,
) -> Contexts:
    """A text file, UTF-8; a blank line ends a text.

    Args:
        n_tokens: so many are looked at, from its beginning: each costs a pass of the model.

    Raises:
        InputError: no such file, no text in it, other bytes than UTF-8, or `n_tokens` below 1.
    """
    _check_count("read_contexts", n_tokens)
    place, front = Path(path), [*model.prepended.ids]
    content = read_text(place, n_tokens=n_tokens)
    length = min(model.n_ctx, SAMPLE_LENGTH) - len(front)
    rows: list[list[int]] = []
    left = n_tokens
    for text in (part.strip() for part in content.split("\n\n")):
        tokens = model.tokenizer(text, add_special_tokens=False)["input_ids"][:left] if text else []
        left -= len(tokens)
        rows += [tokens[start : start + length] for start in range(0, len(tokens), length)]
        if left == 0:
            break
    if not rows:
        raise _no_text(place)
    # Behind the end of a text stands what is prepended, or no token: neither is looked at.
    behind = front or [-1]
    padded = [[*front, *row, *behind * (length - len(row))] for row in rows]
    return Contexts(
        text=torch.tensor(padded, dtype=torch.long, device="cpu"),
        source=f"the file {place.name}",
        licence=licence or NOT_STATED,
        is_shown=is_shown,
    )


def read_text(path: Path, *, n_tokens: int = READ_TOKENS) -> str:
    """What of a file is looked at: as many bytes as may hold so many tokens, or fewer.

    Raises:
        InputError: no such file, no text in it, or other bytes than UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_BYTES_OF_TOKEN * n_tokens)
        # The last character may be cut in two.
        is_cut = len(data) == _BYTES_OF_TOKEN * n_tokens
        content = codecs.getincrementaldecoder("utf-8")().decode(data, final=not is_cut)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as UTF-8 text: {error}") from None
    if not content.strip():
        raise _no_text(path)
    return content


def _no_text(path: Path) -> InputError:
    return InputError(f"{path} holds no text; give some, or leave contexts to the model")


def sampled_count(model: SplicedModel) -> int:
    """How many tokens are sampled unless told otherwise: 8,192, on a CPU fewer of a large model.

    A token takes two operations per weight; so many are sampled there as take 2.4e12 (a minute or
    two of one core), but at least 1,024.
    """
    if model.device.type != "cpu":
        return _SAMPLED
    afforded = int(_OPERATIONS_ON_CPU / (2 * model.n_weights))
    return max(_FEWEST_SAMPLED, min(_SAMPLED, afforded))


def generate_text(
    model: SplicedModel,
    *,
    n_tokens: int | None = None,
    seed: int = 0,
    memory_limit: int = DEFAULT,
    progress: Callable[[float], None] = lambda share: None,
) -> Int[Tensor, "text pos"]:
    """Samples of the model at temperature 1, each starting from what it prepends, as token ids.

    Where it prepends nothing, the first token of every text is drawn from the vocabulary, each that
    is not a special one with equal chance, and the model goes on from there. Texts have 64 tokens,
    or as many as the model reads if that is less. A model that ends a text by its BOS token goes on
    with another one behind it.

    Args:
        n_tokens: at least this many tokens in all, what is prepended not counted; see
            `sampled_count` if None.
        seed: of the sampling; the same seed on the same machine gives the same text, if as many
            texts go through the model at one time.
        memory_limit: bytes; it decides how many do, at most 256.
        progress: called with the share done.

    Raises:
        InputError: `n_tokens` below 1.
    """
    front = model.prepended
    n_tokens = sampled_count(model) if n_tokens is None else n_tokens
    _check_count("generate_text", n_tokens)
    length = min(model.n_ctx, SAMPLE_LENGTH)
    n_texts = -(-n_tokens // (length - front.width))
    generator = torch.Generator().manual_seed(seed)
    starts = _starts(model, n_texts, generator)
    together = texts_at_once(model, length, memory_limit)
    batches: list[Tensor] = []
    for first in range(0, n_texts, together):
        now = starts[first : first + together]

        def tell(share: float, before: int = first, count: int = len(now)) -> None:
            progress((before + share * count) / n_texts)

        batches.append(generate(model, now, length=length, generator=generator, progress=tell))
    return torch.cat(batches).cpu()


def _check_count(asked_of: str, n_tokens: int) -> None:
    if n_tokens < 1:
        raise InputError(f"{asked_of} was asked for {n_tokens} tokens; ask for at least 1")


def _starts(model: SplicedModel, count: int, generator: torch.Generator) -> Int[Tensor, "text one"]:
    """The first token of every text."""
    if model.prepended.id is not None:
        return torch.full((count, 1), model.prepended.id, dtype=torch.long, device=model.device)
    is_text = torch.ones(int(model.bridge.cfg.d_vocab), dtype=torch.bool, device="cpu")
    special = [one for one in model.tokenizer.all_special_ids if one < len(is_text)]
    is_text[special] = False
    is_text[len(model.tokenizer) :] = False  # embeddings without a token
    known = is_text.nonzero()
    drawn = torch.randint(len(known), (count,), generator=generator, device="cpu")
    return known[drawn].to(model.device)
