"""Bytes in and out of a folder: atomic, JSON without NaN, and every failure as a RunFolderError.

A file is written beside itself under a passing name and then renamed, so a reader sees the old
file or the new one, never half of one; after a failure (a full disk) the passing file is removed.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError

from saecircuits.errors import InputError, RunFolderError, SaecircuitsError
from saecircuits.runs.folder import PARTIAL_ENDING

Schema = TypeVar("Schema", bound=BaseModel)


def write_bytes(path: Path, data: bytes) -> None:
    """Puts `data` at `path`, whole or not at all.

    Raises:
        RunFolderError: the folder is missing or cannot be written to, or the disk is full.
    """
    write_together({path: data})


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Puts all files in place, in the order given, once every one of them is on the disk.

    Raises:
        RunFolderError: as `write_bytes`; then no file has changed.
    """
    staged: dict[Path, Path] = {}
    try:
        for path, data in contents.items():
            passing = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL_ENDING}")
            staged[passing] = path
            with passing.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for passing, path in staged.items():
            passing.replace(path)
    except OSError as error:
        path = next(iter(contents))
        reason = error.strerror or str(error)
        raise RunFolderError(
            f"cannot write {path.name} in {path.parent}: {reason}; free space or choose a folder "
            "that can be written to"
        ) from None
    finally:
        for passing in staged:
            if passing.exists():
                passing.unlink()


def read_bytes(path: Path, *, most: int | None = None) -> bytes:
    """What is in a file.

    Args:
        most: bytes; a larger file is not read.

    Raises:
        RunFolderError: no such file, it cannot be read, or it is too large.
    """
    try:
        if most is not None and (size := path.stat().st_size) > most:
            raise RunFolderError(f"{path} has {size:,} bytes; at most {most:,} are read")
        return path.read_bytes()
    except FileNotFoundError:
        what = f"has no {path.name}" if path.parent.is_dir() else "does not exist"
        raise RunFolderError(f"{path.parent} {what}; give the folder of a finished run") from None
    except OSError as error:
        raise RunFolderError(f"cannot read {path}: {error.strerror or error}") from None


@contextmanager
def understood(where: str, what: str, *, verb: str = "read") -> Iterator[None]:
    """Whatever fails inside is the file's fault: what other programs write breaks in every way.

    Args:
        where: the file.
        what: what it was to be read as, or written (`verb`).

    Raises:
        InputError: in the place of any other exception.
    """
    try:
        yield
    except SaecircuitsError:
        raise
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{where} cannot be {verb} as {what} ({type(error).__name__}: {reason})"
        ) from error


def to_json(value: Any, *, indent: int | None = 2) -> bytes:
    """Canonical JSON: sorted keys, `plain` values, a newline at the end.

    Args:
        indent: spaces a level; None puts everything on one line.
    """
    text = json.dumps(
        plain(value), sort_keys=True, indent=indent, ensure_ascii=False, allow_nan=False
    )
    # A lone surrogate (half of a broken character in some vocabulary) has no UTF-8.
    return (text + "\n").encode("utf-8", errors="replace")


def plain(value: Any) -> Any:
    """The value as JSON knows it: numpy scalars unpacked, NaN and infinity as None."""
    if isinstance(value, BaseModel):
        return plain(value.model_dump(by_alias=True, warnings=False))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value


def read_json(path: Path, schema: type[Schema]) -> Schema:
    """The record in a JSON file; see `read_bytes` and `parse_json`."""
    return parse_json(read_bytes(path), schema, path=path)


def write_json(path: Path, content: Any, schema: type[BaseModel]) -> None:
    """Writes what can be read back.

    Raises:
        RunFolderError: the folder cannot be written to, or it does not follow the schema.
    """
    data = to_json(content)
    parse_json(data, schema, path=path)
    write_bytes(path, data)


def parse_json(data: bytes, schema: type[Schema], *, path: Path) -> Schema:
    """The record in a JSON file.

    Raises:
        RunFolderError: no JSON, or it does not follow the schema; one line, naming the first key.
    """
    try:
        # pydantic takes NaN for JSON, which no other reader does.
        json.loads(data, parse_constant=_no_constant)
        return schema.model_validate_json(data, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        found = f" (found {_shortened(first['input'])})" if first["type"] != "missing" else ""
        if where == "format" or first["type"] == "extra_forbidden":
            found += "; another version wrote it: read it with that one"
        raise RunFolderError(f"{path}: {where}: {first['msg']}{found}") from None
    except InputError as error:  # a choice that AttributionSettings does not know
        raise RunFolderError(f"{path}: settings: {error}") from None
    except (ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise RunFolderError(
            f"{path} is no valid JSON ({reason}); it may be half-written: write the run again"
        ) from None


def sha256(data: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(data).hexdigest()


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
