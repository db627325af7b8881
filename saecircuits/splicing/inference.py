"""A bridge as every computation here uses it, whatever its owner has set."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from saecircuits.splicing.hooking import widened
from saecircuits.splicing.norm_weights import own_weights


@contextmanager
def inference_settings(module: Any) -> Iterator[None]:
    """Inside: no dropout, and no gradients for parameters; afterwards everything as it was."""
    # Some parts of a Hugging Face model, such as dropout on embeddings, are in no bridge's tree.
    inside = getattr(module, "original_model", None)
    trees = (module,) if inside is None else (module, inside)
    parts = list({id(part): part for tree in trees for part in tree.modules()}.values())
    training = [part for part in parts if part.training]
    parameters = (p for part in parts for p in part.parameters(recurse=False))
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    try:
        for part in training:
            part.training = False
        for parameter in trainable:
            parameter.requires_grad_(False)
        with warnings.catch_warnings(), own_weights(parts):
            # Holding a norm's scale is meant; transformer_lens says each time that it then computes
            # the norm itself.
            warnings.filterwarnings(
                "ignore", category=UserWarning, module=r"transformer_lens\..*normalization"
            )
            yield
    finally:
        for part in training:
            part.training = True
        for parameter in trainable:
            parameter.requires_grad_(True)


@contextmanager
def logits_in_float32(bridge: Any) -> Iterator[None]:
    """Inside: a model in bfloat16 or float16 unembeds in float32.

    Rounded to bfloat16, logits of 16 are 0.125 apart: more than most nodes do. The weight is
    copied to float32 for the time of the product.
    """
    unembed = bridge.unembed
    inner = unembed.original_component
    if not isinstance(inner, torch.nn.Linear) or inner.weight.dtype.itemsize >= 4:
        yield
        return

    def forward(hidden_states: Tensor, **ignored: Any) -> Tensor:
        read = unembed.hook_in(hidden_states)
        bias = None if inner.bias is None else widened(inner.bias)
        return unembed.hook_out(functional.linear(widened(read), widened(inner.weight), bias))

    try:
        # Set as an attribute, it would go on to the Hugging Face module inside as well.
        vars(unembed)["forward"] = forward
        yield
    finally:
        vars(unembed).pop("forward", None)
