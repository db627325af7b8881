"""Where a model computes and with how many digits: names as torch's own values, checked first.

Random draws are made on the CPU whatever the model is on, so that one seed draws the same
everywhere; prompts, metrics and tables stay there too.
"""

from typing import Final

import torch

from saecircuits.errors import InputError, UnknownNameError

_DTYPES: Final = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16)
}


def devices_here() -> tuple[str, ...]:
    """The devices of this machine by name: `cpu`, then each accelerator (`cuda:0`, `mps:0`)."""
    if not torch.accelerator.is_available():
        return ("cpu",)
    kind = torch.accelerator.current_accelerator()
    assert kind is not None, "an accelerator is available"
    return ("cpu", *(f"{kind.type}:{number}" for number in range(torch.accelerator.device_count())))


def read_device(asked: str | torch.device) -> torch.device:
    """The device of this name; without a number (`cuda`) it is torch's current one of its kind.

    Raises:
        InputError: torch knows no such device, or this machine has none.
    """
    here = devices_here()
    try:
        device = torch.device(asked)
    except (RuntimeError, TypeError):
        raise InputError(_none_such(asked, here, "names no device")) from None
    wanted = f"{device.type}:{device.index or 0}"
    if device.type != "cpu" and wanted not in here:
        raise InputError(_none_such(asked, here, "is not on this machine"))
    return torch.device("cpu") if device.type == "cpu" else device


def read_dtype(asked: str | torch.dtype) -> torch.dtype:
    """The dtype of this name: float64, float32, bfloat16 or float16.

    Raises:
        UnknownNameError: any other, also one that torch has but no model computes in.
    """
    name = str(asked).removeprefix("torch.")
    if name not in _DTYPES:
        raise UnknownNameError("dtype", name, _DTYPES)
    return _DTYPES[name]


def read_place(
    device: str | torch.device, dtype: str | torch.dtype
) -> tuple[torch.device, torch.dtype]:
    """Both, and whether the device has the dtype.

    Raises:
        InputError: no such device or dtype, or a device without that dtype.
    """
    where, kind = read_device(device), read_dtype(dtype)
    if kind is torch.float64 and widest(where) is not kind:
        raise InputError(
            f"device {str(device)!r} has no float64; use dtype float32, or the device 'cpu'"
        )
    return where, kind


def widest(device: torch.device) -> torch.dtype:
    """The floating type with the most digits that a device computes in: on MPS float32."""
    return torch.float32 if device.type == "mps" else torch.float64


def _none_such(asked: str | torch.device, here: tuple[str, ...], why: str) -> str:
    return f"device {str(asked)!r} {why}; here are {', '.join(here)}"
