"""From a file's tensors to a `Dictionary`, for layouts that this package reads by itself.

Weights are widened to float32 where they are in less: the libraries that wrote them round in ways
of their own, and which features are active is decided without that rounding.
"""

import re
from typing import Any, Final

import torch
from torch import Tensor

from saecircuits.splicing.dictionary import Dictionary
from saecircuits.splicing.gates import Gate

# Where a module of a Hugging Face model is: its block, and what of the block it is.
_MODULE: Final = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(?P<layer>\d+)(?:\.(?P<part>.+))?$")
_ATTENTION: Final = ("attn", "self_attn", "attention", "self_attention")
_EMBEDDINGS: Final = ("embed_tokens", "wte", "embed_in", "word_embeddings")


def made(
    kind: str | Gate,
    *,
    W_enc: Tensor,
    b_enc: Tensor,
    W_dec: Tensor,
    b_dec: Tensor,
    shift: Tensor | None = None,
    **more: Any,
) -> Dictionary:
    """A dictionary of tensors as a file has them.

    Args:
        W_enc: `[d_in, d_sae]`.
        W_dec: `[d_sae, d_out]`.
        shift: what is subtracted before encoding; nothing by default.
    """
    shift = torch.zeros_like(W_enc[:, 0]) if shift is None else shift
    tensors = {"W_enc": W_enc, "b_enc": b_enc, "W_dec": W_dec, "b_dec": b_dec, "shift": shift}
    others = {name: value for name, value in more.items() if not isinstance(value, Tensor)}
    tensors |= {name: value for name, value in more.items() if isinstance(value, Tensor)}
    wide = {name: _wide(value) for name, value in tensors.items()}
    return Dictionary(kind=kind, **wide, **others)


def _wide(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.promote_types(tensor.dtype, torch.float32))


def module_output(name: str) -> str | None:
    """The hook point of what a Hugging Face module gives out; None for one without a site.

    Of an attention layer or MLP it is what the module itself gives, which a norm may still change.
    """
    if name.rpartition(".")[2] in _EMBEDDINGS:
        return "hook_embed"
    match = _MODULE.search(name)
    if match is None:
        return None
    stem, part = f"blocks.{match['layer']}", match["part"]
    if part is None:
        return f"{stem}.hook_resid_post"
    if part == "mlp":
        return f"{stem}.mlp.hook_out"
    return f"{stem}.attn.hook_out" if part in _ATTENTION else None


def module_input(name: str) -> str | None:
    """The hook point of what an MLP of a Hugging Face model reads; None for any other module."""
    out = module_output(name)
    return (
        f"{out.removesuffix('hook_out')}hook_in" if out and out.endswith("mlp.hook_out") else None
    )
