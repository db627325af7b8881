"""torch as this package computes with it, whatever the caller has switched on or off.

Notebooks switch gradients off for good, run everything under `inference_mode` or autocast, or move
torch's default dtype and device. Results must not depend on that: every public function computes
in a state of its own, and the caller's is as it was when the function returns or raises.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def own_state() -> Iterator[None]:
    """Inside: gradients on, no inference mode, no autocast, float32 and CPU as defaults.

    Products of float32 are float32 throughout, also where a GPU would round to TF32.
    """
    dtype, precision = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    with ExitStack() as state:
        state.enter_context(torch.inference_mode(False))
        state.enter_context(torch.enable_grad())
        for device in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(device):
                state.enter_context(torch.autocast(device, enabled=False))
        # torch 2.6's get_default_device does not see `with torch.device(...)`; a tensor does.
        if torch.empty(0, device=None).device.type != "cpu":
            # Only then, because torch asks it at every call.
            state.enter_context(torch.device("cpu"))
        state.callback(torch.set_default_dtype, dtype)
        torch.set_default_dtype(torch.float32)
        state.callback(torch.set_float32_matmul_precision, precision)
        torch.set_float32_matmul_precision("highest")
        yield


def in_own_state(function: Callable[P, T]) -> Callable[P, T]:
    """The function, computing in `own_state`."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with own_state():
            return function(*args, **kwargs)

    return call
