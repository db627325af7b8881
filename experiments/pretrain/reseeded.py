"""Dictionaries of the shipped language model's residual stream, trained again with other seeds.

    python experiments/pretrain/reseeded.py --corpus DIR --out DIR --seeds 1,2

Every seed gets its own model folder, `OUT/seed_1` and so on, which `saecircuits.load_model` reads.
All have the shipped language model, the same text in the same order and the same, smaller, budget;
the seed draws the activations that features start from and the order of the activations. A stage
whose output exists is skipped, and an interrupted joint stage goes on from its last checkpoint.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import torch
import typer
from architecture import LanguageModel, from_transformers
from recipes import Recipes
from stages import Pretraining
from transformers import GPT2LMHeadModel

SHIPPED = Path(__file__).resolve().parents[2] / "pretrained" / "stories"


def put_language_model(shipped: Path, out: Path, work: Path, recipes: Recipes) -> None:
    """Put a trained language model where the first stage would have left it."""
    if (out / "model" / "model.safetensors").exists():
        return
    work.mkdir(parents=True, exist_ok=True)
    model = LanguageModel(recipes.shape)
    from_transformers(GPT2LMHeadModel.from_pretrained(shipped / "model"), model)
    torch.save({"model": model.state_dict()}, work / "language_model.pt")
    (work / "tokenizer").mkdir(exist_ok=True)
    for path in (shipped / "model").glob("tokenizer*"):
        shutil.copy(path, work / "tokenizer")
    shutil.copytree(shipped / "model", out / "model", dirs_exist_ok=True)


def train_seed(
    corpus: Path, folder: Path, recipes: Recipes, *, shipped: Path = SHIPPED, threads: int = 2
) -> None:
    """Make the model folder of one seed."""
    work = folder.with_name(folder.name + "-work")
    put_language_model(shipped, folder, work, recipes)
    training = Pretraining(corpus, folder, work, recipes, threads)
    training.stream_stage()
    training.joint_stage()
    if not (folder / "manifest.json").exists():
        training.pruning_stage()
        training.manifest_stage()


def main(
    corpus: Annotated[Path, typer.Option(help="Folder with corpus.txt and corpus_valid.txt.")],
    out: Annotated[Path, typer.Option(help="Where the folders of the seeds go.")],
    seeds: Annotated[str, typer.Option(help="Seeds, with commas.")] = "1,2",
    tiny: Annotated[bool, typer.Option(help="A handful of tokens a stage, for a test.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
) -> None:
    """Train the dictionaries of every seed, one after the other."""
    for seed in map(int, seeds.split(",")):
        folder = out / f"seed_{seed}"
        train_seed(corpus, folder, Recipes.reseeded(seed, tiny=tiny), threads=threads)


if __name__ == "__main__":
    typer.run(main)
