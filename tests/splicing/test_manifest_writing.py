"""Manifests made from what lies in a folder."""

import json
from pathlib import Path

import pytest

from saecircuits.errors import DictionaryError, InputError, ModelError, UnknownNameError
from saecircuits.splicing.loading import load_model
from saecircuits.splicing.manifest_writing import write_manifest
from tests.hub_cache import small_sae, write_gpt2
from tests.models import random_sae

STREAM = "blocks.0.hook_resid_post"
MLP = "blocks.1.hook_mlp_out"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model in the folder itself, a SAE, and at another place a SAE beside a transcoder."""
    place = tmp_path / "mine"
    write_gpt2(place, n_layer=2)
    small_sae(STREAM, seed=1, model="mine").save_model(place / "saes" / "stream")
    small_sae(MLP, seed=2, model="mine").save_model(place / "saes" / "mlp")
    metadata = {"hook_name": "blocks.1.mlp.hook_in", "hook_name_out": MLP, "model_name": "mine"}
    transcoder = random_sae("transcoder", d_in=16, dtype="float32", metadata=metadata)
    transcoder.save_model(place / "transcoder")
    return place


@pytest.mark.parametrize("is_inside", [True, False])
def test_a_folder_with_a_manifest_is_all_that_loading_needs(folder: Path, is_inside: bool) -> None:
    if is_inside:
        (folder / "model").mkdir()
        for path in list(folder.iterdir()):
            if path.is_file():
                path.rename(folder / "model" / path.name)
    made = write_manifest(folder)
    assert made == json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert (made["name"], made["model"]) == ("mine", "model" if is_inside else ".")
    assert sorted(made["default_sites"]) == [STREAM, MLP]
    assert load_model(folder).hooks == (STREAM, MLP)
    (transcoder,) = load_model(folder, sites="transcoder").splices
    assert transcoder.site.read_hook == "blocks.1.mlp.hook_in"
    (folder / "saes" / "mlp" / "cfg.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match=r"saes/mlp/cfg.json has SHA-256"):
        load_model(folder)


def test_sites_and_name(folder: Path) -> None:
    made = write_manifest(folder, name="mine", description="one line", default_sites=[MLP])
    assert made["description"] == "one line"
    assert load_model(folder).hooks == (MLP,)
    with pytest.raises(InputError, match="is there already"):
        write_manifest(folder)
    write_manifest(folder, overwrite=True)
    assert load_model(folder).hooks == (STREAM, MLP)


def test_two_saes_at_one_hook_are_no_default(folder: Path) -> None:
    small_sae(STREAM, seed=3, d_sae=30, model="mine").save_model(folder / "saes" / "wider")
    assert write_manifest(folder)["default_sites"] == [MLP]


def test_what_cannot_be_packed_is_refused_and_nothing_written(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="holds no model"):
        write_manifest(tmp_path / "empty")
    with pytest.raises(ModelError, match="is no folder"):
        write_manifest(tmp_path / "none")
    with pytest.raises(UnknownNameError, match=r"site with a dictionary 'blocks.0.hook_mlp_out'"):
        write_manifest(folder, default_sites=["blocks.0.hook_mlp_out"])
    write_gpt2(tmp_path / "alone", n_layer=1)
    with pytest.raises((DictionaryError, InputError), match="no dictionary"):
        write_manifest(tmp_path / "alone")
    assert not list(tmp_path.rglob("manifest.json"))
