"""Models from folders: what is loaded, and what is refused."""

import json
from pathlib import Path

import pytest
import torch

from saecircuits.errors import DictionaryError, ModelError, UnknownNameError
from saecircuits.splicing import loading, shipped
from saecircuits.splicing.loading import load_model, read_manifest
from tests.model_folder import HOOKS, write_manifest, write_model_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model_folder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return write_model_folder(tmp_path / "tiny")


def test_default_sites_are_the_manifests(folder: Path) -> None:
    model = load_model(folder)
    assert model.name == "tiny"
    assert model.hooks == HOOKS
    assert model.dtype == torch.float32


def test_sites_by_kind_and_by_name(folder: Path) -> None:
    assert load_model(folder, sites="resid_post").hooks == HOOKS
    assert load_model(folder, sites=[HOOKS[1]]).hooks == (HOOKS[1],)
    transcoders = load_model(folder, sites="transcoder")
    assert transcoders.hooks == ("blocks.1.hook_mlp_out",)
    assert transcoders.splices[0].site.read_hook == "blocks.1.ln2.hook_normalized"


def test_one_digest_per_dictionary(folder: Path) -> None:
    description = load_model(folder).describe()
    assert tuple(description["dictionaries"]) == HOOKS
    assert len(set(description["dictionaries"].values())) == len(HOOKS)
    assert description == load_model(folder).describe()


def test_unknown_names_are_refused(folder: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown model 'storeys'"):
        load_model("storeys")
    with pytest.raises(UnknownNameError, match=r"did you mean 'blocks.1.hook_resid_post'"):
        load_model(folder, sites=["blocks.1.hook_resid_psot"])
    with pytest.raises(UnknownNameError, match="unknown kind of site 'resid_mid'"):
        load_model(folder, sites="resid_mid")


def _models(folder: Path, name: str) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "manifest.json").write_text("{}", encoding="utf-8")


def test_models_beside_a_checkout_come_before_those_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside, installed = tmp_path / "pretrained", tmp_path / "site" / "saecircuits_models"
    monkeypatch.setattr(shipped, "_BESIDE", beside)
    _models(installed, "packed")
    monkeypatch.syspath_prepend(str(installed.parent))
    assert shipped.model_names() == ("packed",)
    # A folder of that name alone is none of ours.
    _models(beside, "found")
    assert shipped.model_names() == ("packed",)
    (beside / "saecircuits_models").mkdir()
    assert shipped.model_names() == ("found",)
    assert loading.model_folder("found") == beside / "found"


def test_where_no_models_are_shipped_it_is_said_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "_BESIDE", tmp_path)
    monkeypatch.setattr(shipped, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"'stories' is no folder: .*pip install ./pretrained"):
        load_model("stories")
    assert shipped.model_names() == ()


def test_a_changed_file_is_noticed(copy: Path) -> None:
    path = copy / "saes" / HOOKS[0] / "cfg.json"
    path.write_text(path.read_text(encoding="utf-8") + " ", encoding="utf-8")
    with pytest.raises(ModelError, match=r"cfg.json has SHA-256"):
        load_model(copy)


def test_a_missing_file_is_noticed(copy: Path) -> None:
    (copy / "saes" / HOOKS[2] / "sae_weights.safetensors").unlink()
    with pytest.raises(ModelError, match="lacks saes/"):
        load_model(copy)


def test_a_broken_dictionary_is_refused(copy: Path) -> None:
    (copy / "saes" / HOOKS[0] / "cfg.json").write_text("{}", encoding="utf-8")
    write_manifest(copy, read_manifest(copy)["dictionaries"])
    with pytest.raises(DictionaryError, match="cannot be read as a sae_lens dictionary"):
        load_model(copy)


def test_a_dictionary_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path / "tiny", made_for="somebody-else")
    with pytest.raises(DictionaryError, match="trained for model 'somebody-else'"):
        load_model(folder)


def test_a_folder_without_a_readable_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no manifest.json"):
        load_model(tmp_path)
    (tmp_path / "manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match="cannot be read as JSON"):
        load_model(tmp_path)


def test_a_hub_model_out_of_reach_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model("gpt2", dictionaries="gpt2-small-res-jb:blocks.0.hook_resid_pre")


def test_manifest_of_the_folder_is_json(folder: Path) -> None:
    assert read_manifest(folder) == json.loads(
        (folder / "manifest.json").read_text(encoding="utf-8")
    )
