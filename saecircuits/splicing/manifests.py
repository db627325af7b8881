"""The manifest of a model folder: what it says, and whether the folder is what it says.

`manifest.json` holds the model's `name`, where its files lie (`model`), the sites spliced by
default, the dictionaries (where each lies, its kind, and the hooks that it reads and writes), and
the SHA-256 of every file. Of a folder of dictionaries alone, `packaged` names a model whose weights
come in a package (`splicing.packaged`) in place of `model`.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from saecircuits.errors import ModelError

NAME: Final = "manifest.json"
_MOST_BYTES: Final = 2**24


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name:
        raise ValueError("a path must lie inside the model's folder")
    return name


Inside = Annotated[str, AfterValidator(_inside)]
Text = Annotated[str, Field(min_length=1)]


class Entry(BaseModel):
    """A dictionary. Other keys (its figures, its training) are kept and not read here."""

    model_config = ConfigDict(extra="allow", strict=True)

    path: Inside
    kind: Literal["sae", "transcoder"]
    hook_name: Text
    hook_name_out: Text | None = None


class Manifest(BaseModel):
    """What loading reads; other keys are kept."""

    model_config = ConfigDict(extra="allow", strict=True)

    name: Text
    description: str = ""
    model: Inside = "model"
    packaged: Text | None = None
    default_sites: list[Text]
    dictionaries: list[Entry]
    files: dict[Inside, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]]


def read(folder: Path) -> dict[str, Any]:
    """The manifest of a model folder, as it stands there.

    Raises:
        ModelError: none is there, or it cannot be used; the first key that is wrong is named.
    """
    path = folder / NAME
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ModelError(f"{path} has more than {_MOST_BYTES:,} bytes; this is no manifest")
        found = json.loads(path.read_text(encoding="utf-8"))
        Manifest.model_validate(found)
    except FileNotFoundError:
        raise ModelError(
            f"{folder} holds no {NAME}; give a folder with a manifest, or build the model with "
            "transformer_lens and use splice()"
        ) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise ModelError(
            f"{path} is no manifest of a model: {where}: {first['msg']}; it holds name, "
            "default_sites, dictionaries (path, kind, hook_name) and files (SHA-256 by name)"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read as JSON: {error}") from None
    return found


def check_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Compares every file of a model folder with its manifest.

    Raises:
        ModelError: a file that is missing, differs, or cannot be read, by name.
    """
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise ModelError(f"{folder} lacks {name}, which its manifest lists; fetch it again")
        try:
            found = sha256_of(path)
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {error.strerror or error}") from None
        if found != expected:
            raise ModelError(
                f"{path} has SHA-256 {found[:12]}..., but the manifest says {expected[:12]}...; "
                "fetch the folder again, or write its manifest anew"
            )


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(2**20):
            sha.update(part)
    return sha.hexdigest()
