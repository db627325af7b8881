"""Model folders whose files are broken: one line each, whatever the libraries below say of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from saecircuits.errors import InputError, ModelError
from saecircuits.splicing.loading import load_model, read_manifest
from tests.model_folder import write_manifest, write_model_folder

MANIFESTS: dict[str, Any] = {
    "a list": [],
    "empty": {},
    "null": None,
    "no files": {"name": "tiny", "default_sites": [], "dictionaries": []},
    "no sites": {"name": "tiny", "files": {}, "dictionaries": []},
    "a number for a name": {"name": 5, "files": {}, "default_sites": [], "dictionaries": []},
    "files as a list": {"name": "t", "files": [], "default_sites": [], "dictionaries": []},
    "no digest": {"name": "t", "files": {"a": "b"}, "default_sites": [], "dictionaries": []},
    "an unknown kind": {
        "name": "t", "files": {}, "default_sites": [],
        "dictionaries": [{"path": "a", "kind": "saw", "hook_name": "b"}],
    },
}  # fmt: skip


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_of_another_shape(name: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps(MANIFESTS[name]))
    with pytest.raises(ModelError, match="is no manifest of a model"):
        load_model(tmp_path)


@pytest.mark.parametrize("text", ["[" * 100_000, "", "\ufeff{}", '{"name": ' + "9" * 5000 + "}"])
def test_manifests_that_are_no_json(text: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match="cannot be read as JSON"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("path", ["../elsewhere", "/etc", "a/../../b", ""])
def test_a_manifest_stays_in_its_folder(path: str, tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path / "tiny")
    manifest = read_manifest(folder)
    for change in (
        {"dictionaries": [{**manifest["dictionaries"][0], "path": path}]},
        {"files": {path: "0" * 64}},
    ):
        (folder / "manifest.json").write_text(json.dumps({**manifest, **change}))
        with pytest.raises(ModelError, match="a path must lie inside the model's folder"):
            load_model(folder)


def config(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "model" / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def weights(data: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "model" / "model.safetensors"
        path.write_bytes(data(path.read_bytes()))

    return change


def dictionary(data: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = next((folder / "saes").glob("*")) / "sae_weights.safetensors"
        path.write_bytes(data(path.read_bytes()))

    return change


def more_words(folder: Path) -> None:
    path = folder / "model" / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary |= {f"new{number}": len(vocabulary) + number for number in range(5)}
    path.write_text(json.dumps(tokenizer))


BROKEN = {
    "weights truncated": weights(lambda data: data[: len(data) // 2]),
    "weights empty": weights(lambda data: b""),
    "weights no safetensors": weights(lambda data: b"PK\x03\x04" + data),
    "dictionary truncated": dictionary(lambda data: data[: len(data) // 2]),
    "dictionary empty": dictionary(lambda data: b""),
    "another shape": config(n_embd=36),
    "more layers": config(n_layer="many"),
    "text for a number": config(n_head="two"),
    "negative": config(n_layer=-1),
    "no heads": config(n_head=0),
    "no positions": config(n_positions=-3),
    "another type": config(model_type="nothing"),
    "tokenizer larger than the embedding": more_words,
    "no tokenizer": lambda folder: (folder / "model" / "tokenizer.json").write_text("{"),
    "no config": lambda folder: (folder / "model" / "config.json").write_text("[]"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_one_line(name: str, tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path / "tiny")
    BROKEN[name](folder)
    write_manifest(folder, read_manifest(folder)["dictionaries"])  # as if it were meant so
    with pytest.raises(InputError) as caught:
        load_model(folder)
    message = str(caught.value)
    assert message.isprintable() and len(message) <= 500


def test_default_sites_without_a_dictionary(tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path / "tiny")
    manifest = {**read_manifest(folder), "default_sites": ["blocks.7.hook_resid_post"]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"unknown site with a dictionary 'blocks.7"):
        load_model(folder)
