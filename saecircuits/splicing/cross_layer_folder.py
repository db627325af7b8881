"""Cross-layer transcoders in folders as circuit-tracer writes them.

    config.yaml                model_kind, feature_input_hook, feature_output_hook
    W_enc_<l>.safetensors      W_enc_<l> [d_sae, d_model], b_enc_<l>, b_dec_<l> (of output l),
                               perhaps threshold_<l>: then JumpReLU
    W_dec_<l>.safetensors      W_dec_<l> [d_sae, n_layers - l, d_model], layers l, l + 1, ...

Files are mapped, not read: of decoders the rows of active features alone are loaded.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from safetensors import SafetensorError, safe_open
from torch import Tensor

from saecircuits.errors import DictionaryError
from saecircuits.splicing.cross_layer import CrossLayerTranscoder

_CONFIG: Final = "config.yaml"
_MOST_BYTES: Final = 1_000_000
_KIND: Final = "cross_layer_transcoder"
# Tensors that features may read, by the names that circuit-tracer and the bridge share.
_READS: Final = ("hook_resid_mid", "ln2.hook_normalized", "mlp.hook_in")
ENCODER: Final = re.compile(r"W_enc_(\d+)\.safetensors")


def read_cross_layer(folder: str | Path) -> CrossLayerTranscoder:
    """The cross-layer transcoder of a folder, for `splice(bridge, read_cross_layer(folder))`.

    The tensors that features read and write are those of the settings `feature_input_hook`
    (`hook_resid_mid` if absent) and `feature_output_hook` (`hook_mlp_out`).

    Raises:
        DictionaryError: no such folder; settings that are missing, broken or of another kind;
            files, layers or tensors that are missing or do not fit together; skip weights, which
            these folders have no tensor for (`CrossLayerTranscoder.from_weights` takes them);
            thresholds below 0.
    """
    folder = Path(folder)
    settings = _settings(folder)
    reads = settings.get("feature_input_hook", "hook_resid_mid")
    writes = settings.get("feature_output_hook", "hook_mlp_out")
    if reads not in _READS or writes != "hook_mlp_out":
        raise DictionaryError(
            f"{folder / _CONFIG} says that features read {reads!r} and write {writes!r}; supported "
            f"are {', '.join(_READS)}, and 'hook_mlp_out'"
        )
    layers = [_layer(folder, layer) for layer in range(_n_layers(folder))]
    with_threshold = [layer for layer, found in enumerate(layers) if "threshold" in found]
    if with_threshold and len(with_threshold) < len(layers):
        raise DictionaryError(
            f"of {len(layers)} layers in {folder} {len(with_threshold)} have a threshold; all have "
            "one (JumpReLU) or none (ReLU)"
        )
    names = ("b_enc", "b_dec", "W_dec", *(("threshold",) if with_threshold else ()))
    return CrossLayerTranscoder.from_weights(
        reads,
        W_enc=[found["W_enc"].T for found in layers],
        **{name: [found[name] for found in layers] for name in names},
    )


def is_cross_layer_folder(folder: Path) -> bool:
    """Whether a folder is one of a cross-layer transcoder, by its settings."""
    try:
        _settings(folder)
    except DictionaryError:
        return False
    return True


def _settings(folder: Path) -> Mapping[str, Any]:
    path = folder / _CONFIG
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
        found = yaml.safe_load(text) if len(text) <= _MOST_BYTES else None
    except OSError as error:
        raise DictionaryError(
            f"{path} cannot be read ({error.strerror or error}); a cross-layer transcoder is a "
            "folder with config.yaml, W_enc_<layer>.safetensors and W_dec_<layer>.safetensors"
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DictionaryError(f"{path} is no YAML ({reason}); fetch it again") from error
    if not isinstance(found, dict) or found.get("model_kind") != _KIND:
        kind = found.get("model_kind") if isinstance(found, dict) else None
        raise DictionaryError(
            f"{path} says model_kind {kind!r}; read_cross_layer reads folders that say {_KIND!r}"
        )
    return found


def _n_layers(folder: Path) -> int:
    found = (ENCODER.fullmatch(path.name) for path in folder.iterdir())
    numbers = sorted(int(match[1]) for match in found if match)
    if not numbers or numbers != list(range(len(numbers))):
        raise DictionaryError(
            f"{folder} has encoders of layers {numbers}; a cross-layer transcoder has "
            "W_enc_<layer>.safetensors for every layer of its model from 0 on"
        )
    return len(numbers)


def _layer(folder: Path, layer: int) -> dict[str, Tensor]:
    """The tensors of a layer by name, checked against each other."""
    found: dict[str, Tensor] = {}
    for stem in ("W_enc", "W_dec"):
        found |= _tensors(folder / f"{stem}_{layer}.safetensors")
    suffix = f"_{layer}"
    named = {name.removesuffix(suffix): value for name, value in found.items()}
    wanted = {"W_enc": 2, "b_enc": 1, "b_dec": 1, "W_dec": 3}
    unknown = sorted(named.keys() - wanted.keys() - {"threshold"})
    missing = sorted(wanted.keys() - named.keys())
    if missing or unknown:
        what = f"lacks {missing[0]}{suffix}" if missing else f"also has {unknown[0]!r}"
        raise DictionaryError(
            f"layer {layer} in {folder} {what}; a layer has W_enc, b_enc, b_dec, W_dec and perhaps "
            f"threshold, each with {suffix!r} behind it; skip weights are given to "
            "CrossLayerTranscoder.from_weights, [d_in, d_out]"
        )
    shapes = {name: list(value.shape) for name, value in named.items()}
    d_sae, d_model = shapes["b_enc"][:1], shapes["b_dec"][:1]
    expected = {"W_enc": [*d_sae, *d_model], "b_enc": d_sae, "b_dec": d_model, "threshold": d_sae}
    expected["W_dec"] = [*d_sae, *shapes["W_dec"][1:2], *d_model]
    for name, shape in shapes.items():
        if shape != expected[name]:
            raise DictionaryError(
                f"{name}{suffix} in {folder} is {shape}, but with b_enc {shapes['b_enc']} and "
                f"b_dec {shapes['b_dec']} it is {expected[name]}"
            )
    if "threshold" in named and bool((named["threshold"] < 0).any()):
        raise DictionaryError(
            f"threshold{suffix} in {folder} is below 0 for some features, which would then be "
            "active with negative values; features here are never negative"
        )
    return named


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DictionaryError(
            f"{path} cannot be read as safetensors ({reason}); fetch it again"
        ) from error
