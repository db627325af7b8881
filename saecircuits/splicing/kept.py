"""Folders that are made once and kept in the user's cache, each with the SHA-256 of its files.

1. A folder is made beside its place, under a name that nobody looks for.
2. The sums of its files are written into it, as the last file.
3. It is renamed to its place: it is there whole or not at all, whoever else makes it meanwhile.
4. Whoever takes it adds up its files first. What has changed since is made anew.

What stops in between (Ctrl-C, a full disk) removes what it has made. A process that is killed
cannot; what it left is removed a day later by the next that makes something.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from saecircuits.errors import ModelError
from saecircuits.splicing.manifests import sha256_of

SUMS: Final = "sha256.json"
_VARIABLE: Final = "SAECIRCUITS_CACHE"
_MAKING: Final = ".making-"
_DAY: Final = 24 * 60 * 60.0


def cache(part: str) -> Path:
    """A part of the cache: in `SAECIRCUITS_CACHE`, or in the system's place for caches."""
    given = os.environ.get(_VARIABLE)
    if given:
        return Path(given) / part
    from platformdirs import user_cache_path

    return user_cache_path("saecircuits") / part


def is_whole(place: Path) -> bool:
    """Whether a folder is there with every file that was put into it, unchanged."""
    try:
        sums = json.loads((place / SUMS).read_text(encoding="utf-8"))
        return bool(sums) and all(sha256_of(place / name) == sum_ for name, sum_ in sums.items())
    except (OSError, ValueError, AttributeError, TypeError):
        return False


def kept(place: Path, make: Callable[[Path], None]) -> Path:
    """The folder at a place of the cache, made by `make` if it is not there, or not as it was.

    Args:
        make: writes files into the empty folder that it is given.

    Raises:
        ModelError: the cache cannot be written.
    """
    if is_whole(place):
        return place
    with _unwritable_refused(place.parent):
        place.parent.mkdir(parents=True, exist_ok=True)
        _remove_left_behind(place.parent)
        made = Path(mkdtemp(prefix=_MAKING, dir=place.parent))
    try:
        make(made)
        with _unwritable_refused(place.parent):
            sums = {path.name: sha256_of(path) for path in sorted(made.iterdir())}
            (made / SUMS).write_text(json.dumps(sums, indent=2) + "\n", encoding="utf-8")
            _put(made, place)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return place


def check_room(folder: Path, needed: float) -> None:
    """Refuses a folder on a disk that has less room than that.

    Args:
        needed: bytes.

    Raises:
        ModelError: with both figures.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ModelError(
            f"{folder.parent} has {free / 1e9:.2f} GB left, and {needed / 1e9:.2f} GB are needed; "
            f"make room, or set {_VARIABLE} to a folder elsewhere"
        )


def _put(made: Path, place: Path) -> None:
    """Renames what was made to its place, unless another process was faster: it made the same."""
    with suppress(OSError):
        made.rename(place)
        return
    if is_whole(place):
        return
    damaged = Path(mkdtemp(prefix=_MAKING, dir=place.parent))
    try:
        with suppress(FileNotFoundError):  # another process has just put it away
            place.rename(damaged / place.name)
        try:
            made.rename(place)
        except OSError:
            if not is_whole(place):
                raise
    finally:
        shutil.rmtree(damaged, ignore_errors=True)


def _remove_left_behind(folder: Path) -> None:
    for left in folder.glob(f"{_MAKING}*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _DAY:
                shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _unwritable_refused(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ModelError(
            f"the cache {folder} cannot be written ({error.strerror or error}); set {_VARIABLE} to "
            "a folder where files can be written"
        ) from None
