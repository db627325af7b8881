"""Folders of Gemma Scope, written here by hand: what is read is what their formulas give."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.splicing.layout_folders import (
    D_IN,
    D_SAE,
    Tensors,
    check,
    inputs,
    only_one,
    random_weights,
    reason_of,
)


def _gemma_scope(folder: Path) -> Tensors:
    weights = random_weights(
        W_enc=(D_IN, D_SAE), W_dec=(D_SAE, D_IN), b_enc=(D_SAE,), b_dec=(D_IN,)
    )
    weights["threshold"] = torch.rand(D_SAE) * 0.5
    folder.mkdir(parents=True)
    arrays: dict[str, Any] = {name: value.numpy() for name, value in weights.items()}
    np.savez(folder / "params.npz", **arrays)
    return weights


@pytest.mark.parametrize(
    ("folder", "reads", "writes"),
    [
        ("pt-res/layer_3/width_16k", "blocks.3.hook_resid_post", "blocks.3.hook_resid_post"),
        ("pt-att/layer_3/width_16k", "blocks.3.attn.hook_z", "blocks.3.attn.hook_z"),
        ("it-mlp/layer_3/width_16k", "blocks.3.hook_mlp_out", "blocks.3.hook_mlp_out"),
        ("pt-transcoders/layer_3", "blocks.3.ln2.hook_normalized", "blocks.3.hook_mlp_out"),
        ("pt-res/embedding/width_4k", "hook_embed", "hook_embed"),
    ],
)
def test_gemma_scope(tmp_path: Path, folder: str, reads: str, writes: str) -> None:
    w = _gemma_scope(tmp_path / f"models--google--gemma-scope-2b-{folder}" / "average_l0_9")
    one = only_one(tmp_path)
    assert (one.reads, one.writes) == (reads, writes)
    assert one.declared.model == ("gemma-2-2b-it" if "it-" in folder else "gemma-2-2b")
    # Embeddings in a dictionary's own units are those of the stream over the root of d_model.
    root = D_IN**0.5 if "embedding" in folder else 1.0
    pre = inputs() / root @ w["W_enc"] + w["b_enc"]
    acts = pre * (pre > w["threshold"])
    check(one, acts, root * (acts @ w["W_dec"] + w["b_dec"]))


def test_gemma_scope_without_the_repository_s_name(tmp_path: Path) -> None:
    _gemma_scope(tmp_path / "layer_3")
    assert "should have the repository's name" in reason_of(tmp_path)


@pytest.mark.parametrize(
    ("hf_in", "hf_out", "reads", "writes"),
    [
        ("layers.3.output", None, "hook_resid_post", "hook_resid_post"),
        ("layers.3.self_attn.o_proj.input", None, "attn.hook_z", "attn.hook_z"),
        (
            "layers.3.pre_feedforward_layernorm.output",
            "layers.3.post_feedforward_layernorm.output",
            "mlp.hook_in",
            "hook_mlp_out",
        ),
        ("layers.3.input_layernorm.output", None, None, None),
    ],
)
def test_gemma_scope_2(
    tmp_path: Path, hf_in: str, hf_out: str | None, reads: str | None, writes: str | None
) -> None:
    names = {"w_enc": (D_IN, D_SAE), "w_dec": (D_SAE, D_IN), "b_enc": (D_SAE,), "b_dec": (D_IN,)}
    w = {**random_weights(**names), "threshold": torch.rand(D_SAE) * 0.5}
    if hf_out is not None:
        w |= random_weights(affine_skip_connection=(D_IN, D_IN))
    save_file(w, tmp_path / "params.safetensors")
    settings = {"architecture": "jump_relu", "model_name": "google/gemma-3-1b-pt",
                "hf_hook_point_in": f"model.{hf_in}"}  # fmt: skip
    if hf_out is not None:
        settings["hf_hook_point_out"] = f"model.{hf_out}"
    (tmp_path / "config.json").write_text(json.dumps(settings))
    if reads is None:
        assert "where no site is" in reason_of(tmp_path)
        return
    one = only_one(tmp_path)
    assert (one.reads, one.writes) == (f"blocks.3.{reads}", f"blocks.3.{writes}")
    assert one.declared.hf_reads == f"model.{hf_in}"
    pre = inputs() @ w["w_enc"] + w["b_enc"]
    acts = pre * (pre > w["threshold"])
    out = acts @ w["w_dec"] + w["b_dec"]
    if hf_out is not None:
        out = out + inputs() @ w["affine_skip_connection"]
    check(one, acts, out)
