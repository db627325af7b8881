"""transformers' reader of GGUF files, told to do once what it does again and again.

For one model it parses the file's header three times, of which each takes seconds (every entry of
the vocabulary is an array), and makes the table of tensor names anew for every module. Here both
are made once, and its count of the tensors goes to the caller instead of the terminal.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any


@contextmanager
def header_read_once(tell: Callable[[float], None]) -> Iterator[None]:
    """Inside, transformers parses the header of a GGUF file once.

    Args:
        tell: called with the share of the tensors that are unpacked.
    """
    import gguf
    from transformers import modeling_gguf_pytorch_utils as reading

    def counted(tensors: Sequence[Any], **choices: Any) -> Iterable[Any]:
        for number, tensor in enumerate(tensors, 1):
            yield tensor
            tell(number / len(tensors))

    changed = {
        (gguf, "GGUFReader"): cache(gguf.GGUFReader),
        (gguf, "get_tensor_name_map"): cache(gguf.get_tensor_name_map),
        (reading, "tqdm"): counted,
    }
    # Another version of transformers may do without some of these; then nothing is saved there.
    changed = {at: value for at, value in changed.items() if hasattr(*at)}
    before = {at: getattr(*at) for at in changed}
    try:
        for at, value in changed.items():
            setattr(*at, value)
        yield
    finally:
        for at, value in before.items():
            setattr(*at, value)
