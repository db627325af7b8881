"""dictionary_learning's folders: `ae.pt`, and `config.json` with `trainer` and `buffer` in it.

The weights are in torch's format, of which tensors are read and nothing else. A dictionary is of
the output of a module, which settings or folders name (`resid_post_layer_8`, `mlp_out_layer_3`).
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from saecircuits.errors import DictionaryError
from saecircuits.splicing.dictionary import Dictionary
from saecircuits.splicing.layouts.found import (
    NOTHING,
    Declared,
    FoundDictionary,
    Item,
    Unread,
    of_folder,
    setting,
    wanted,
)
from saecircuits.splicing.layouts.weights import made
from saecircuits.splicing.sites import layer_of_hook

_LAYOUT: Final = "dictionary_learning"
_SETTINGS: Final = "config.json"
WEIGHTS: Final = "ae.pt"
_CHECKPOINT: Final = re.compile(r"ae_\d+\.pt")
# By the name of the library's class: what gate it has here.
_GATES: Final = {
    "AutoEncoder": "relu",
    "AutoEncoderNew": "relu",
    "GatedAutoEncoder": "gated",
    "JumpReluAutoEncoder": "jumprelu",
    "AutoEncoderTopK": "topk",
    "BatchTopKSAE": "jumprelu",
    "MatryoshkaBatchTopKSAE": "jumprelu",
}
_UNSHIFTED: Final = ("AutoEncoderNew", "JumpReluAutoEncoder")
# What a tensor is called, by the hook point's name.
_TENSORS: Final = {
    "hook_resid_post": re.compile(r"resid[_-]?(post|out)"),
    "hook_resid_pre": re.compile(r"resid[_-]?(pre|in)(?![a-z])"),
    "hook_mlp_out": re.compile(r"mlp([_-]?out)?"),
    "hook_attn_out": re.compile(r"attn([_-]?out)?|attention([_-]?out)?"),
}
_FOLDER: Final = re.compile(r"(?P<tensor>[a-z]+[_-][a-z]+)[_-]?layer[_-]?(?P<layer>\d+)")


def in_dictionary_learning_folder(
    folder: Path, names: frozenset[str]
) -> tuple[list[Item], frozenset[str]]:
    """The dictionary of a folder of dictionary_learning."""
    if WEIGHTS not in names:
        if folder.name == "checkpoints":
            return NOTHING[0], frozenset(name for name in names if _CHECKPOINT.fullmatch(name))
        return NOTHING
    files = names & {_SETTINGS, WEIGHTS}
    return of_folder(folder, _LAYOUT, _SETTINGS, _found), files


def _found(folder: Path, settings: Mapping[str, Any]) -> Item:
    where = folder / _SETTINGS
    trainer = wanted(settings, "trainer", dict, where)
    buffer = setting(settings, "buffer", dict, where) or {}
    kind = wanted(trainer, "dict_class", str, where)
    if kind not in _GATES:
        return Unread(folder, _LAYOUT, f"its class is {kind!r}; known are {', '.join(_GATES)}")
    if buffer.get("io", "out") != "out":
        reason = f"it was trained on io={buffer['io']!r} of a module; its output alone is a site"
        return Unread(folder, _LAYOUT, reason)
    name = setting(trainer, "submodule_name", str, where)
    layer = wanted(trainer, "layer", int, where)
    tensor = _tensor(name) if name else _tensor_of_folder(folder, layer)
    if tensor is None:
        said = (
            f"submodule_name={name!r}" if name else "no submodule_name, nor do its folders' names"
        )
        reason = f"it does not say which tensor it is of: {said}"
        at = partial(_found_at, folder, settings)
        return Unread.without_a_place(folder, _LAYOUT, reason, at, layer=layer)
    site = f"blocks.{layer}.{tensor}"
    return _found_at(folder, settings, site, site)


def _found_at(
    folder: Path, settings: Mapping[str, Any], reads: str, writes: str
) -> FoundDictionary:
    where = folder / _SETTINGS
    trainer = wanted(settings, "trainer", dict, where)
    buffer = setting(settings, "buffer", dict, where) or {}
    kind, layer = wanted(trainer, "dict_class", str, where), wanted(trainer, "layer", int, where)
    if reads != writes or layer_of_hook(writes) != layer:
        raise DictionaryError(
            f"{where} has layer={layer} and its dictionary gives back what it reads, which is not "
            f"what reads {reads!r} and writes {writes!r}; give one hook point of that layer"
        )
    return FoundDictionary(
        path=folder,
        layout=_LAYOUT,
        reads=reads,
        writes=writes,
        kind=kind,
        d_sae=wanted(trainer, "dict_size", int, where),
        declared=Declared(
            model=setting(trainer, "lm_name", str, where),
            context_size=setting(buffer, "ctx_len", int, where),
        ),
        reader=partial(_load, folder, kind, setting(trainer, "k", int, where)),
    )


def _tensor(text: str) -> str | None:
    return next((hook for hook, known in _TENSORS.items() if known.search(text.lower())), None)


def _tensor_of_folder(folder: Path, layer: int) -> str | None:
    """What the nearest folder with tensor and layer in its name says, if it is the same layer."""
    for path in (folder, *folder.parents):
        match = _FOLDER.fullmatch(path.name.lower())
        if match is not None:
            return _tensor(match["tensor"]) if int(match["layer"]) == layer else None
    return None


def _load(folder: Path, kind: str, k: int | None) -> Dictionary:
    weights = torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True)
    gate = _GATES[kind]

    def first(*names: str) -> Tensor:
        return next(weights[name] for name in names if name in weights)

    W_enc = weights["W_enc"] if "W_enc" in weights else weights["encoder.weight"].T
    W_dec = weights["W_dec"] if "W_dec" in weights else weights["decoder.weight"].T
    b_dec = first("b_dec", "bias", "decoder_bias", "decoder.bias")
    more: dict[str, Any] = {}
    if gate == "jumprelu":
        more["threshold"] = weights["threshold"].expand(W_enc.shape[1]).clone()
    if gate == "topk":
        more["k"] = int(weights["k"]) if "k" in weights else k
    if gate == "gated":
        more |= {"b_gate": weights["gate_bias"], "magnitude": weights["r_mag"].exp()}
    return made(
        gate,
        W_enc=W_enc,
        b_enc=first("mag_bias", "b_enc", "encoder.bias"),
        W_dec=W_dec,
        b_dec=b_dec,
        shift=None if kind in _UNSHIFTED else b_dec,
        **more,
    )
