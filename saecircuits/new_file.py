"""Whether a file can be put somewhere: looked at before anything is computed for it."""

import os
from pathlib import Path

from saecircuits.errors import RunFolderError


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
