"""Text to label features with, made offline: the model's own samples.

A shipped corpus would bring a licence and a download; what the model writes brings neither, and is
the text on which its features fire.
"""

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
