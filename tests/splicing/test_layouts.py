"""Folders of other trainers, written here by hand: what is read is what their formulas give.

The layouts and formulas were compared with eai-sparsify 1.3.3, dictionary_learning 0.1.0 and
circuit-tracer 0.5.0 themselves, which are not needed here.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from saecircuits.errors import DictionaryError
from saecircuits.splicing.dictionary_sources import list_dictionaries
from saecircuits.splicing.folders import read_dictionaries
from saecircuits.splicing.layouts.found import FoundDictionary

D_IN, D_SAE, K = 13, 35, 5
Tensors = dict[str, Tensor]


def _random(**shapes: tuple[int, ...]) -> Tensors:
    generator = torch.Generator().manual_seed(3)
    return {name: torch.randn(shape, generator=generator) * 0.4 for name, shape in shapes.items()}


def _inputs() -> Tensor:
    return torch.randn(29, D_IN, generator=torch.Generator().manual_seed(5))


def _only(folder: Path) -> FoundDictionary:
    found = read_dictionaries(folder)
    assert found.unread == ()
    (one,) = found.dictionaries
    return one


def _reason(folder: Path) -> str:
    found = read_dictionaries(folder)
    assert found.dictionaries == ()
    return found.unread[0].reason


def _check(one: FoundDictionary, acts: Tensor, out: Tensor) -> None:
    """Token by token the features and the reconstruction, and the width that was listed."""
    dictionary, x = one.load(), _inputs()
    assert 0.05 < float((acts != 0).float().mean()) < 0.8
    torch.testing.assert_close(dictionary.encode(x), acts, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(dictionary.reconstruct(x), out, rtol=1e-5, atol=1e-5)
    assert one.d_sae == dictionary.d_sae == D_SAE
    # The derivative, the active features held.
    exact, x = one.load(torch.float64), x.double().requires_grad_()
    found = exact.encode(x)
    (pulled,) = torch.autograd.grad(found.sum(), x)
    expected = exact.pull_back(torch.ones_like(found), found != 0, None)
    torch.testing.assert_close(pulled, expected)
    x = _inputs()
    # Of half the width the numbers are the same, and what is active is decided in float32.
    half = one.load(torch.bfloat16)
    assert torch.equal(half.encode(x) != 0, acts != 0)
    assert one.reads == (dictionary.reads or one.writes)


def _loop(pre: Tensor, keep: Callable[[list[float]], list[bool]]) -> Tensor:
    """Every token by itself, in Python: the values that are kept."""
    rows = [[v if kept else 0.0 for v, kept in zip(row, keep(row), strict=True)]
            for row in pre.tolist()]  # fmt: skip
    return torch.tensor(rows)


def _top(row: list[float]) -> list[bool]:
    bar = sorted(row, reverse=True)[K - 1]
    return [value >= bar for value in row]


def _best_of_groups(row: list[float]) -> list[bool]:
    size = D_SAE // K
    best = [max(row[start : start + size]) for start in range(0, D_SAE, size)]
    return [value == best[place // size] for place, value in enumerate(row)]


SPARSIFY: dict[str, Any] = {"activation": "topk", "k": K, "num_latents": D_SAE, "d_in": D_IN}


def _sparsify(folder: Path, **settings: Any) -> Tensors:
    weights = _random(
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
    one = _only(tmp_path)
    pre = (_inputs() - weights["b_dec"]) @ weights["encoder.weight"].T + weights["encoder.bias"]
    keep = _top if activation == "topk" else _best_of_groups
    acts = _loop(pre, keep).relu()
    _check(one, acts, acts @ weights["W_dec"] + weights["b_dec"])
    assert (one.layout, one.writes) == ("sparsify", "blocks.1.hook_resid_post")
    assert (one.declared.model, one.declared.context_size) == ("toy/model", 64)
    assert one.declared.prepend_bos is None


@pytest.mark.parametrize("folder", ["layers.2.mlp", "h.2.mlp", "model.layers.2.mlp/seed1"])
def test_sparsify_transcoders(tmp_path: Path, folder: str) -> None:
    weights = _sparsify(tmp_path / folder, transcode=True, skip_connection=True)
    one = _only(tmp_path)
    x = _inputs()
    acts = _loop(x @ weights["encoder.weight"].T + weights["encoder.bias"], _top).relu()
    out = acts @ weights["W_dec"] + weights["b_dec"] + x @ weights["W_skip"].T
    _check(one, acts, out)
    assert (one.reads, one.writes) == ("blocks.2.mlp.hook_in", "blocks.2.mlp.hook_out")


def test_signed_features_of_sparsify_s_first_versions(tmp_path: Path) -> None:
    weights = _sparsify(tmp_path / "layers.0", signed=True, num_latents=0, expansion_factor=3, k=K)
    for name in ("encoder.weight", "W_dec"):
        weights[name] = weights[name][: 3 * D_IN].contiguous()
    pre = (_inputs() - weights["b_dec"]) @ weights["encoder.weight"].T + weights["encoder.bias"] - 3
    weights["encoder.bias"] = weights["encoder.bias"] - 3
    save_file(weights, tmp_path / "layers.0" / "sae.safetensors")
    one = _only(tmp_path)
    assert one.d_sae == 3 * D_IN
    acts = _loop(pre, _top)
    assert bool((acts < 0).any())
    torch.testing.assert_close(one.load().encode(_inputs())[:, : acts.shape[1]], acts)


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
    assert reason in _reason(tmp_path)


def _dictionary_learning(folder: Path, kind: str, **trainer: Any) -> Tensors:
    transposed = kind in ("JumpReluAutoEncoder", "MatryoshkaBatchTopKSAE")
    if transposed:
        weights = _random(W_enc=(D_IN, D_SAE), b_enc=(D_SAE,), W_dec=(D_SAE, D_IN), b_dec=(D_IN,))
    else:
        names = {"encoder.weight": (D_SAE, D_IN), "decoder.weight": (D_IN, D_SAE)}
        bias = {
            "AutoEncoder": "bias", "AutoEncoderNew": "decoder.bias",
            "GatedAutoEncoder": "decoder_bias",
        }.get(kind, "b_dec")  # fmt: skip
        others = {"r_mag", "gate_bias", "mag_bias"} if "Gated" in kind else {"encoder.bias"}
        weights = _random(**names, **{bias: (D_IN,)}, **{name: (D_SAE,) for name in sorted(others)})
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
        acts = _loop(pre, _top).relu()
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
    one = _only(tmp_path)
    _check(one, *_as_dictionary_learning(kind, weights, _inputs()))
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
        assert _only(root).writes == f"blocks.2.{hook}"
    (tmp_path / "x").mkdir()
    _dictionary_learning(tmp_path / "x" / "d", "AutoEncoder", submodule_name=None)
    assert "does not say which tensor it is of" in _reason(tmp_path / "x")
    told = f"{tmp_path / 'x' / 'd'}@blocks.{{}}.hook_mlp_out"
    (offer,) = list_dictionaries(told.format(2))
    assert (offer.hook, offer.is_placed, offer.load().d_sae) == (
        "blocks.2.hook_mlp_out", True, D_SAE,
    )  # fmt: skip
    with pytest.raises(DictionaryError, match="has layer=2 and its dictionary gives back what"):
        list_dictionaries(told.format(1))
    _dictionary_learning(tmp_path / "y" / "e", "CrossCoder")
    assert "its class is 'CrossCoder'" in _reason(tmp_path / "y")
    _dictionary_learning(tmp_path / "z" / "mlp_out_layer1", "AutoEncoder", submodule_name=None)
    assert "does not say which tensor it is of" in _reason(tmp_path / "z")  # its layer is 2


class _Harmful:
    def __reduce__(self) -> Any:
        return (print, ("a pickle was executed",))


def test_no_pickle_is_executed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _dictionary_learning(tmp_path / "a", "AutoEncoder")
    torch.save({"bias": _Harmful()}, tmp_path / "a" / "ae.pt")
    with pytest.raises(DictionaryError, match="cannot be read as a dictionary_learning"):
        _only(tmp_path).load()
    arrays = tmp_path / "gemma-scope-2b-pt-res" / "layer_1"
    arrays.mkdir(parents=True)
    np.savez(arrays / "params.npz", b_enc=np.array([_Harmful()], dtype=object))
    assert "cannot be read" in _reason(arrays)
    assert "executed" not in capsys.readouterr().out


def _transcoder_set(folder: Path, text: str, **more: tuple[int, ...]) -> list[Tensors]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(
        "model_name: toy/model\nmodel_kind: transcoder_set\nfeature_input_hook: mlp.hook_in\n"
        f"feature_output_hook: mlp.hook_out\nscan: none\n{text}"
    )
    layers = []
    for layer in range(2):
        weights = _random(
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
    x = _inputs()
    for layer, (one, w) in enumerate(zip(found.dictionaries, layers, strict=True)):
        pre = x @ w["W_enc"].T + w["b_enc"]
        acts = torch.relu(pre)
        if kind == "topk":
            acts = _loop(pre, _top)
        elif kind == "jumprelu":
            acts = pre * (pre > w["activation_function.threshold"])
        out = acts @ w["W_dec"] + w["b_dec"]
        _check(one, acts, out + x @ w["W_skip"].T if kind == "skip" else out)
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
        **_random(w_enc=(D_IN, D_SAE), w_dec=(D_SAE, D_IN), b_enc=(D_SAE,), b_dec=(D_IN,)),
        **_random(affine_skip_connection=(D_IN, D_IN)),
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
    pre = _inputs() @ weights["w_enc"] + weights["b_enc"]
    acts = pre * (pre > weights["threshold"])
    out = acts @ weights["w_dec"] + weights["b_dec"] + _inputs() @ weights["affine_skip_connection"]
    _check(one, acts, out)
    reasons = [left.reason for left in found.unread]
    assert any("transcoder 1 of the set is hf://a/b/c.npz" in reason for reason in reasons)
    assert any("2 of the set is ../outside" in reason for reason in reasons)


def test_sets_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("model_kind: cross_layer_transcoder\n")
    save_file(_random(W_enc_0=(D_SAE, D_IN)), tmp_path / "W_enc_0.safetensors")
    (left,) = read_dictionaries(tmp_path).unread
    assert left.layout == "cross_layer_transcoder"
    (tmp_path / "config.yaml").write_text("model_kind: transcoder_set\nactivation: soft\n")
    save_file(_random(b_enc=(D_SAE,)), tmp_path / "layer_0.safetensors")
    assert "activation='soft'" in _reason(tmp_path)
    (tmp_path / "config.yaml").write_text("a: [")
    assert "cannot be read as YAML" in _reason(tmp_path)


def _gemma_scope(folder: Path) -> Tensors:
    weights = _random(W_enc=(D_IN, D_SAE), W_dec=(D_SAE, D_IN), b_enc=(D_SAE,), b_dec=(D_IN,))
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
    one = _only(tmp_path)
    assert (one.reads, one.writes) == (reads, writes)
    assert one.declared.model == ("gemma-2-2b-it" if "it-" in folder else "gemma-2-2b")
    # Embeddings in a dictionary's own units are those of the stream over the root of d_model.
    root = D_IN**0.5 if "embedding" in folder else 1.0
    pre = _inputs() / root @ w["W_enc"] + w["b_enc"]
    acts = pre * (pre > w["threshold"])
    _check(one, acts, root * (acts @ w["W_dec"] + w["b_dec"]))


def test_gemma_scope_without_the_repository_s_name(tmp_path: Path) -> None:
    _gemma_scope(tmp_path / "layer_3")
    assert "should have the repository's name" in _reason(tmp_path)


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
    w = {**_random(**names), "threshold": torch.rand(D_SAE) * 0.5}
    if hf_out is not None:
        w |= _random(affine_skip_connection=(D_IN, D_IN))
    save_file(w, tmp_path / "params.safetensors")
    settings = {"architecture": "jump_relu", "model_name": "google/gemma-3-1b-pt",
                "hf_hook_point_in": f"model.{hf_in}"}  # fmt: skip
    if hf_out is not None:
        settings["hf_hook_point_out"] = f"model.{hf_out}"
    (tmp_path / "config.json").write_text(json.dumps(settings))
    if reads is None:
        assert "where no site is" in _reason(tmp_path)
        return
    one = _only(tmp_path)
    assert (one.reads, one.writes) == (f"blocks.3.{reads}", f"blocks.3.{writes}")
    assert one.declared.hf_reads == f"model.{hf_in}"
    pre = _inputs() @ w["w_enc"] + w["b_enc"]
    acts = pre * (pre > w["threshold"])
    out = acts @ w["w_dec"] + w["b_dec"]
    if hf_out is not None:
        out = out + _inputs() @ w["affine_skip_connection"]
    _check(one, acts, out)
