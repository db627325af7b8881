"""sae_lens's folders: `cfg.json` and `sae_weights.safetensors`.

Settings are flat up to sae_lens 5, and since 6 what says where a dictionary belongs is under
`metadata`. What activations were scaled or whitened by in training lies beside the weights of its
checkpoints, and sae_lens itself does not read it on loading.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from safetensors.torch import load_file

from saecircuits.errors import DictionaryError
from saecircuits.splicing.convert import dictionary_from_sae, not_affine
from saecircuits.splicing.dictionary import Dictionary
from saecircuits.splicing.gates import ARCHITECTURES
from saecircuits.splicing.layouts.found import (
    NOTHING,
    Declared,
    FoundDictionary,
    Item,
    Unread,
    of_folder,
    read_json,
    setting,
    wanted,
)

_LAYOUT: Final = "sae_lens"
_SETTINGS: Final = "cfg.json"
WEIGHTS: Final = "sae_weights.safetensors"
_SCALER: Final = "activation_scaler.json"
_WHITENING: Final = "activation_whitening.safetensors"
# What training leaves beside them.
_BESIDE: Final = (
    "sparsity.safetensors",
    _WHITENING,
    "activations_store_state.safetensors",
    "trainer_state.pt",
)
# Old names, by the present one.
_OLD: Final = {"hook_name": "hook_point", "hook_head_index": "hook_point_head_index"}


def in_sae_lens_folder(folder: Path, names: frozenset[str]) -> tuple[list[Item], frozenset[str]]:
    """The dictionary of a folder of sae_lens."""
    if WEIGHTS not in names:
        return NOTHING
    files = names & {_SETTINGS, WEIGHTS, *_BESIDE}
    return of_folder(folder, _LAYOUT, _SETTINGS, _found), files


def is_sae_lens_folder(path: Path) -> bool:
    """Whether a folder is one of sae_lens's."""
    return path.is_dir() and (path / _SETTINGS).is_file() and (path / WEIGHTS).is_file()


def load_sae(path: Path) -> Any:
    """The SAE or transcoder of a folder of sae_lens; what training normalised by is folded in.

    Raises:
        DictionaryError: sae_lens cannot read it.
    """
    from sae_lens import SAE

    try:
        sae = SAE.load_from_disk(path, device="cpu")
        _fold(sae, path)
        return sae
    except Exception as error:
        # sae_lens reports a broken folder in many ways; to the caller they are one.
        raise DictionaryError(
            f"{path} cannot be read as a sae_lens dictionary ({type(error).__name__}: "
            f"{' '.join(str(error).split())})"
        ) from error


def _found(folder: Path, settings: Mapping[str, Any]) -> Item:
    where = folder / _SETTINGS
    about = {**settings, **(setting(settings, "metadata", dict, where) or {})}
    for name, old in _OLD.items():
        about.setdefault(name, about.get(old))
    kind = _kind(settings, where)
    if kind not in ARCHITECTURES:
        return Unread(folder, _LAYOUT, f"it {not_affine(kind)}")
    reads = wanted(about, "hook_name", str, where)
    writes = setting(about, "hook_name_out", str, where) or reads
    if about.get("hook_head_index") is not None:
        reason = f"it reads head {about['hook_head_index']} of {reads} alone; no site is one head"
        return Unread(folder, _LAYOUT, reason)
    excluded = about.get("exclude_special_tokens")
    declared = Declared(
        model=setting(about, "model_name", str, where),
        prepend_bos=setting(about, "prepend_bos", bool, where),
        excludes_special_tokens=tuple(excluded) if isinstance(excluded, list) else excluded,
        context_size=setting(about, "context_size", int, where),
        normalisation=_normalisation(settings),
        hf_reads=setting(about, "hf_hook_name", str, where),
    )
    return FoundDictionary(
        path=folder,
        layout=_LAYOUT,
        reads=reads,
        writes=writes,
        kind=kind,
        d_sae=wanted(settings, "d_sae", int, where),
        declared=declared,
        reader=partial(_load, folder, writes),
    )


def _kind(settings: Mapping[str, Any], where: Path) -> str:
    activation = settings.get("activation_fn_str", settings.get("activation_fn"))
    if activation == "topk" and settings.get("activation_fn_kwargs"):
        return "topk"  # up to sae_lens 5 an activation function of the standard kind
    return setting(settings, "architecture", str, where) or "standard"


def _normalisation(settings: Mapping[str, Any]) -> str:
    found = settings.get("normalize_activations") or "none"
    return "expected_average_only_in" if found is True else str(found)


def _fold(sae: Any, folder: Path) -> None:
    """Puts what training normalised by into the weights, where the folder has it."""
    name = sae.cfg.normalize_activations
    if name == "expected_average_only_in" and (factor := _factor(folder)) is not None:
        sae.fold_activation_norm_scaling_factor(factor)
    if name == "covariance_whitening" and (folder / _WHITENING).is_file():
        found = load_file(folder / _WHITENING)
        sae.fold_activation_whitening(found["mean"], found["matrix"], found["inverse_matrix"])


def _factor(folder: Path) -> float | None:
    for name, key in ((_SCALER, "scaling_factor"), (_SETTINGS, "norm_scaling_factor")):
        if (folder / name).is_file():
            factor = setting(read_json(folder / name), key, float, folder / name)
            if factor is not None:
                return factor
    return None


def _load(folder: Path, site: str) -> Dictionary:
    return dictionary_from_sae(load_sae(folder), site, is_copied=False)
