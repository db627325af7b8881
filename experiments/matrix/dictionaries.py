"""Random dictionaries of every kind, written into folders as their own libraries leave them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import torch
from sae_lens import SAE
from safetensors.torch import save_file
from torch import Tensor

FEATURES: Final = 19
_K: Final = 7
# A hook point of every block, `{}` standing for its number, and what is read where that is another.
STREAM: Final = ("blocks.{}.hook_resid_post", "blocks.{}.hook_resid_pre")
PLACES: Final = (
    *STREAM,
    "blocks.{}.hook_resid_mid",
    "blocks.{}.hook_attn_out",
    "blocks.{}.hook_mlp_out",
    "blocks.{}.attn.hook_z",
    "hook_embed",
)
READS: Final = (
    "blocks.{}.mlp.hook_in",
    "blocks.{}.ln2.hook_normalized",
    "blocks.{}.hook_resid_mid",
)

# (folder, hook written, hook read, width read, width written, seed): puts files into the folder.
Write: TypeAlias = Callable[[Path, str, str, int, int, int], None]


@dataclass(frozen=True)
class Kind:
    """A kind of dictionary in a layout.

    Attributes:
        places: where it may sit: hook points, or for transcoders what they read.
        is_transcoder: whether it writes the MLP's output and reads one of `places`.
        is_whole: whether one folder holds the dictionaries of all layers.
    """

    name: str
    write: Write
    places: tuple[str, ...] = PLACES
    is_transcoder: bool = False
    is_whole: bool = False


def drawn(seed: int, **shapes: tuple[int, ...]) -> dict[str, Tensor]:
    """Tensors of these shapes; biases and thresholds are smaller than what they are added to."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in shapes.items():
        size = 1 / max(shape) ** 0.5 if len(shape) > 1 else 0.2
        found[name] = torch.randn(shape, generator=generator) * size
        if "threshold" in name:
            found[name] = found[name].abs()
    return found


def _sae_lens(architecture: str, **options: Any) -> Write:
    def write(folder: Path, hook: str, read: str, d_in: int, d_out: int, seed: int) -> None:
        is_transcoder = read != hook
        settings: dict[str, Any] = {
            "architecture": architecture, "d_in": d_in, "d_sae": FEATURES, "dtype": "float32",
            "device": "cpu", "apply_b_dec_to_input": not is_transcoder,
            "normalize_activations": "none", **options,
            "metadata": {"hook_name": read, **({"hook_name_out": hook} if is_transcoder else {})},
        }  # fmt: skip
        if is_transcoder:
            settings["d_out"] = d_out
        sae = SAE.from_dict(settings)
        with torch.no_grad():
            for name, weight in sae.named_parameters():
                weight.copy_(drawn(seed, **{name: tuple(weight.shape)})[name])
        sae.save_model(folder)

    return write


def _sparsify(folder: Path, hook: str, read: str, d_in: int, d_out: int, seed: int) -> None:
    layer, is_mlp = hook.split(".")[1], "mlp" in hook
    place = folder / (f"layers.{layer}.mlp" if is_mlp else f"layers.{layer}")
    place.mkdir(parents=True)
    is_transcoder = read != hook
    shapes = {"encoder.weight": (FEATURES, d_in), "encoder.bias": (FEATURES,)}
    shapes |= {"W_dec": (FEATURES, d_out), "b_dec": (d_out,)}
    if is_transcoder:
        shapes["W_skip"] = (d_out, d_in)
    settings = {
        "activation": "topk", "k": _K, "num_latents": FEATURES, "d_in": d_in,
        "transcode": is_transcoder, "skip_connection": is_transcoder,
    }  # fmt: skip
    (place / "cfg.json").write_text(json.dumps(settings), encoding="utf-8")
    save_file(drawn(seed, **shapes), place / "sae.safetensors")


def _dictionary_learning(
    folder: Path, hook: str, read: str, d_in: int, d_out: int, seed: int
) -> None:
    layer = int(hook.split(".")[1])
    weights = drawn(
        seed,
        **{"encoder.weight": (FEATURES, d_in), "encoder.bias": (FEATURES,)},
        **{"decoder.weight": (d_in, FEATURES), "b_dec": (d_in,)},
    )
    weights |= {"threshold": torch.tensor(0.3), "k": torch.tensor(_K, dtype=torch.int)}
    folder.mkdir(parents=True)
    torch.save(weights, folder / "ae.pt")
    trainer = {
        "dict_class": "BatchTopKSAE", "activation_dim": d_in, "dict_size": FEATURES, "k": _K,
        "layer": layer, "lm_name": "toy/model", "submodule_name": f"resid_post_layer_{layer}",
    }  # fmt: skip
    settings = {"trainer": trainer, "buffer": {"ctx_len": 16, "io": "out"}}
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")


