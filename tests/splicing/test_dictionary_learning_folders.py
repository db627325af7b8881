"""Folders of dictionary_learning, written by hand: what is read is what their formulas give."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from saecircuits.errors import DictionaryError
from saecircuits.splicing.dictionary_sources import list_dictionaries
from tests.splicing.layout_folders import (
    D_IN,
    D_SAE,
    K,
    Tensors,
    check,
    inputs,
    largest,
    only_one,
    random_weights,
    reason_of,
    token_by_token,
)


def _dictionary_learning(folder: Path, kind: str, **trainer: Any) -> Tensors:
    transposed = kind in ("JumpReluAutoEncoder", "MatryoshkaBatchTopKSAE")
    if transposed:
        weights = random_weights(
            W_enc=(D_IN, D_SAE), b_enc=(D_SAE,), W_dec=(D_SAE, D_IN), b_dec=(D_IN,)
        )
    else:
        names = {"encoder.weight": (D_SAE, D_IN), "decoder.weight": (D_IN, D_SAE)}
        bias = {
            "AutoEncoder": "bias", "AutoEncoderNew": "decoder.bias",
            "GatedAutoEncoder": "decoder_bias",
        }.get(kind, "b_dec")  # fmt: skip
        others = {"r_mag", "gate_bias", "mag_bias"} if "Gated" in kind else {"encoder.bias"}
        weights = random_weights(
            **names, **{bias: (D_IN,)}, **{name: (D_SAE,) for name in sorted(others)}
        )
    if kind == "JumpReluAutoEncoder":
        weights["threshold"] = torch.rand(D_SAE) * 0.5
    elif "TopK" in kind:
        weights |= {"threshold": torch.tensor(0.4), "k": torch.tensor(K, dtype=torch.int)}
    folder.mkdir(parents=True)
    torch.save(weights, folder / "ae.pt")
    about = {
        "dict_class": kind, "activation_dim": D_IN, "dict_size": D_SAE, "layer": 2, "k": K,
        "lm_name": "toy/model", "submodule_name": "resid_post_layer_2", **trainer,
    }  # fmt: skip
    settings = {"trainer": about, "buffer": {"ctx_len": 128, "io": "out"}}
    (folder / "config.json").write_text(json.dumps(settings))
    return weights


def _as_dictionary_learning(kind: str, w: Tensors, x: Tensor) -> tuple[Tensor, Tensor]:
    relu = torch.relu
    match kind:
        case "AutoEncoder":
            acts = relu((x - w["bias"]) @ w["encoder.weight"].T + w["encoder.bias"])
            return acts, acts @ w["decoder.weight"].T + w["bias"]
        case "AutoEncoderNew":
            acts = relu(x @ w["encoder.weight"].T + w["encoder.bias"])
            return acts, acts @ w["decoder.weight"].T + w["decoder.bias"]
        case "GatedAutoEncoder":
            shared = (x - w["decoder_bias"]) @ w["encoder.weight"].T
            acts = relu(shared * w["r_mag"].exp() + w["mag_bias"]) * (shared + w["gate_bias"] > 0)
            return acts, acts @ w["decoder.weight"].T + w["decoder_bias"]
        case "JumpReluAutoEncoder":
            pre = x @ w["W_enc"] + w["b_enc"]
            acts = relu(pre * (pre > w["threshold"]))
            return acts, acts @ w["W_dec"] + w["b_dec"]
        case "MatryoshkaBatchTopKSAE":
            acts = relu((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"])
            acts = acts * (acts > w["threshold"])
            return acts, acts @ w["W_dec"] + w["b_dec"]
        case _:
            pass
    pre = (x - w["b_dec"]) @ w["encoder.weight"].T + w["encoder.bias"]
    acts = relu(pre) * (relu(pre) > w["threshold"])
    if kind == "AutoEncoderTopK":  # whose threshold is for another use
        acts = token_by_token(pre, largest).relu()
    return acts, acts @ w["decoder.weight"].T + w["b_dec"]


@pytest.mark.parametrize(
    "kind",
    [
        "AutoEncoder", "AutoEncoderNew", "GatedAutoEncoder", "JumpReluAutoEncoder",
        "AutoEncoderTopK", "BatchTopKSAE", "MatryoshkaBatchTopKSAE",
    ],
)  # fmt: skip
def test_dictionary_learning(tmp_path: Path, kind: str) -> None:
    weights = _dictionary_learning(tmp_path / "trainer_0", kind)
    (tmp_path / "trainer_0" / "checkpoints").mkdir()
    torch.save({}, tmp_path / "trainer_0" / "checkpoints" / "ae_10.pt")
    one = only_one(tmp_path)
    check(one, *_as_dictionary_learning(kind, weights, inputs()))
    assert (one.layout, one.kind, one.writes) == (
        "dictionary_learning", kind, "blocks.2.hook_resid_post",
    )  # fmt: skip
    assert (one.declared.model, one.declared.context_size) == ("toy/model", 128)


def test_where_dictionary_learning_s_are_of(tmp_path: Path) -> None:
    for folder, name, hook in (
        ("a", "mlp_out_layer_2", "hook_mlp_out"),
        ("attn_out_layer2/b", None, "hook_attn_out"),
        ("pythia/resid_out_layer2/c", None, "hook_resid_post"),
    ):
        root = tmp_path / folder.replace("/", "_")
        _dictionary_learning(root / folder, "AutoEncoder", submodule_name=name)
        assert only_one(root).writes == f"blocks.2.{hook}"
    (tmp_path / "x").mkdir()
    _dictionary_learning(tmp_path / "x" / "d", "AutoEncoder", submodule_name=None)
    assert "does not say which tensor it is of" in reason_of(tmp_path / "x")
    told = f"{tmp_path / 'x' / 'd'}@blocks.{{}}.hook_mlp_out"
    (offer,) = list_dictionaries(told.format(2))
    assert (offer.hook, offer.is_placed, offer.load().d_sae) == (
        "blocks.2.hook_mlp_out", True, D_SAE,
    )  # fmt: skip
    with pytest.raises(DictionaryError, match="has layer=2 and its dictionary gives back what"):
        list_dictionaries(told.format(1))
    _dictionary_learning(tmp_path / "y" / "e", "CrossCoder")
    assert "its class is 'CrossCoder'" in reason_of(tmp_path / "y")
    _dictionary_learning(tmp_path / "z" / "mlp_out_layer1", "AutoEncoder", submodule_name=None)
    assert "does not say which tensor it is of" in reason_of(tmp_path / "z")  # its layer is 2


class _Harmful:
    def __reduce__(self) -> Any:
        return (print, ("a pickle was executed",))


def test_no_pickle_is_executed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _dictionary_learning(tmp_path / "a", "AutoEncoder")
    torch.save({"bias": _Harmful()}, tmp_path / "a" / "ae.pt")
    with pytest.raises(DictionaryError, match="cannot be read as a dictionary_learning"):
        only_one(tmp_path).load()
    arrays = tmp_path / "gemma-scope-2b-pt-res" / "layer_1"
    arrays.mkdir(parents=True)
    np.savez(arrays / "params.npz", b_enc=np.array([_Harmful()], dtype=object))
    assert "cannot be read" in reason_of(arrays)
    assert "executed" not in capsys.readouterr().out
