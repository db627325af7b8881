"""A device that is not there: tensors said to be on it are computed on the CPU, by its rules.

A tensor "on" CUDA or MPS is a wrapper that reports that device and holds a real tensor on the CPU.
Each operation is first put to the device rules of torch's fake tensors (`FakeTensor`), which know
devices without having them, and then computed. So what would raise on a GPU raises here: an index
made on the CPU, two devices in one sum, `numpy()` of what is not on the CPU, a generator of another
device, float64 on MPS. Values are those of the CPU, and code that looks at them goes on as it does.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._mode_utils import no_dispatch

from saecircuits.splicing import devices

aten = torch.ops.aten
CPU = torch.device("cpu")
# Operations whose tensors may lie on two devices: copies, and indexing, which has its own rule.
_COPIES = {aten._to_copy.default, aten.copy_.default, aten._copy_from.default}
_INDEXING = {
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
    aten._unsafe_index.Tensor,
    aten._unsafe_index_put.default,
}
# Beside these, torch takes numbers (CPU tensors without dimensions) from the CPU in pointwise
# operations alone; the rules of fake tensors take them everywhere.
_TAKE_NUMBERS = {
    aten.fill_.Tensor,
    aten.fill.Tensor,
    aten.masked_fill.Tensor,
    aten.masked_fill_.Tensor,
    aten.index_fill.int_Tensor,
    aten.index_fill_.int_Tensor,
    aten.where.self,
}
_WIDE = (torch.float64, torch.complex128)


class Pretended(Tensor):
    """A tensor that says it is on a pretended device and whose numbers are `held`, on the CPU.

    To torch's own code it is on `meta`, which asks for no driver; to Python it is where it says.
    """

    held: Tensor
    said: torch.device

    __torch_function__ = torch._C._disabled_torch_function_impl  # pyright: ignore[reportAssignmentType]

    @staticmethod
    def __new__(cls, held: Tensor, said: torch.device) -> "Pretended":
        is_strided = held.layout is torch.strided
        made = Tensor._make_wrapper_subclass(  # pyright: ignore[reportAttributeAccessIssue]
            cls,
            held.size(),
            strides=held.stride() if is_strided else None,
            storage_offset=held.storage_offset() if is_strided else None,
            dtype=held.dtype,
            layout=held.layout,
            device=torch.device("meta"),
        )
        made.held, made.said = held, said
        return made

    device = property(lambda self: self.said)  # pyright: ignore[reportAssignmentType]
    is_cpu = property(lambda self: False)  # pyright: ignore[reportAssignmentType]
    is_meta = property(lambda self: False)  # pyright: ignore[reportAssignmentType]
    is_cuda = property(lambda self: self.said.type == "cuda")  # pyright: ignore
    is_mps = property(lambda self: self.said.type == "mps")  # pyright: ignore

    def __getitem__(self, index: Any) -> Tensor:
        return super().__getitem__(_as_index(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(_as_index(index), value)

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError(f"can't convert {self.said} device type tensor to numpy; use Tensor.cpu()")

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.numpy()

    def tolist(self) -> Any:
        return self.held.tolist()

    def new_tensor(self, data: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
        return torch.tensor(data, dtype=dtype or self.dtype, device=device or self.said)

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"Pretended({self.held!r}, device={self.said})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


class _Everywhere(FakeTensorMode):
    """Takes every operation while a device is pretended, also those without a pretended tensor.

    As a mode of fake tensors it keeps torch from looking for the real device.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


def _as_index(index: Any) -> Any:
    """An index as torch's own code would read it, where lists become tensors on `meta`."""
    if isinstance(index, tuple):
        return tuple(map(_as_index, index))
    return torch.as_tensor(index) if isinstance(index, list | np.ndarray) else index


_device: list[torch.device] = []  # the pretended one, which torch's own code knows as "meta"


