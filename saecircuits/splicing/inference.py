"""A bridge as every computation here uses it, whatever its owner has set."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def inference_settings(module: Any) -> Iterator[None]:
    """Inside: no dropout, and no gradients for parameters; afterwards everything as it was."""
    parts = list(module.modules())
    training = [part for part in parts if part.training]
    parameters = (p for part in parts for p in part.parameters(recurse=False))
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    try:
        for part in training:
            part.training = False
        for parameter in trainable:
            parameter.requires_grad_(False)
        with warnings.catch_warnings():
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
