"""What a command was asked for, as the package's own values."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from saecircuits.errors import InputError


def load(model: str, *, sites: str | None, release: str | None, device: str, dtype: str) -> Any:
    """A model with dictionaries at these sites, on a device and in a dtype by name."""
    return _load(model, sites=_sites_of(sites), release=release, device=device, dtype=dtype)


def load_of_run(
    record: Any,
    folder: Path,
    *,
    model: str | None,
    sites: str | None,
    release: str | None,
    device: str,
    dtype: str | None,
) -> Any:
    """The model that a run was found in: what is not asked for is taken from its record.

    Raises:
        InputError: a model that cannot be found, or that is another one; both are named.
    """
    from saecircuits.splicing import require_same_model

    known = record.provenance
    named = model or known.get("source") or known.get("model")
    if release is None and model is None:
        release = known.get("release")
    # Sites of a release are names of its SAEs, those of a folder are hooks. Earlier versions
    # recorded neither: the dictionaries are known by their hooks.
    is_recorded = (release is None) == (known.get("release") is None)
    own = known.get("sites") if is_recorded else None
    if own is None and release is None:
        own = list(record.dictionaries)
    wanted = own if sites is None else _sites_of(sites)
    try:
        spliced = _load(
            str(named),
            sites=wanted,
            release=release,
            device=device,
            dtype=dtype or record.dtype,
        )
        require_same_model(spliced, known, what="circuit")
    except InputError as error:
        raise InputError(
            f"{folder} is of the model {known.get('model')!r}, and {named!r} cannot be taken for "
            f"it: {error}; --model, --sites and --release say where it is"
        ) from None
    return spliced


def _sites_of(given: str | None) -> str | list[str] | None:
    """A kind of site, or hook names."""
    names = None if given is None else given.split(",")
    return names[0] if names and len(names) == 1 and "." not in names[0] else names


def _load(model: str, **choices: Any) -> Any:
    import saecircuits as sc

    spliced = sc.load_model(model, **choices)
    # The command stands in the run's record as it was typed; so may the folder in it.
    return replace(spliced, provenance={**spliced.provenance, "source": model})


def load_task(name: str | Path, model: Any, *, limit: int | None = None) -> Any:
    """A task, by name or from a file, for this model."""
    import saecircuits as sc

    task = sc.load_task(name, model, limit=limit)
    return task if task.source is None else replace(task, source=str(name))


def settings_of(**choices: Any) -> Any:
    """The settings of these choices, which are plain text here and checked there."""
    from pydantic import ValidationError

    import saecircuits as sc

    try:
        return sc.AttributionSettings(**choices)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{first['loc'][0]} is {first['input']!r}: {first['msg']}") from None


def check_contexts(path: Path | None, licence: str | None) -> None:
    """Refuses a text that cannot be read, and a licence of none."""
    from saecircuits.features.texts import read_text

    if path is not None:
        read_text(path)
    elif licence is not None:
        raise InputError("--contexts-licence was given without --contexts; give the text's file")


def contexts_of(
    path: Path | None, licence: str | None, *, is_shown: bool, model: Any, seed: int
) -> Any:
    """The text to look at features on."""
    from saecircuits.features.texts import generated_contexts, no_contexts, read_contexts

    if path is not None:
        return read_contexts(path, model, licence=licence, is_shown=is_shown)
    return generated_contexts(model, seed=seed) if is_shown else no_contexts()


def counts_of(option: str, given: str) -> list[int]:
    """Numbers with commas between them."""
    parts = given.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise InputError(f"{option} is {given!r}; give whole numbers with commas: 10,50,100")
    return [int(part) for part in parts]


def task_of(
    record: Any, folder: Path, given: str | None, *, limit: int | None = None
) -> str | Path:
    """The task asked for, or else the run's own: a shipped one, or its file if that is here.

    Raises:
        InputError: the run's task is a file that is not here, or unknown; a task that cannot be
            read.
    """
    from saecircuits.tasks import check_task

    name = _own_task(record, folder) if given is None else given
    check_task(name, limit=limit)
    return name


def _own_task(record: Any, folder: Path) -> str | Path:
    import saecircuits as sc

    own = record.task
    if own is not None and own.source is not None:
        if Path(own.source).is_file():
            return Path(own.source)
        raise InputError(
            f"the task of {folder} was read from {own.source!r}, which is not here; give its file "
            "with --task"
        )
    if own is None or own.name not in sc.task_names():
        raise InputError(
            f"the task of {folder} is {record.task_name!r}, which is not a shipped one; give its "
            "file with --task"
        )
    return own.name


def command_line() -> str:
    """The command as it was typed."""
    return shlex.join(["saecircuits", *sys.argv[1:]])
