"""What a command was asked for, as the package's own values."""

import shlex
import sys
from pathlib import Path
from typing import Any

from saecircuits.errors import InputError


def load(model: str, *, sites: str | None, release: str | None, device: str, dtype: str) -> Any:
    """A model with dictionaries at these sites, on a device and in a dtype by name."""
    import saecircuits as sc

    names = None if sites is None else sites.split(",")
    kind_or_names = names[0] if names and len(names) == 1 and "." not in names[0] else names
    return sc.load_model(model, sites=kind_or_names, release=release, device=device, dtype=dtype)


def settings_of(**choices: Any) -> Any:
    """The settings of these choices, which are plain text here and checked there."""
    from pydantic import ValidationError

    import saecircuits as sc

    try:
        return sc.AttributionSettings(**choices)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{first['loc'][0]} is {first['input']!r}: {first['msg']}") from None


def contexts_of(
    path: Path | None, licence: str | None, *, is_shown: bool, model: Any, seed: int
) -> Any:
    """The text to look at features on."""
    from saecircuits.publication import generated_contexts, read_contexts

    if path is not None:
        return read_contexts(path, model, licence=licence, is_shown=is_shown)
    if licence is not None:
        raise InputError("--contexts-licence was given without --contexts; give the text's file")
    return generated_contexts(model, seed=seed, is_shown=is_shown)


def counts_of(option: str, given: str) -> list[int]:
    """Numbers with commas between them."""
    parts = given.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise InputError(f"{option} is {given!r}; give whole numbers with commas: 10,50,100")
    return [int(part) for part in parts]


def task_of(own: str | None, folder: Path, given: str | None) -> str:
    """The task asked for, or else the run's own if it is a shipped one."""
    import saecircuits as sc

    if given is not None:
        return given
    if own not in sc.task_names():
        raise InputError(
            f"the task of {folder} is {own!r}, which is not a shipped one; give its "
            "file with --task"
        )
    return own


def command_line() -> str:
    """The command as it was typed."""
    return shlex.join(["saecircuits", *sys.argv[1:]])
