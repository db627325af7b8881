"""sparsify's folders (eai-sparsify): one a module of the model, `cfg.json` and `sae.safetensors`.

A folder is called like the module whose output it was trained on (`layers.1`, `layers.1.mlp`); a
transcoder reads that module's input. Of several seeds each has a folder in that one. The run's own
settings lie in `config.json` above them. With e the encoder's rows:

    pre = (x - b_dec) e^T + b      a transcoder's input is not shifted
    a   = the k largest of relu(pre), or the largest of each of k groups
    x'  = a W_dec + b_dec (+ x W_skip^T)
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from safetensors.torch import load_file

from saecircuits.splicing.dictionary import Dictionary
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
from saecircuits.splicing.layouts.weights import made, module_input, module_output

_LAYOUT: Final = "sparsify"
_SETTINGS: Final = "cfg.json"
WEIGHTS: Final = "sae.safetensors"
_RUN: Final = "config.json"
_SEED: Final = re.compile(r"seed\d+")
# What training leaves to go on from.
_STATE: Final = re.compile(r"(state|(optimizer|lr_scheduler)_\d+)\.pt")
_GATES: Final = {"topk": "topk", "groupmax": "groupmax"}


def in_sparsify_folder(folder: Path, names: frozenset[str]) -> tuple[list[Item], frozenset[str]]:
    """The dictionary of a folder of sparsify."""
    if WEIGHTS not in names:
        left = frozenset(name for name in names if _STATE.fullmatch(name))
        return (NOTHING[0], left) if _RUN in names else NOTHING
    files = names & {_SETTINGS, WEIGHTS}
    return of_folder(folder, _LAYOUT, _SETTINGS, _found), files


def _found(folder: Path, settings: Mapping[str, Any]) -> Item:
    where = folder / _SETTINGS
    is_seed = _SEED.fullmatch(folder.name) is not None
    home = folder.parent if is_seed else folder
    is_transcoder = bool(setting(settings, "transcode", bool, where))
    writes = module_output(home.name)
    reads = module_input(home.name) if is_transcoder else writes
    if writes is None or reads is None:
        what = "a transcoder of" if is_transcoder else "what is given out by"
        reason = f"it is of {what} the module {home.name!r}, where no site is"
        return Unread(folder, _LAYOUT, reason)
    activation = setting(settings, "activation", str, where) or "topk"
    if activation not in _GATES:
        reason = f"its activation is {activation!r}; {' and '.join(_GATES)} are known"
        return Unread(folder, _LAYOUT, reason)
    gate = "signed_topk" if setting(settings, "signed", bool, where) else _GATES[activation]
    d_sae = setting(settings, "num_latents", int, where) or (
        wanted(settings, "d_in", int, where) * wanted(settings, "expansion_factor", int, where)
    )
    k = wanted(settings, "k", int, where)
    return FoundDictionary(
        path=folder,
        layout=_LAYOUT,
        reads=reads,
        writes=writes,
        kind=f"{gate}_transcoder" if is_transcoder else gate,
        d_sae=d_sae,
        declared=_declared(home.parent),
        reader=partial(_load, folder, gate, k, reads if is_transcoder else None),
    )


def _declared(run: Path) -> Declared:
    path = run / _RUN
    settings = read_json(path) if path.is_file() else {}
    return Declared(
        model=setting(settings, "model", str, path),
        context_size=setting(settings, "ctx_len", int, path),
    )


def _load(folder: Path, gate: str, k: int, reads: str | None) -> Dictionary:
    weights = load_file(folder / WEIGHTS)
    skip = weights.get("W_skip")
    return made(
        gate,
        W_enc=weights["encoder.weight"].T,
        b_enc=weights["encoder.bias"],
        W_dec=weights["W_dec"],
        b_dec=weights["b_dec"],
        shift=weights["b_dec"] if reads is None else None,
        W_skip=None if skip is None else skip.T,
        k=k,
        reads=reads,
    )
