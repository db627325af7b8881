"""Folders of dictionaries: everything is found by walking, and says what it is or why it is not."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from sae_lens import SAE
from sae_lens.training.activation_scaler import ActivationScaler, ActivationWhitening

from saecircuits.errors import DictionaryError
from saecircuits.splicing import splice
from saecircuits.splicing.convert import dictionary_from_sae
from saecircuits.splicing.folders import read_dictionaries
from tests.models import D_MODEL, D_SAE, Toy, random_sae

AT = "blocks.1.hook_resid_post"


def _saved(folder: Path, architecture: str = "jumprelu", **options: Any) -> SAE:
    sae = random_sae(architecture, seed=4, **options)
    sae.save_model(folder)
    return sae


def _change(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_tree_of_sae_lens_folders(tmp_path: Path) -> None:
    about = {"hook_name": AT, "model_name": "toy", "prepend_bos": True, "context_size": 17}
    sae = _saved(tmp_path / "deep" / "er" / "one", metadata=about)
    reads = {"hook_name": "blocks.0.mlp.hook_in", "hook_name_out": "blocks.0.hook_mlp_out"}
    _saved(tmp_path / "another", "skip_transcoder", metadata=reads)
    found = read_dictionaries(tmp_path)
    assert found.unread == ()
    other, one = found.dictionaries
    assert (one.layout, one.kind, one.d_sae) == ("sae_lens", "jumprelu", D_SAE)
    assert one.reads == one.writes == AT
    assert one.path == tmp_path / "deep" / "er" / "one"
    declared = one.declared
    assert (declared.model, declared.prepend_bos, declared.context_size) == ("toy", True, 17)
    assert (other.reads, other.writes) == ("blocks.0.mlp.hook_in", "blocks.0.hook_mlp_out")
    assert other.declared.prepend_bos is None
    loaded = one.load()
    assert loaded.digest() == dictionary_from_sae(sae, AT).digest()
    assert one.load(torch.float32).W_dec.dtype == torch.float32


def test_what_was_found_can_be_spliced(toy: Toy, tmp_path: Path) -> None:
    _saved(tmp_path / "a", metadata={"hook_name": AT})
    reads = {"hook_name": "blocks.0.mlp.hook_in", "hook_name_out": "blocks.0.hook_mlp_out"}
    _saved(tmp_path / "b", "transcoder", metadata=reads)
    found = read_dictionaries(tmp_path)
    model = splice(toy.model.bridge, {one.writes: one.load() for one in found.dictionaries})
    assert model.hooks == ("blocks.0.hook_mlp_out", AT)
    assert model.splices[0].site.read_hook == "blocks.0.mlp.hook_in"


def test_settings_of_sae_lens_before_6(tmp_path: Path) -> None:
    sae = _saved(tmp_path, "topk", k=5, metadata={"hook_name": AT})
    settings = {
        "hook_point": AT, "hook_point_layer": 1, "model_name": "toy", "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": 5}, "normalize_activations": False, "d_in": D_MODEL,
        "d_sae": D_SAE, "dtype": "float64", "device": "cpu", "prepend_bos": False,
    }  # fmt: skip
    (tmp_path / "cfg.json").write_text(json.dumps(settings))
    (one,) = read_dictionaries(tmp_path).dictionaries
    assert (one.writes, one.kind, one.declared.prepend_bos) == (AT, "topk", False)
    assert one.load().digest() == dictionary_from_sae(sae, AT).digest()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"architecture": "temporal"}, "of kind 'temporal'.*depend on the tokens before"),
        ({"architecture": "matching_pursuit"}, "picks its features one by one"),
        ({"architecture": "batchtopk"}, r"save it with its save_inference_model\(folder\)"),
        ({"architecture": "next"}, "no affine reading of it is known"),
        ({"metadata": {}}, "does not say hook_name"),
        ({"metadata": {"hook_name": 7}}, "hook_name=7; it should be a value of type str"),
        ({"metadata": {"hook_name": AT, "hook_head_index": 3}}, "head 3 of blocks.1"),
        ({"d_sae": None, "metadata": {"hook_name": AT}}, "does not say d_sae"),
    ],
)
def test_what_cannot_be_used_says_why(tmp_path: Path, changes: dict, reason: str) -> None:
    _saved(tmp_path, metadata={"hook_name": AT})
    _change(tmp_path / "cfg.json", **changes)
    found = read_dictionaries(tmp_path)
    (left,) = found.unread
    assert found.dictionaries == ()
    assert left.layout == "sae_lens"
    assert re.search(reason, left.reason)


def test_broken_files_are_one_line(tmp_path: Path) -> None:
    _saved(tmp_path / "cut", metadata={"hook_name": AT})
    weights = tmp_path / "cut" / "sae_weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    (one,) = read_dictionaries(tmp_path).dictionaries
    with pytest.raises(DictionaryError, match=r"cut cannot be read as a sae_lens dictionary"):
        one.load()
    for text in ("{", "[1]", "[" * 100_000):
        (tmp_path / "cut" / "cfg.json").write_text(text)
        (left,) = read_dictionaries(tmp_path).unread
        assert "cfg.json" in left.reason


def test_other_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(DictionaryError, match=r"nothing in .* is a dictionary or has weights"):
        read_dictionaries(tmp_path)
    with pytest.raises(DictionaryError, match="is no folder"):
        read_dictionaries(tmp_path / "missing")
    for name in ("model/config.json", "model/model.safetensors", "other/weights.pt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
    left = {one.path.name: one.reason for one in read_dictionaries(tmp_path).unread}
    assert left["model"] == "it is a model of Hugging Face, no dictionary"
    assert left["other"] == "it holds weights.pt in no layout that is known"


def test_what_training_scaled_by_is_put_into_the_weights(tmp_path: Path) -> None:
    about: dict[str, Any] = {"metadata": {"hook_name": AT}}
    plain = dictionary_from_sae(random_sae("jumprelu", seed=4), AT)
    scaler = ActivationScaler(scaling_factor=0.37)
    folder = tmp_path / "scaled"
    _saved(folder, normalize_activations="expected_average_only_in", **about)
    with pytest.raises(DictionaryError, match="applies the factor only where it is folded"):
        read_dictionaries(folder).dictionaries[0].load()
    scaler.save(str(folder / "activation_scaler.json"))
    x = torch.randn(7, D_MODEL, dtype=torch.float64)
    scaled = read_dictionaries(folder).dictionaries[0].load()
    torch.testing.assert_close(scaled.encode(x), plain.encode(0.37 * x))
    torch.testing.assert_close(scaled.reconstruct(x), plain.reconstruct(0.37 * x) / 0.37)
    folder = tmp_path / "whitened"
    _saved(folder, normalize_activations="covariance_whitening", **about)
    mean, matrix = torch.randn(D_MODEL).double(), torch.randn(D_MODEL, D_MODEL).double()
    whitening = ActivationWhitening(mean, matrix, torch.linalg.inv(matrix))
    ActivationScaler(whitening=whitening).save(str(folder / "activation_scaler.json"))
    whitened = read_dictionaries(folder).dictionaries[0].load()
    torch.testing.assert_close(whitened.encode(x), plain.encode((x - mean) @ matrix))