@contextmanager
def pretending(device: str) -> Iterator[None]:
    """Inside, this machine has one accelerator more, such as "cuda:0"; name it by number."""
    _device.append(torch.device(device))
    try:
        with _Everywhere(), mock.patch.object(devices, "devices_here", _here):
            yield
    finally:
        _device.pop()


def _here() -> tuple[str, ...]:
    return ("cpu", str(_device[-1]))


_RULES = FakeTensorMode()


@cache
def _stand_in(device: torch.device, is_number: bool) -> Tensor:
    """A fake tensor in a tensor's place: its device counts, and whether it has dimensions."""
    with _RULES:
        return torch.empty(() if is_number else (1,), device=device)


def _computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What an operation gives on the CPU, said to be where torch would put it."""
    tensors: list[Tensor] = []
    given: dict[int, Pretended] = {}

    def held(value: Any) -> Any:
        if isinstance(value, Tensor):
            tensors.append(value)
            if isinstance(value, Pretended):
                given[id(value.held)] = value
                return value.held
        elif isinstance(value, list | tuple):
            return type(value)(map(held, value))
        elif isinstance(value, torch.device):
            return CPU
        return value

    real_args = [held(value) for value in args]
    real_kwargs = {name: held(value) for name, value in kwargs.items()}
    device = _device_of_result(func, tensors, kwargs.get("device"))
    _check(func, tensors, args, kwargs.get("generator"), device)
    # What is already there was laid out without numbers, as modules are before their weights.
    may_be_wide = device.type != "mps" or str(kwargs.get("device")) == "meta"
    may_be_wide |= any(one.dtype in _WIDE and isinstance(one, Pretended) for one in tensors)
    found = func(*real_args, **real_kwargs)
    if torch.Tag.inplace_view in func.tags and given:
        with no_dispatch():  # the wrapper takes the new shape too
            func(*args, **kwargs)
    if device == CPU:
        return found

    def said(value: Any) -> Any:
        if isinstance(value, Tensor):
            # What is written in place, or returned as it was given, stays the same object.
            if id(value) in given:
                return given[id(value)]
            if value.dtype in _WIDE and not may_be_wide:
                raise TypeError(f"{func}: {value.dtype} on {device}, which has no float64")
            return Pretended(value, device)
        return type(value)(map(said, value)) if isinstance(value, list | tuple) else value

    return said(found)


def _device_of_result(func: Any, tensors: list[Tensor], asked: Any) -> torch.device:
    if asked is not None:
        named = torch.device(asked)
        return _device[-1] if named.type == "meta" else named
    found = {tensor.device for tensor in tensors}
    if len(found) < 2:
        return found.pop() if found else CPU
    if func in _COPIES or func in _INDEXING:
        return tensors[0].device
    stand_ins = [_stand_in(tensor.device, tensor.dim() == 0) for tensor in tensors]
    return FakeTensor._find_common_device(func, stand_ins)[0]


def _check(
    func: Any, tensors: list[Tensor], args: Any, generator: Any, device: torch.device
) -> None:
    """What the rules of fake tensors let through and a GPU does not."""
    if generator is not None and generator.device.type != device.type:
        raise RuntimeError(f"{func}: a generator on {generator.device} draws on {device}")
    found = {tensor.device for tensor in tensors}
    if len(found) < 2 or func in _COPIES:
        return
    if func in _INDEXING:
        own = tensors[0].device
        indices = [index for index in args[1] if isinstance(index, Tensor)]
        if any(index.device not in (CPU, own) for index in indices):
            raise RuntimeError(f"{func}: an index on {found - {own}} of a tensor on {own}")
        values = [value for value in args[2:3] if isinstance(value, Tensor)]
        if any(value.device != own and (value.dim() or value.device != CPU) for value in values):
            raise RuntimeError(f"{func}: values on {values[0].device} put on {own}")
    elif func not in _TAKE_NUMBERS and torch.Tag.pointwise not in func.tags:
        raise RuntimeError(f"{func}: tensors on {sorted(map(str, found))}, expected one device")
