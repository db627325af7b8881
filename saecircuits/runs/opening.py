"""Opening a run's folder: for a new run, for one that goes on, and what is removed from it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from saecircuits.edges.settings import AttributionSettings
from saecircuits.errors import RunFolderError
from saecircuits.runs.folder import (
    FEATURES,
    FILES,
    PARTIAL_ENDING,
    check_folder,
    is_run,
    unusable,
)
from saecircuits.runs.records import read_record


def open_folder(
    path: str | Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    identity: Mapping[str, Any] | None = None,
) -> Path:
    """The folder, made if it is not there, and ready for a run.

    Args:
        overwrite: a run that is there is removed; other files beside it stay.
        resume: a run that is there is kept, if it is the same.
        identity: with `resume`, what the run must agree with; from `run_identity`.

    Raises:
        InputError: both `overwrite` and `resume`.
        RunFolderError: a run is there and neither was asked for; other files are there and no run;
            with `resume`, a run of another task, model or setting; or the folder cannot be made.
    """
    folder = check_folder(path, overwrite=overwrite, resume=resume)
    if is_run(folder):
        if resume:
            _check_same(folder, identity or {})
        else:
            remove_features(folder)
            remove_files(folder, FILES)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unusable(folder, error.strerror or error) from None
    remove_files(folder, [entry.name for entry in folder.glob(f".*{PARTIAL_ENDING}")])
    return folder


@contextmanager
def nothing_left_behind(path: str | Path) -> Iterator[None]:
    """Folders that come to be inside, and are empty when an exception passes, are removed again."""
    folder = Path(path)
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        yield
    except BaseException:
        for place in new:
            with suppress(OSError):  # not there, or no longer empty
                place.rmdir()
        raise


def run_identity(
    settings: AttributionSettings, provenance: Mapping[str, Any], task: str | None
) -> dict[str, Any]:
    """What two runs must agree in for one to continue the other, by dotted name.

    Args:
        provenance: of a graph or circuit.
        task: name of the task.
    """
    dictionaries = provenance.get("dictionaries", {})
    return {
        "task": task,
        **{key: provenance.get(key) for key in ("prompts", "model", "model_digest", "dtype")},
        **{f"dictionaries.{hook}": digest for hook, digest in sorted(dictionaries.items())},
        **{f"settings.{name}": value for name, value in settings.model_dump().items()},
    }


def _check_same(folder: Path, identity: Mapping[str, Any]) -> None:
    record = read_record(folder)
    task = record.task.name if record.task is not None else None
    stored = run_identity(record.settings, record.provenance, task)
    for key in [*identity, *(key for key in stored if identity and key not in identity)]:
        if stored.get(key) != identity.get(key):
            raise RunFolderError(
                f"{folder} holds a run with {key} {stored.get(key)!r}, but {identity.get(key)!r} "
                "is asked for; resume with the same, overwrite it, or choose another folder"
            )


def remove_files(folder: Path, names: Sequence[str]) -> None:
    """Removes files of a run; those that are not there are passed by.

    Raises:
        RunFolderError: one cannot be removed.
    """
    try:
        for name in names:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise RunFolderError(
            f"cannot remove {name} from {folder}: {error.strerror or error}"
        ) from None


def remove_features(folder: Path) -> None:
    """Removes the dashboards of a run, and their folder if nothing else is in it.

    Raises:
        RunFolderError: one cannot be removed.
    """
    place = folder / FEATURES
    if place.is_dir():
        remove_files(place, [path.name for path in place.glob("*.json")])
        with suppress(OSError):  # something of somebody's is in it
            place.rmdir()
