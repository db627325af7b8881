"""The published folder: where its parts lie, its manifest and its table of figures."""

from __future__ import annotations

import hashlib
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from architecture import LanguageModel, to_transformers
from transformers import PreTrainedTokenizerFast

LICENCES = {
    "weights": "MIT",
    "text": "TinyStories (Eldan and Li 2023), CDLA-Sharing-1.0, whose section 3.5 puts no"
    " obligation on models trained on the data; the text itself is not distributed here",
}
PACKAGES = ("torch", "transformers", "tokenizers", "sae-lens", "transformer-lens")


def layer_sites(kind: str, layers: int) -> list[str]:
    """One site of a kind for every layer, such as blocks.0.hook_resid_post."""
    return [f"blocks.{layer}.{kind}" for layer in range(layers)]


def sae_folder(out: Path, hook_name: str) -> Path:
    """Where the autoencoder of a site lies."""
    return out / "saes" / hook_name


def transcoder_folder(out: Path, layer: int) -> Path:
    """Where the transcoder of a layer lies."""
    return out / "transcoders" / f"blocks.{layer}.mlp"


def export_model(model: LanguageModel, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write model and tokenizer as transformers reads them, in float32."""
    folder = out / "model"
    to_transformers(model).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def file_hashes(out: Path) -> dict[str, str]:
    """The SHA-256 of every file under the folder but the manifest."""
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }


def environment() -> dict[str, str]:
    """The versions that made the folder."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def rounded(value: Any, digits: int = 4) -> Any:
    """The same structure with its floats rounded."""
    if isinstance(value, float):
        return round(value, digits)
    if isinstance(value, dict):
        return {key: rounded(item, digits) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item, digits) for item in value]
    return value


def write_manifest(out: Path, facts: dict[str, Any]) -> None:
    """Write the manifest: the given facts, licences, versions and a hash of every file."""
    manifest = {
        "name": "stories",
        "licence": LICENCES["weights"],
        "training_text": LICENCES["text"],
        **rounded(facts),
        "environment": environment(),
        "files": file_hashes(out),
    }
    text = json.dumps(manifest, indent=2) + "\n"
    (out / "manifest.json").write_text(text, encoding="utf-8")
