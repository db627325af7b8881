"""Gemma Scope's folders: `params.npz` (1), or `params.safetensors` and `config.json` (2).

Of the first, folders alone say what they are of: the repository (`gemma-scope-2b-pt-res`), and the
layer (`layer_12`) or `embedding`. Those of embeddings were trained before the model multiplies
these by the square root of d_model, and are turned into units of the stream. Attention dictionaries
of both read the heads' results; transcoders read the norm's result, before its weight (1) or after.
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from saecircuits.errors import DictionaryError
from saecircuits.splicing.dictionary import Dictionary
from saecircuits.splicing.layouts.circuit_tracer import CROSS_LAYER
from saecircuits.splicing.layouts.found import (
    NOTHING,
    Declared,
    FoundDictionary,
    Item,
    Unread,
    read_json,
    setting,
    tensor_shapes,
    wanted,
)
from saecircuits.splicing.layouts.weights import made
from saecircuits.splicing.placing import in_units_of

_LAYOUT: Final = "gemma_scope"
ARRAYS: Final = "params.npz"
TENSORS: Final = "params.safetensors"
_SETTINGS: Final = "config.json"
_REPOSITORY: Final = re.compile(
    r"gemma-scope-(?P<size>\d+b)-(?P<tuned>pt|it)-(?P<what>res|att|mlp|transcoders)"
)
_LAYER: Final = re.compile(r"layer_(\d+)")
# What each repository's dictionaries read, and write where that is something else.
_HOOKS: Final = {
    "res": ("hook_resid_post", None),
    "att": ("attn.hook_z", None),
    "mlp": ("hook_mlp_out", None),
    "transcoders": ("ln2.hook_normalized", "hook_mlp_out"),
}
# Hugging Face's name of a tensor, and where it is.
_HF_TENSORS: Final = (
    (re.compile(r"layers\.(\d+)\.output$"), "hook_resid_post"),
    (re.compile(r"layers\.(\d+)\.self_attn\.o_proj\.input$"), "attn.hook_z"),
    (re.compile(r"layers\.(\d+)\.post_feedforward_layernorm\.output$"), "hook_mlp_out"),
    (re.compile(r"layers\.(\d+)\.pre_feedforward_layernorm\.output$"), "mlp.hook_in"),
)


def in_gemma_scope_folder(folder: Path, names: frozenset[str]) -> tuple[list[Item], frozenset[str]]:
    """The dictionary of a folder of Gemma Scope or Gemma Scope 2."""
    try:
        if ARRAYS in names:
            return [_first(folder)], frozenset({ARRAYS})
        if TENSORS in names and _SETTINGS in names:
            files = frozenset({TENSORS, _SETTINGS})
            return [_second(folder, read_json(folder / _SETTINGS))], files
    except DictionaryError as error:
        return [Unread(folder, _LAYOUT, str(error))], names & {ARRAYS, TENSORS, _SETTINGS}
    return NOTHING


def _first(folder: Path) -> Item:
    where = str(folder.resolve())
    repository = _REPOSITORY.search(where)
    inside = where[repository.end() :] if repository else ""
    layer, is_embedding = _LAYER.search(inside), "embedding" in Path(inside).parts
    if repository is None or (layer is None and not is_embedding):
        reason = (
            "its folders do not say what it is of: they should have the repository's name, such as "
            "gemma-scope-2b-pt-res, and the layer's, such as layer_12"
        )
        return Unread.without_a_place(folder, _LAYOUT, reason, partial(_first_at, folder))
    if is_embedding:
        reads = writes = "hook_embed"
    else:
        assert layer is not None
        first, last = _HOOKS[repository["what"]]
        reads = f"blocks.{layer[1]}.{first}"
        writes = f"blocks.{layer[1]}.{last}" if last else reads
    tuned = "-it" if repository["tuned"] == "it" else ""
    return _first_at(folder, reads, writes, model=f"gemma-2-{repository['size']}{tuned}")


def _first_at(folder: Path, reads: str, writes: str, model: str | None = None) -> FoundDictionary:
    try:
        with np.load(folder / ARRAYS, allow_pickle=False) as arrays:
            d_sae = int(arrays["b_enc"].shape[0])
    except Exception as error:
        # Broken archives are reported in many ways.
        raise DictionaryError(f"{folder / ARRAYS} cannot be read: {error}") from None
    return FoundDictionary(
        path=folder,
        layout=_LAYOUT,
        reads=reads,
        writes=writes,
        kind="jumprelu" if reads == writes else "jumprelu_transcoder",
        d_sae=d_sae,
        declared=Declared(model=model, prepend_bos=True, context_size=1024),
        reader=partial(_load_arrays, folder, reads, writes),
    )


def _load_arrays(folder: Path, reads: str, writes: str) -> Dictionary:
    with np.load(folder / ARRAYS, allow_pickle=False) as arrays:
        weights = {
            name.lower(): torch.as_tensor(arrays[name], device="cpu") for name in arrays.files
        }
    dictionary = _made(weights, None if reads == writes else reads)
    if reads != "hook_embed":
        return dictionary
    return in_units_of(dictionary, dictionary.d_in**-0.5)


def _second(folder: Path, settings: Mapping[str, Any]) -> Item:
    where = folder / _SETTINGS
    hf_reads = wanted(settings, "hf_hook_point_in", str, where)
    hf_writes = setting(settings, "hf_hook_point_out", str, where) or hf_reads
    if "clt" in folder.name:
        return Unread(folder, CROSS_LAYER, "it is a layer of a cross-layer transcoder")
    reads, writes = _hook(hf_reads), _hook(hf_writes)
    if reads is None or writes is None:
        reason = f"it reads {hf_reads} and writes {hf_writes}, where no site is"
        return Unread(folder, _LAYOUT, reason)
    shapes = tensor_shapes(folder / TENSORS)
    if "b_enc" not in shapes:
        return Unread(folder, _LAYOUT, "it holds no encoder's bias, so it is no dictionary")
    return FoundDictionary(
        path=folder,
        layout=_LAYOUT,
        reads=reads,
        writes=writes,
        kind="jumprelu" if reads == writes else "jumprelu_transcoder",
        d_sae=shapes["b_enc"][0],
        declared=Declared(
            model=setting(settings, "model_name", str, where),
            prepend_bos=True,
            hf_reads=hf_reads,
        ),
        reader=partial(_load_tensors, folder, None if reads == writes else reads),
    )


def _hook(hf_name: str) -> str | None:
    for pattern, hook in _HF_TENSORS:
        if match := pattern.search(hf_name):
            return f"blocks.{match[1]}.{hook}"
    return None


def _load_tensors(folder: Path, reads: str | None) -> Dictionary:
    return _made(load_file(folder / TENSORS), reads)


def _made(weights: Mapping[str, Tensor], reads: str | None) -> Dictionary:
    return made(
        "jumprelu",
        W_enc=weights["w_enc"],
        b_enc=weights["b_enc"],
        W_dec=weights["w_dec"],
        b_dec=weights["b_dec"],
        threshold=weights["threshold"],
        W_skip=weights.get("affine_skip_connection"),
        reads=reads,
    )
