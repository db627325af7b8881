"""A limit on memory as it is given: bytes, or text such as `4GB`."""

from typing import Final, TypeAlias

from pydantic import ByteSize, TypeAdapter, ValidationError

from saecircuits.errors import InputError

DEFAULT: Final = ByteSize(4_000_000_000)
MemoryLimit: TypeAlias = int | str


def read_limit(given: object) -> ByteSize:
    """The limit in bytes.

    Raises:
        InputError: neither a number of bytes nor text of one.
    """
    try:
        return TypeAdapter(ByteSize).validate_python(given)
    except ValidationError:
        raise InputError(f"memory_limit is {given!r}; give bytes, or text like '4GB'") from None


def readable(size: int) -> str:
    """`1.5 GB`."""
    return f"{size / 1e9:.1f} GB"
