"""Folders of eai-sparsify, written here by hand: what is read is what their formulas give."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.splicing.layout_folders import (
    D_IN,
    D_SAE,
    K,
    Tensors,
    best_of_groups,
    check,
    inputs,
    largest,
    only_one,
    random_weights,
    reason_of,
    token_by_token,
)

SPARSIFY: dict[str, Any] = {"activation": "topk", "k": K, "num_latents": D_SAE, "d_in": D_IN}


def _sparsify(folder: Path, **settings: Any) -> Tensors:
    weights = random_weights(
        **{"encoder.weight": (D_SAE, D_IN), "encoder.bias": (D_SAE,)},
        W_dec=(D_SAE, D_IN), b_dec=(D_IN,), W_skip=(D_IN, D_IN),
    )  # fmt: skip
    if not settings.get("skip_connection"):
        del weights["W_skip"]
    folder.mkdir(parents=True)
    (folder / "cfg.json").write_text(json.dumps({**SPARSIFY, **settings}))
    save_file(weights, folder / "sae.safetensors")
    return weights


@pytest.mark.parametrize("activation", ["topk", "groupmax"])
def test_sparsify_autoencoders(tmp_path: Path, activation: str) -> None:
    weights = _sparsify(tmp_path / "run" / "layers.1", activation=activation)
    run = {"model": "toy/model", "ctx_len": 64, "sae": {}}
    (tmp_path / "run" / "config.json").write_text(json.dumps(run))
    (tmp_path / "run" / "state.pt").write_bytes(b"")
    one = only_one(tmp_path)
    pre = (inputs() - weights["b_dec"]) @ weights["encoder.weight"].T + weights["encoder.bias"]
    keep = largest if activation == "topk" else best_of_groups
    acts = token_by_token(pre, keep).relu()
    check(one, acts, acts @ weights["W_dec"] + weights["b_dec"])
    assert (one.layout, one.writes) == ("sparsify", "blocks.1.hook_resid_post")
    assert (one.declared.model, one.declared.context_size) == ("toy/model", 64)
    assert one.declared.prepend_bos is None


@pytest.mark.parametrize("folder", ["layers.2.mlp", "h.2.mlp", "model.layers.2.mlp/seed1"])
def test_sparsify_transcoders(tmp_path: Path, folder: str) -> None:
    weights = _sparsify(tmp_path / folder, transcode=True, skip_connection=True)
    one = only_one(tmp_path)
    x = inputs()
    acts = token_by_token(x @ weights["encoder.weight"].T + weights["encoder.bias"], largest).relu()
    out = acts @ weights["W_dec"] + weights["b_dec"] + x @ weights["W_skip"].T
    check(one, acts, out)
    assert (one.reads, one.writes) == ("blocks.2.mlp.hook_in", "blocks.2.mlp.hook_out")


def test_signed_features_of_sparsify_s_first_versions(tmp_path: Path) -> None:
    weights = _sparsify(tmp_path / "layers.0", signed=True, num_latents=0, expansion_factor=3, k=K)
    for name in ("encoder.weight", "W_dec"):
        weights[name] = weights[name][: 3 * D_IN].contiguous()
    pre = (inputs() - weights["b_dec"]) @ weights["encoder.weight"].T + weights["encoder.bias"] - 3
    weights["encoder.bias"] = weights["encoder.bias"] - 3
    save_file(weights, tmp_path / "layers.0" / "sae.safetensors")
    one = only_one(tmp_path)
    assert one.d_sae == 3 * D_IN
    acts = token_by_token(pre, largest)
    assert bool((acts < 0).any())
    torch.testing.assert_close(one.load().encode(inputs())[:, : acts.shape[1]], acts)


@pytest.mark.parametrize(
    ("folder", "settings", "reason"),
    [
        ("layers.1", {"transcode": True}, "transcoder of the module 'layers.1', where no site is"),
        ("layers.1.input_layernorm", {}, "module 'layers.1.input_layernorm', where no site"),
        ("layers.1", {"activation": "batchtopk"}, "its activation is 'batchtopk'; topk and group"),
        ("layers.1", {"k": "many"}, "k='many'; it should be a value of type int"),
    ],
)
def test_sparsify_folders_that_cannot_be_used(
    tmp_path: Path, folder: str, settings: dict[str, Any], reason: str
) -> None:
    _sparsify(tmp_path / folder, **settings)
    assert reason in reason_of(tmp_path)
