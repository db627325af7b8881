"""Sets of circuit-tracer, written here by hand: what is read is what their formulas give."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from saecircuits.splicing.folders import read_dictionaries
from tests.splicing.layout_folders import (
    D_IN,
    D_SAE,
    K,
    Tensors,
    check,
    inputs,
    largest,
    random_weights,
    reason_of,
    token_by_token,
)


def _transcoder_set(folder: Path, text: str, **more: tuple[int, ...]) -> list[Tensors]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(
        "model_name: toy/model\nmodel_kind: transcoder_set\nfeature_input_hook: mlp.hook_in\n"
        f"feature_output_hook: mlp.hook_out\nscan: none\n{text}"
    )
    layers = []
    for layer in range(2):
        weights = random_weights(
            W_enc=(D_SAE, D_IN), b_enc=(D_SAE,), W_dec=(D_SAE, D_IN), b_dec=(D_IN,), **more
        )
        weights = {name: value * (1 + layer) for name, value in weights.items()}
        if "activation_function.threshold" in weights:
            weights["activation_function.threshold"].abs_()
        save_file(weights, folder / f"layer_{layer}.safetensors")
        layers.append(weights)
    return layers


@pytest.mark.parametrize("kind", ["relu", "jumprelu", "topk", "skip"])
def test_sets_of_circuit_tracer(tmp_path: Path, kind: str) -> None:
    shapes = {
        "jumprelu": {"activation_function.threshold": (D_SAE,)},
        "skip": {"W_skip": (D_IN, D_IN)},
    }.get(kind, {})
    text = f"activation: topk\nk: {K}\n" if kind == "topk" else ""
    layers = _transcoder_set(tmp_path / "set", text, **shapes)
    found = read_dictionaries(tmp_path)
    assert found.unread == ()
    x = inputs()
    for layer, (one, w) in enumerate(zip(found.dictionaries, layers, strict=True)):
        pre = x @ w["W_enc"].T + w["b_enc"]
        acts = torch.relu(pre)
        if kind == "topk":
            acts = token_by_token(pre, largest)
        elif kind == "jumprelu":
            acts = pre * (pre > w["activation_function.threshold"])
        out = acts @ w["W_dec"] + w["b_dec"]
        check(one, acts, out + x @ w["W_skip"].T if kind == "skip" else out)
        assert one.reads == f"blocks.{layer}.mlp.hook_in"
        assert one.writes == f"blocks.{layer}.mlp.hook_out"
        assert one.declared.model == "toy/model"
        assert one.kind == {"jumprelu": "jumprelu_transcoder", "topk": "topk_transcoder"}.get(
            kind, "transcoder"
        )


@pytest.mark.parametrize("name", ["wandb-config.yaml", "wanb-config.yaml"])
def test_sets_with_the_settings_of_training_alone(tmp_path: Path, name: str) -> None:
    _transcoder_set(tmp_path, "")
    (tmp_path / "config.yaml").rename(tmp_path / name)
    found = read_dictionaries(tmp_path)
    assert [one.reads for one in found.dictionaries] == [
        f"blocks.{layer}.mlp.hook_in" for layer in range(2)
    ]
    assert [one.writes for one in found.dictionaries] == [
        f"blocks.{layer}.hook_mlp_out" for layer in range(2)
    ]


def test_listed_files_of_a_set(tmp_path: Path) -> None:
    weights = {
        **random_weights(w_enc=(D_IN, D_SAE), w_dec=(D_SAE, D_IN), b_enc=(D_SAE,), b_dec=(D_IN,)),
        **random_weights(affine_skip_connection=(D_IN, D_IN)),
        "threshold": torch.rand(D_SAE) * 0.5,
    }
    (tmp_path / "in").mkdir()
    save_file(weights, tmp_path / "in" / "first.safetensors")
    listed = ["in/first.safetensors", "hf://a/b/c.npz", "../outside.safetensors"]
    (tmp_path / "config.yaml").write_text(
        json.dumps({"model_kind": "transcoder_set", "transcoders": listed})
    )
    found = read_dictionaries(tmp_path)
    one = found.dictionaries[0]
    pre = inputs() @ weights["w_enc"] + weights["b_enc"]
    acts = pre * (pre > weights["threshold"])
    out = acts @ weights["w_dec"] + weights["b_dec"] + inputs() @ weights["affine_skip_connection"]
    check(one, acts, out)
    reasons = [left.reason for left in found.unread]
    assert any("transcoder 1 of the set is hf://a/b/c.npz" in reason for reason in reasons)
    assert any("2 of the set is ../outside" in reason for reason in reasons)


def test_sets_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("model_kind: cross_layer_transcoder\n")
    save_file(random_weights(W_enc_0=(D_SAE, D_IN)), tmp_path / "W_enc_0.safetensors")
    (left,) = read_dictionaries(tmp_path).unread
    assert left.layout == "cross_layer_transcoder"
    (tmp_path / "config.yaml").write_text("model_kind: transcoder_set\nactivation: soft\n")
    save_file(random_weights(b_enc=(D_SAE,)), tmp_path / "layer_0.safetensors")
    assert "activation='soft'" in reason_of(tmp_path)
    (tmp_path / "config.yaml").write_text("a: [")
    assert "cannot be read as YAML" in reason_of(tmp_path)
