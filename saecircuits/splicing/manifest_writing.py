"""The manifest of a model folder, made from what lies in the folder."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from saecircuits.errors import InputError, ModelError, UnknownNameError
from saecircuits.new_file import check_new_file
from saecircuits.splicing import manifests
from saecircuits.splicing.folders import read_dictionaries
from saecircuits.splicing.layouts.found import FoundDictionary

# Where the model's own files may lie, and the one by which they are known.
_MODEL_FOLDERS: Final = ("model", ".")
_CONFIG: Final = "config.json"


def write_manifest(
    folder: str | Path,
    *,
    name: str | None = None,
    description: str = "",
    default_sites: Sequence[str] | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Writes `manifest.json` into a folder with a model and dictionaries, and gives what it says.

    The model lies in `model/` or in the folder itself, in Hugging Face's format with its tokenizer;
    dictionaries lie anywhere in the folder, in any layout that `read_dictionaries` knows. The
    manifest has the SHA-256 of every file, so that `load_model(folder)` sees a change.

    Args:
        name: what files call the model; the folder's name if None.
        default_sites: hook points that are spliced where nothing else is asked for; if None all
            that have one SAE, or else one transcoder.
        overwrite: replace a manifest that is there.

    Raises:
        ModelError: no folder with a model in it.
        DictionaryError: a folder without dictionaries.
        UnknownNameError: a default site without a dictionary.
        RunFolderError: a manifest is there, or none can be written.
    """
    root = Path(folder).resolve()
    model = _model_in(root)
    target = check_new_file(root / manifests.NAME, is_replaced=overwrite)
    listing = read_dictionaries(root)
    if not listing.dictionaries:
        reason = f": {listing.unread[0].reason}" if listing.unread else ""
        raise InputError(f"{root} holds no dictionary that can be read{reason}")
    hooks = _sites_of(listing.dictionaries)
    for site in default_sites or ():
        if site not in hooks:
            raise UnknownNameError("site with a dictionary", site, hooks)
    manifest = {
        "name": name or root.name,
        "description": description,
        "model": model,
        "default_sites": list(hooks if default_sites is None else default_sites),
        "dictionaries": [_entry(one, root) for one in listing.dictionaries],
        "files": {
            path.relative_to(root).as_posix(): manifests.sha256_of(path)
            for path in sorted(root.rglob("*"))
            if path.is_file() and path != target
        },
    }
    manifests.Manifest.model_validate(manifest)
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    partial = target.with_name(f".{target.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(target)
    return manifest


def _model_in(root: Path) -> str:
    if not root.is_dir():
        raise ModelError(f"{root} is no folder; give the folder of a model and its dictionaries")
    for name in _MODEL_FOLDERS:
        if (root / name / _CONFIG).is_file():
            return name
    raise ModelError(
        f"{root} holds no model: neither model/{_CONFIG} nor {_CONFIG} is there; save one with "
        "save_pretrained, its tokenizer too"
    )


def _sites_of(found: Sequence[FoundDictionary]) -> list[str]:
    """Hook points with one SAE, or with no SAE and one transcoder."""
    saes = Counter(one.writes for one in found if one.reads == one.writes)
    transcoders = Counter(one.writes for one in found if one.reads != one.writes)
    return [
        hook
        for hook in dict.fromkeys(one.writes for one in found)
        if saes[hook] == 1 or (saes[hook] == 0 and transcoders[hook] == 1)
    ]


def _entry(one: FoundDictionary, root: Path) -> dict[str, Any]:
    is_transcoder = one.reads != one.writes
    return {
        "path": one.path.relative_to(root).as_posix(),
        "kind": "transcoder" if is_transcoder else "sae",
        "hook_name": one.reads,
        **({"hook_name_out": one.writes} if is_transcoder else {}),
        "d_sae": one.d_sae,
    }
