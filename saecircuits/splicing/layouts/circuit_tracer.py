"""circuit-tracer's transcoder sets, which mwhanna and mntss publish: `layer_{l}.safetensors`.

`config.yaml` beside them says what is read and written in every block; where it lists files
(`transcoders`), the place in the list is the layer. Sets without it have `wandb-config.yaml`, in
some repositories misspelt. ReLU, or JumpReLU where there is a threshold, or TopK where the settings
say so (no file of weights does): that of circuit-tracer keeps negative values. Skip weights are
used as `x W_skip^T`, those of Gemma Scope 2 (`affine_skip_connection`) as they are.
"""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from safetensors.torch import load_file

from saecircuits.errors import DictionaryError
from saecircuits.splicing.dictionary import Dictionary
from saecircuits.splicing.layouts.found import (
    NOTHING,
    Declared,
    FoundDictionary,
    Item,
    Unread,
    read_yaml,
    setting,
    tensor_shapes,
    wanted,
)
from saecircuits.splicing.layouts.weights import made

_LAYOUT: Final = "circuit_tracer"
# Of other layouts: features that write behind many layers are no dictionary of one site.
CROSS_LAYER: Final = "cross_layer_transcoder"
_SETTINGS: Final = "config.yaml"
_TRAINING: Final = ("wandb-config.yaml", "wanb-config.yaml")
FILE: Final = re.compile(r"layer_(?P<layer>\d+)\.safetensors")
_CROSS_LAYER_FILE: Final = re.compile(r"W_(enc|dec)_\d+\.safetensors")
_THRESHOLDS: Final = ("activation_function.threshold", "threshold")


def in_transcoder_set(folder: Path, names: frozenset[str]) -> tuple[list[Item], frozenset[str]]:
    """The transcoders of a set."""
    settings_files = names & {_SETTINGS, *_TRAINING}
    if not settings_files:
        return NOTHING
    try:
        settings = read_yaml(folder / _SETTINGS) if _SETTINGS in names else {}
        kind = setting(settings, "model_kind", str, folder / _SETTINGS)
        if kind == CROSS_LAYER:
            files = frozenset(name for name in names if _CROSS_LAYER_FILE.fullmatch(name))
            reason = "it is a cross-layer transcoder, whose features write behind many layers"
            return [Unread(folder, CROSS_LAYER, reason)], files | settings_files
        if _SETTINGS in names and kind != "transcoder_set":
            return NOTHING
        items: list[Item] = list(_found(folder, settings, names))
    except DictionaryError as error:
        items = [Unread(folder, _LAYOUT, str(error))]
    taken = frozenset(item.path.name for item in items) | settings_files
    return items, names & taken | frozenset(name for name in names if FILE.fullmatch(name))


def _found(folder: Path, settings: Mapping[str, Any], names: frozenset[str]) -> Iterator[Item]:
    where = folder / _SETTINGS
    hooks = [
        setting(settings, name, str, where) or otherwise
        for name, otherwise in (
            ("feature_input_hook", "mlp.hook_in"),
            ("feature_output_hook", "hook_mlp_out"),
        )
    ]
    model = setting(settings, "model_name", str, where)
    for layer, path in _files(folder, settings, names):
        if isinstance(path, str):
            yield Unread(folder / _SETTINGS, _LAYOUT, f"transcoder {layer} of the set is {path}")
            continue
        shapes = tensor_shapes(path)
        if "b_enc" not in shapes:
            yield Unread(path, _LAYOUT, "it holds no encoder's bias, so it is no transcoder")
            continue
        reads, writes = (f"blocks.{layer}.{hook}" for hook in hooks)
        k = _k(settings, where)
        gate = "topk_" if k else "jumprelu_" if set(_THRESHOLDS) & set(shapes) else ""
        yield FoundDictionary(
            path=path,
            layout=_LAYOUT,
            reads=reads,
            writes=writes,
            kind=f"{gate}transcoder",
            d_sae=shapes["b_enc"][0],
            declared=Declared(model=model),
            reader=partial(_load, path, reads, k),
        )


def _files(
    folder: Path, settings: Mapping[str, Any], names: frozenset[str]
) -> Iterator[tuple[int, Path | str]]:
    """Every layer's file; in words where it cannot be had."""
    listed = setting(settings, "transcoders", list, folder / _SETTINGS)
    if listed is None:
        numbers = {int(match["layer"]): name for name in names if (match := FILE.fullmatch(name))}
        yield from ((layer, folder / numbers[layer]) for layer in sorted(numbers))
        return
    root = folder.resolve()
    for layer, given in enumerate(listed):
        path = root / str(given)
        is_inside = root in path.resolve().parents
        if not str(given).endswith(".safetensors") or not is_inside or not path.is_file():
            yield layer, f"{given}, which is no file of this folder; fetch it, and list it so"
        else:
            yield layer, folder / str(given)


def _k(settings: Mapping[str, Any], where: Path) -> int | None:
    activation = setting(settings, "activation", str, where) or "relu"
    if activation.lower() == "topk":
        return wanted(settings, "k", int, where)
    if activation.lower() not in ("relu", "jumprelu", "jump_relu"):
        raise DictionaryError(
            f"{where} has activation={activation!r}; ReLU, JumpReLU, TopK are known"
        )
    return None


def _load(path: Path, reads: str, k: int | None) -> Dictionary:
    weights = load_file(path)
    threshold = next((weights[name] for name in _THRESHOLDS if name in weights), None)
    if "w_enc" in weights:  # Gemma Scope 2's own files
        W_enc, W_dec, skip = weights["w_enc"], weights["w_dec"], "affine_skip_connection"
        W_skip = weights.get(skip)
    else:
        W_enc, W_dec = weights["W_enc"].T, weights["W_dec"]
        W_skip = weights["W_skip"].T if "W_skip" in weights else None
    kind = "relu" if threshold is None else "jumprelu"
    return made(
        "signed_topk" if k else kind,
        W_enc=W_enc,
        b_enc=weights["b_enc"],
        W_dec=W_dec,
        b_dec=weights["b_dec"],
        W_skip=W_skip,
        threshold=None if threshold is None else threshold.expand(W_enc.shape[1]).clone(),
        k=k,
        reads=reads,
    )
