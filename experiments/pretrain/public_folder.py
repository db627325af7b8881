"""The published folder of dictionaries for a public model, whose weights come in a package.

Dictionaries are stored in float16, and what is stored is what is measured.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from dictionaries import load_dictionary
from evaluate import all_spliced, dictionary_figures
from joint import JointRecipe
from manifest import sae_folder, write_manifest
from public_model import PublicModel
from sae_lens import SAE
from torch import Tensor

# Rows at once: logits of a large vocabulary are large.
_ROWS = 8
TEXT = (
    "TinyStories (Eldan and Li 2023), CDLA-Sharing-1.0, not distributed here; passages of this "
    "project; docstrings of numpy, scipy and pandas, 3-clause BSD; text that the model wrote"
)


def halved(sae: SAE) -> SAE:
    """The same dictionary in float16."""
    sae = sae.to(torch.float16)
    sae.cfg.dtype = "float16"
    return sae


def write_folder(
    model: PublicModel,
    trained: Path,
    out: Path,
    held_out: Tensor,
    recipes: tuple[JointRecipe, ...],
    **facts: Any,
) -> None:
    """Writes the dictionaries, the logs of their training and the manifest with every figure.

    Args:
        trained: holds a folder of every dictionary, `saes/SITE`, and logs.
        held_out: rows that nothing was trained on.
        recipes: what every dictionary was trained by, one after the other.
        facts: more of the manifest.
    """
    sites = sorted(
        (path.name for path in (trained / "saes").iterdir()),
        key=lambda site: int(site.split(".")[1]),
    )
    saes: dict[str, SAE] = {}
    for site in sites:
        halved(load_dictionary(sae_folder(trained, site))).save_model(sae_folder(out, site))
        # Widened, as whoever loads it widens it.
        saes[site] = load_dictionary(sae_folder(out, site)).float()
    tokens = sum(recipe.steps * recipe.batch_rows for recipe in recipes) * held_out.shape[1]
    entries = [
        {
            "path": sae_folder(out, site).relative_to(out).as_posix(),
            "kind": "sae",
            "hook_name": site,
            "d_sae": sae.cfg.d_sae,
            "trained_features": sae.cfg.d_sae,
            **dictionary_figures(model, sae, held_out, held_out, _ROWS),
            "trained_by": "joint.py: alone, then all together",
            "tokens": tokens,
        }
        for site, sae in saes.items()
    ]
    logs = out / "logs"
    logs.mkdir(exist_ok=True)
    for log in sorted(trained.rglob("*.jsonl")):
        shutil.copy(log, logs / "_".join(log.relative_to(trained).parts))
    write_manifest(
        out,
        {
            "training_text": TEXT,
            **facts,
            "seeds": [recipe.seed for recipe in recipes],
            "measured_on": "held-out text of every kind in the training proportion; position 0 "
            "left out and never spliced",
            "default_sites": sites,
            "dictionaries": entries,
            "joint": all_spliced(model, saes, held_out, _ROWS),
        },
    )
