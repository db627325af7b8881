"""The shipped dictionaries of the stream tuned on, with one price of the loss after another.

    python experiments/pretrain/retuned.py --corpus DIR --out DIR --rows none change

Every row gets its own model folder, `OUT/change` and so on, which `saecircuits.load_model` reads.
All begin with the shipped dictionaries of `stories` and have the same text in the same order. A
stage whose output exists is skipped, and an interrupted one goes on.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch
from architecture import Shape
from dictionaries import load_dictionary, parameter_of
from joint import JointRecipe, Prices
from manifest import sae_folder
from recipes import Recipes
from reseeded import SHIPPED, put_language_model
from rows import ROW
from sae_lens import SAE, JumpReLUSAE, JumpReLUSAEConfig
from stages import Pretraining

DESCRIPTION = "the model of stories, with dictionaries tuned on from its own"
_NEVER = -10.0  # an offset at which a new feature is off


@dataclass(frozen=True)
class Row:
    """A folder of dictionaries.

    Attributes:
        joint: how they are tuned, run after run.
        features: of each dictionary; as many as the shipped one has if None.
    """

    joint: tuple[JointRecipe, ...]
    features: int | None = None


def _priced(prices: Prices, tokens: int = 250_000, active: float = 16) -> JointRecipe:
    return JointRecipe(
        tokens=tokens, active_first=active, active=active, rate=5e-4, prices=prices, seed=41
    )


CHANGES: Final = Prices(variance=1, effect=0.5, change=0.2)
ROWS: Final = {
    "none": Row((_priced(Prices(variance=1)),)),
    "effect": Row((_priced(Prices(variance=1, effect=0.5)),)),
    "passing": Row((_priced(Prices(variance=1, passing=0.3)),)),
    "change": Row((_priced(Prices(variance=1, change=0.2)),)),
    "all": Row((_priced(CHANGES),)),
    "no_divergence": Row((_priced(replace(CHANGES, divergence=0)),)),
    "no_variance": Row((_priced(replace(CHANGES, variance=0)),)),
    "more_active": Row((_priced(CHANGES, active=32),)),
    "stories-effects": Row(
        (
            replace(
                _priced(CHANGES, tokens=2_000_000, active=32),
                active_first=40,
                revives_after=50,
                seed=42,
            ),
            replace(
                _priced(replace(CHANGES, change=0.4), active=32), tokens=400_000, rate=3e-4, seed=43
            ),
        ),
        features=2048,
    ),
}
"""Divergence and variance alone (`none`), more prices, one price less; and the set that is shipped
for its effects."""


def grown(sae: SAE, features: int) -> SAE:
    """The same dictionary with more features, which are off until they are put somewhere."""
    d_in, old = sae.W_enc.shape
    new = JumpReLUSAE(JumpReLUSAEConfig(d_in=d_in, d_sae=features, metadata=sae.cfg.metadata))
    generator = torch.Generator().manual_seed(features)
    rows = torch.randn(features, d_in, generator=generator)
    rows = rows / rows.norm(dim=1, keepdim=True)
    new.W_dec.data, new.W_enc.data = rows, rows.T.contiguous()
    new.W_dec.data[:old], new.W_enc.data[:, :old] = sae.W_dec.data, sae.W_enc.data
    new.b_dec.data = sae.b_dec.data.clone()
    parameter_of(new, "b_enc").data = torch.full((features,), _NEVER)
    mean = parameter_of(sae, "threshold").data.mean()
    parameter_of(new, "threshold").data = mean.repeat(features)
    for name in ("b_enc", "threshold"):
        parameter_of(new, name).data[:old] = parameter_of(sae, name).data
    return new


def retune(
    corpus: Path,
    folder: Path,
    row: Row,
    *,
    base: Recipes,
    shipped: Path = SHIPPED,
    threads: int = 2,
) -> None:
    """Make the model folder of one row."""
    if (folder / "manifest.json").exists():
        return
    command = f"python experiments/pretrain/retuned.py --corpus DIR --out DIR --rows {folder.name}"
    before = base.stream.samples + sum(part.tokens for part in base.joint)
    recipes = replace(
        base,
        stream=replace(base.stream, samples=before, features=row.features or base.stream.features),
        joint=row.joint,
        joint_seed=base.joint_seed + len(base.joint),
        description=DESCRIPTION,
        command=command,
    )
    work = folder.with_name(folder.name + "-work")
    put_language_model(shipped, folder, work, recipes)
    training = Pretraining(corpus, folder, work, recipes, threads)
    for site in training.stream_sites:
        start = training.stream_folder(site)
        if not start.exists():
            shutil.copytree(sae_folder(shipped, site), start)
            if row.features is not None:
                grown(load_dictionary(start), row.features).save_model(start)
    training.joint_stage()
    if row.features is not None:
        training.pruning_stage()
    training.manifest_stage()


def main() -> None:
    """Tune every row, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("corpus", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=ROWS)
    parser.add_argument("--tiny", action="store_true", help="a handful of tokens, for a test")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    base = replace(Recipes.tiny(), shape=Shape()) if options.tiny else Recipes()
    for name in options.rows:
        row = ROWS[name]
        if options.tiny:
            short = (replace(part, tokens=4 * part.batch_rows * ROW) for part in row.joint)
            row = replace(row, joint=tuple(short))
        retune(options.corpus, options.out / name, row, base=base, threads=options.threads)


if __name__ == "__main__":
    main()
