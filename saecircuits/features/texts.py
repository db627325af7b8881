"""Text to look at features on, made offline: the model's own samples, or a file of the user's.

A shipped corpus would bring a licence and a download; what the model writes brings neither, and is
the text on which its features fire. A file's text is somebody's: its licence travels with what is
shown of it.
"""

import codecs
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from jaxtyping import Int
from torch import Tensor

from saecircuits.errors import InputError
from saecircuits.splicing import SplicedModel
from saecircuits.splicing.generation import generate

# Long enough for a feature's context.
SAMPLE_LENGTH = 64
# Keys and values of all their tokens are in memory at one time.
_TEXTS_AT_ONCE = 256

# Tokens of a file that are looked at, from its beginning.
_MOST_TOKENS: Final = 2**16
# More than so many tokens have, in any language.
_MOST_BYTES: Final = 64 * _MOST_TOKENS
NOT_STATED: Final = "not stated"


@dataclass(frozen=True, eq=False)
class Contexts:
    """Text to look at features on.

    Attributes:
        text: token ids, BOS first and wherever a text begins.
        source: where it comes from, in words.
        licence: under which verbatim pieces of it may be shown.
        is_shown: False to publish figures about it, and none of its words: no contexts, and labels
            from the task's prompts and the weights alone.
    """

    text: Int[Tensor, "text pos"]
    source: str
    licence: str
    is_shown: bool = True


def generated_contexts(model: SplicedModel, *, seed: int = 0) -> Contexts:
    """Samples of the model itself; see `generate_text`."""
    return Contexts(
        text=generate_text(model, seed=seed),
        source=f"sampled from the model itself at temperature 1, seed {seed}",
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
    licence: str | None = None,
    is_shown: bool = True,
) -> Contexts:
    """A text file, UTF-8; a blank line ends a text. The first 65,536 tokens are looked at.

    Raises:
        InputError: no such file, no text in it, other bytes than UTF-8, or a tokenizer without BOS.
    """
    place, bos = Path(path), model.tokenizer.bos_token_id
    if bos is None:
        raise InputError("the tokenizer has no BOS token to start a text from; set `bos_token`")
    content = read_text(place)
    length = min(model.n_ctx, SAMPLE_LENGTH) - 1
    rows: list[list[int]] = []
    left = _MOST_TOKENS
    for text in (part.strip() for part in content.split("\n\n")):
        tokens = model.tokenizer(text, add_special_tokens=False)["input_ids"][:left] if text else []
        left -= len(tokens)
        rows += [tokens[start : start + length] for start in range(0, len(tokens), length)]
        if left == 0:
            break
    if not rows:
        raise _no_text(place)
    # Behind the end of a text stands BOS, which is never looked at.
    padded = [[bos, *row, *[bos] * (length - len(row))] for row in rows]
    return Contexts(
        text=torch.tensor(padded, dtype=torch.long, device="cpu"),
        source=f"the file {place.name}",
        licence=licence or NOT_STATED,
        is_shown=is_shown,
    )


def read_text(path: Path) -> str:
    """What of a file is looked at: as many bytes as may hold the tokens that are read, or fewer.

    Raises:
        InputError: no such file, no text in it, or other bytes than UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES)
        # The last character may be cut in two.
        is_cut = len(data) == _MOST_BYTES
        content = codecs.getincrementaldecoder("utf-8")().decode(data, final=not is_cut)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as UTF-8 text: {error}") from None
    if not content.strip():
        raise _no_text(path)
    return content


def _no_text(path: Path) -> InputError:
    return InputError(f"{path} holds no text; give some, or leave contexts to the model")


def generate_text(
    model: SplicedModel, *, n_tokens: int = 8192, seed: int = 0
) -> Int[Tensor, "text pos"]:
    """Samples of the model at temperature 1, each starting from BOS, as token ids.

    Texts have 64 tokens, or as many as the model reads if that is less. A model that ends a text
    by its BOS token goes on with another one behind it.

    Args:
        n_tokens: at least this many tokens in all, BOS not counted.
        seed: of the sampling; the same seed on the same machine gives the same text.

    Raises:
        InputError: no BOS token to start from, or `n_tokens` below 1.
    """
    bos = model.tokenizer.bos_token_id
    if bos is None:
        raise InputError("the tokenizer has no BOS token to start a text from; set `bos_token`")
    if n_tokens < 1:
        raise InputError(f"generate_text was asked for {n_tokens} tokens; ask for at least 1")
    length = min(model.n_ctx, SAMPLE_LENGTH)
    n_texts = -(-n_tokens // (length - 1))
    start = torch.full((1, 1), bos, dtype=torch.long, device=model.device)
    generator = torch.Generator().manual_seed(seed)
    batches = [
        generate(
            model,
            start.repeat(min(_TEXTS_AT_ONCE, n_texts - first), 1),
            length=length,
            generator=generator,
        )
        for first in range(0, n_texts, _TEXTS_AT_ONCE)
    ]
    return torch.cat(batches).cpu()
