"""Folders of dictionaries, found by walking: what is there, where it belongs, and how it loads.

    found = read_dictionaries(folder)
    model = splice(bridge, {one.writes: one.load() for one in found.dictionaries})

Each layout is a module of `splicing.layouts`. Settings are read, weights are not: those of a
dictionary are loaded when it is asked for. No pickle is ever executed.
"""

import os
from pathlib import Path
from typing import Final

from saecircuits.errors import DictionaryError
from saecircuits.splicing.layouts import (
    circuit_tracer,
    dictionary_learning,
    gemma_scope,
    sae_lens,
    sparsify,
)
from saecircuits.splicing.layouts.found import FoundDictionary, Item, Layout, Listing, Unread

_LAYOUTS: Final[tuple[Layout, ...]] = (
    sae_lens.in_sae_lens_folder,
    sparsify.in_sparsify_folder,
    dictionary_learning.in_dictionary_learning_folder,
    circuit_tracer.in_transcoder_set,
    gemma_scope.in_gemma_scope_folder,
)
# Files of weights that have a folder of their own, and such as lie several to a folder.
WEIGHTS_ALONE: Final = (
    sae_lens.WEIGHTS,
    sparsify.WEIGHTS,
    dictionary_learning.WEIGHTS,
    gemma_scope.ARRAYS,
    gemma_scope.TENSORS,
)
WEIGHTS_TOGETHER: Final = circuit_tracer.FILE
_WEIGHTS: Final = (".safetensors", ".pt", ".pth", ".npz", ".bin", ".pkl", ".ckpt")


def read_dictionaries(folder: str | Path) -> Listing:
    """Every dictionary in a folder and the folders in it, and what else has weights there.

    Links to folders are not followed. Of two dictionaries at one hook point both are listed.

    Raises:
        DictionaryError: it is no folder, or nothing in it has weights.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DictionaryError(f"{str(folder)!r} is no folder; give the folder of the dictionaries")
    items: list[Item] = []
    for path, folders, files in os.walk(root):
        folders.sort()
        items += _items(Path(path), frozenset(files))
    if not items:
        raise DictionaryError(
            f"nothing in {str(folder)!r} is a dictionary or has weights; give the folder that the "
            "dictionaries lie in, such as the one that sae_lens's save_model wrote"
        )
    return Listing(
        folder=root,
        dictionaries=tuple(item for item in items if isinstance(item, FoundDictionary)),
        unread=tuple(item for item in items if isinstance(item, Unread)),
    )


def dictionary_at(path: Path) -> FoundDictionary:
    """The dictionary of one folder, or of a file beside others of its kind.

    Raises:
        DictionaryError: none is there, or it cannot be used; it says why.
    """
    listing = read_dictionaries(path if path.is_dir() else path.parent)
    for one in listing.dictionaries:
        if one.path == path:
            return one
    reasons = [one.reason for one in listing.unread if one.path == path]
    raise DictionaryError(
        f"{path} cannot be read as a dictionary: {reasons[0] if reasons else 'none is there'}"
    )


def _items(folder: Path, names: frozenset[str]) -> list[Item]:
    items: list[Item] = []
    for layout in _LAYOUTS:
        found, files = layout(folder, names)
        items += found
        names -= files
    left = sorted(name for name in names if name.endswith(_WEIGHTS))
    if left:
        items.append(Unread(folder, "unknown", _what_is_left(names, left)))
    return items


def _what_is_left(names: frozenset[str], weights: list[str]) -> str:
    if "config.json" in names and any(
        name.startswith(("model", "pytorch_model")) for name in weights
    ):
        return "it is a model of Hugging Face, no dictionary"
    shown = ", ".join(weights[:3]) + (f" and {len(weights) - 3} more" if len(weights) > 3 else "")
    return f"it holds {shown} in no layout that is known"
