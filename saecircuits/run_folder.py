"""Whether a run may be written to a folder: looked at before anything is loaded or computed.

`publication.folder` says what a run's folder holds. Nothing here changes one.
"""

import json
import os
from pathlib import Path
from typing import Final

from saecircuits.errors import InputError, RunFolderError, cut

RECORD: Final = "circuit.json"
NODES: Final = "nodes.parquet"
EDGES: Final = "edges.parquet"
PARTS: Final = "edge_parts.parquet"
TABLES: Final = (NODES, EDGES, PARTS)
HUMAN_LABELS: Final = "labels.jsonl"
PARTIAL_ENDING: Final = ".partial"
_SHOWN: Final = 120  # characters of a path that a message quotes


def check_folder(path: str | Path, *, overwrite: bool = False, resume: bool = False) -> Path:
    """The folder, if a run may be written there; what `overwrite` and `resume` say of one.

    Raises:
        InputError: both `overwrite` and `resume`.
        RunFolderError: a run is there and neither was asked for; other files are there and no run;
            or it is no folder and cannot become one.
    """
    if overwrite and resume:
        raise InputError("overwrite and resume were both asked for; choose one")
    folder = Path(path)
    names = _names(folder)
    if is_run(folder):
        if not (overwrite or resume):
            raise RunFolderError(
                f"{folder} already holds a run; overwrite it, resume it, or choose another folder"
            )
    elif set(names) - {*TABLES, HUMAN_LABELS} or (names and not (overwrite or resume)):
        # Tables alone are what an interrupted first write may leave, and labels one that overwrote.
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        raise RunFolderError(
            f"{folder} holds other files ({shown}) and no run; choose a new or empty folder"
        )
    return folder


def check_new_file(path: str | Path, *, is_replaced: bool = True) -> Path:
    """The path, if a file can be put there.

    Args:
        is_replaced: one that is there already may be replaced.

    Raises:
        RunFolderError: a folder, one that is there already, or in no folder that can be written to.
    """
    file = Path(path)
    if file.exists() and not is_replaced:
        raise RunFolderError(f"{file} is there already; give another name, or remove it")
    if file.is_dir():
        raise RunFolderError(f"{file} is a folder; give a file")
    if not file.parent.is_dir():
        raise RunFolderError(
            f"{file} cannot be written (No such folder as {file.parent}); make it, or give a file "
            "in one that exists"
        )
    if not os.access(file.parent, os.W_OK):
        raise RunFolderError(f"{file.parent} cannot be written to; choose another folder")
    return file


def is_run(folder: Path) -> bool:
    """Whether a run is there, of any version of this format; it need not be readable further.

    Raises:
        RunFolderError: its record cannot be read.
    """
    record = folder / RECORD
    try:
        found = json.loads(record.read_bytes()) if record.is_file() else None
    except (ValueError, RecursionError):
        return False
    except OSError as error:
        raise RunFolderError(f"cannot read {record}: {error.strerror or error}") from None
    return isinstance(found, dict) and str(found.get("format")).startswith("saecircuits/")


def unusable(folder: Path, reason: object) -> RunFolderError:
    """What is said of a folder that the system refuses."""
    return RunFolderError(
        f"cannot use {cut(str(folder), _SHOWN)} as a folder: {reason}; choose another one"
    )


def _names(folder: Path) -> list[str]:
    """What the folder holds, leavings of an interrupted write apart; nothing if there is none."""
    try:
        there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
        if folder.exists() and not folder.is_dir():
            raise RunFolderError(f"{folder} is a file; choose a folder")
        if not there.is_dir():
            raise unusable(folder, f"{there} is a file")
        if not os.access(there, os.W_OK | os.X_OK):
            raise RunFolderError(f"{there} cannot be written to; choose another folder")
        names = sorted(entry.name for entry in folder.iterdir()) if there == folder else []
    except OSError as error:
        raise unusable(folder, error.strerror or error) from None
    except ValueError as error:  # a null character in the path
        raise unusable(folder, error) from None
    return [name for name in names if not _is_leaving(name)]


def _is_leaving(name: str) -> bool:
    return name.startswith(".") and name.endswith(PARTIAL_ENDING)