def _transcoder_set(folder: Path, hook: str, read: str, d_in: int, d_out: int, seed: int) -> None:
    layer, part = int(hook.split(".")[1]), read.split(".", 2)[2]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(
        f"model_name: toy/model\nmodel_kind: transcoder_set\nfeature_input_hook: {part}\n"
        "feature_output_hook: hook_mlp_out\nscan: none\n",
        encoding="utf-8",
    )
    weights = drawn(
        seed, W_enc=(FEATURES, d_in), b_enc=(FEATURES,), W_dec=(FEATURES, d_out), b_dec=(d_out,),
        **{"activation_function.threshold": (FEATURES,)},
    )  # fmt: skip
    save_file(weights, folder / f"layer_{layer}.safetensors")


def _gemma_scope_2(folder: Path, hook: str, read: str, d_in: int, d_out: int, seed: int) -> None:
    layer, is_transcoder = hook.split(".")[1], read != hook
    shapes = {"w_enc": (d_in, FEATURES), "w_dec": (FEATURES, d_out), "b_enc": (FEATURES,)}
    shapes |= {"b_dec": (d_out,), "threshold": (FEATURES,)}
    if is_transcoder:
        shapes["affine_skip_connection"] = (d_in, d_out)
    folder.mkdir(parents=True)
    save_file(drawn(seed, **shapes), folder / "params.safetensors")
    part = "pre_feedforward_layernorm.output" if is_transcoder else "output"
    settings = {"architecture": "jump_relu", "model_name": "toy/model",
                "hf_hook_point_in": f"model.layers.{layer}.{part}"}  # fmt: skip
    if is_transcoder:
        settings["hf_hook_point_out"] = f"model.layers.{layer}.post_feedforward_layernorm.output"
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")


def write_cross_layer(folder: Path, read: str, d_model: int, n_layers: int) -> None:
    """A cross-layer transcoder of a model, as circuit-tracer has it."""
    folder.mkdir(parents=True)
    text = f"model_kind: cross_layer_transcoder\nfeature_input_hook: {read}\n"
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    for layer in range(n_layers):
        encoder: Mapping[str, tuple[int, ...]] = {
            f"W_enc_{layer}": (FEATURES, d_model), f"b_enc_{layer}": (FEATURES,),
            f"b_dec_{layer}": (d_model,), f"threshold_{layer}": (FEATURES,),
        }  # fmt: skip
        save_file(drawn(layer, **encoder), folder / f"W_enc_{layer}.safetensors")
        decoder = {f"W_dec_{layer}": (FEATURES, n_layers - layer, d_model)}
        save_file(drawn(9 + layer, **decoder), folder / f"W_dec_{layer}.safetensors")


def _whole(folder: Path, hook: str, read: str, d_in: int, d_out: int, seed: int) -> None:
    raise AssertionError("a cross-layer transcoder is written for all layers at once")


KINDS: Final = (
    Kind("standard", _sae_lens("standard")),
    Kind("jumprelu", _sae_lens("jumprelu")),
    Kind("gated", _sae_lens("gated")),
    Kind("topk", _sae_lens("topk", k=_K)),
    Kind("abstopk", _sae_lens("abstopk", k=_K)),
    Kind("layer_norm", _sae_lens("topk", k=_K, normalize_activations="layer_norm")),
    Kind("sparsify", _sparsify, ("blocks.{}.hook_resid_post",)),
    Kind("dictionary_learning", _dictionary_learning, ("blocks.{}.hook_resid_post",)),
    Kind("gemma_scope_2", _gemma_scope_2, ("blocks.{}.hook_resid_post",)),
    Kind("transcoder", _sae_lens("transcoder"), READS, is_transcoder=True),
    Kind("skip_transcoder", _sae_lens("skip_transcoder"), READS, is_transcoder=True),
    Kind("sparsify transcoder", _sparsify, READS[:1], is_transcoder=True),
    Kind("transcoder_set", _transcoder_set, READS, is_transcoder=True),
    Kind("gemma_scope_2 transcoder", _gemma_scope_2, READS[:1], is_transcoder=True),
    Kind("cross_layer", _whole, READS, is_transcoder=True, is_whole=True),
)
