"""Sampling from the model, with the keys and values of earlier tokens remembered."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.splicing.inference import inference_settings, logits_in_float32
from saecircuits.splicing.model import SplicedModel
from saecircuits.splicing.remembering import remembering_logits

# Distributions with and without remembered keys differ by rounding alone: by this share of all
# draws, or by a few roundings of a coarser dtype.
_SAME = 1e-3


@torch.no_grad()
def generate(
    model: SplicedModel,
    tokens: Int[Tensor, "text pos"],
    *,
    length: int,
    generator: torch.Generator,
    progress: Callable[[float], None] = lambda share: None,
) -> Int[Tensor, "text length"]:
    """The texts continued to `length` tokens by samples at temperature 1, dictionaries left out.

    Keys and values are remembered, and the last token's logits compared with a run that does not
    remember; a model that gives others is sampled without.

    Args:
        generator: on the CPU; one draw for every text at every step, texts in order.
        progress: called with the share of the length that is there.
    """
    if tokens.shape[1] >= length:
        return tokens
    state = generator.get_state()
    texts, logits = _sample(model, tokens, length, generator, progress, remembers=True)
    if _agree(logits[:1], model.forward(texts[:1, :-1])[:, -1]):
        return texts
    generator.set_state(state)
    return _sample(model, tokens, length, generator, progress, remembers=False)[0]


def _sample(
    model: SplicedModel,
    tokens: Tensor,
    length: int,
    generator: torch.Generator,
    progress: Callable[[float], None],
    *,
    remembers: bool,
) -> tuple[Int[Tensor, "text length"], Float[Tensor, "text d_vocab"]]:
    """The texts, and the logits that their last token was drawn from."""
    read, past, logits = tokens, None, torch.empty(0, device=tokens.device)
    while tokens.shape[1] < length:
        logits, past = next_logits(model, read, past, remembers=remembers)
        drawn = torch.multinomial(logits.softmax(-1).cpu(), 1, generator=generator).to(tokens)
        tokens = torch.cat([tokens, drawn], dim=1)
        read = tokens if past is None else drawn
        progress(tokens.shape[1] / length)
    return tokens, logits


@torch.no_grad()
def next_logits(
    model: SplicedModel, tokens: Int[Tensor, "text pos"], past: Any, *, remembers: bool = True
) -> tuple[Float[Tensor, "text d_vocab"], Any]:
    """Logits behind the last of `tokens`, and what to give as `past` with the tokens that follow.

    Args:
        past: None with the beginning of the texts; later only new tokens are given.
    """
    if not remembers:
        lengths = tokens.new_full((len(tokens),), tokens.shape[1])
        return model.forward(tokens, lengths=lengths)[:, 0], None
    with inference_settings(model.bridge), logits_in_float32(model.bridge):
        logits, past = remembering_logits(model.bridge, tokens, past)
    return logits[:, -1], past


def _agree(found: Tensor, expected: Tensor) -> bool:
    """Whether two distributions would draw the same: their total variation distance is small."""
    allowed = max(_SAME, 4 * torch.finfo(found.dtype).eps)
    found, expected = (logits.cpu().double().softmax(-1) for logits in (found, expected))
    return bool((found - expected).abs().sum(-1).max() / 2 < allowed)
