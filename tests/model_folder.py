"""A model folder as `load_model` reads it, with a random model: manifest, model, dictionaries."""

import hashlib
import json
from pathlib import Path

import torch

from tests.models import N_LAYERS, build_bridge, fitted, random_sae

HOOKS = tuple(f"blocks.{layer}.hook_resid_post" for layer in range(N_LAYERS))


def write_model_folder(folder: Path, *, made_for: str = "tiny", scale: float = 0.35) -> Path:
    """Writes the folder; `made_for` is the model name in the dictionaries' metadata.

    Args:
        scale: of the model's random weights; another one makes another model.
    """
    (folder / "model").mkdir(parents=True)
    bridge = build_bridge(folder / "model", scale=scale)
    entries = []
    for number, hook in enumerate(HOOKS):
        sae = random_sae("jumprelu", seed=number, metadata={"model_name": made_for})
        fitted(sae, bridge, hook).save_model(folder / "saes" / hook)
        entries.append({"path": f"saes/{hook}", "kind": "sae", "hook_name": hook})
    transcoder = random_sae(
        "transcoder",
        seed=7,
        metadata={
            "model_name": made_for,
            "hook_name": "blocks.1.ln2.hook_normalized",
            "hook_name_out": "blocks.1.hook_mlp_out",
        },
    )
    read, write = transcoder.cfg.metadata.hook_name, transcoder.cfg.metadata.hook_name_out
    fitted(transcoder, bridge, write, read_hook=read).save_model(
        folder / "transcoders" / "blocks.1.mlp"
    )
    entries.append(
        {
            "path": "transcoders/blocks.1.mlp",
            "kind": "transcoder",
            "hook_name": "blocks.1.ln2.hook_normalized",
            "hook_name_out": "blocks.1.hook_mlp_out",
        }
    )
    write_manifest(folder, entries)
    return folder


def write_manifest(folder: Path, entries: list[dict[str, str]]) -> None:
    """The manifest of what now lies in the folder."""
    figures = {
        "mean_l0": 3.0,
        "fraction_variance_explained": 0.5,
        "loss_recovered": 0.5,
        "dead_share": 0.0,
    }
    manifest = {
        "name": "tiny",
        "default_sites": list(HOOKS),
        "dictionaries": [{**entry, **figures} for entry in entries],
        "files": {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != "manifest.json"
        },
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def write_task(path: Path, *, n_pairs: int = 10) -> Path:
    """Pairs of the random model's words that differ in the second word."""
    torch.manual_seed(3)
    lines = []
    for number in range(n_pairs):
        words = [f"w{int(word)}" for word in torch.randint(1, 18, (5,))]
        other = [*words[:1], f"w{18 + number % 3}", *words[2:]]
        lines.append(
            json.dumps(
                {
                    "clean": " ".join(words),
                    "corrupted": " ".join(other),
                    "answer": f"w{1 + number % 7}",
                    "wrong": f"w{9 + number % 5}",
                }
            )
        )
    path.write_text("\n".join(lines), encoding="utf-8")
    return path
