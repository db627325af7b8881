"""Train the attention-only model of `pretrained/induction` and its dictionaries.

    python experiments/pretrain/induction.py --out DIR

Nothing is read: the language is drawn from a seed. A stage whose output exists is skipped.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from architecture import Shape
from attention_only import AttentionOnly
from dictionaries import DictionaryRecipe, Origin, load_dictionary, train_dictionary
from evaluate import dictionary_figures, joint_figures, reading_site
from induction_rows import CONTEXT, Language, LanguageRows
from induction_training import MEASURING_SEED, losses, train
from language_model import LanguageModelRecipe
from manifest import export_model, sae_folder, write_manifest
from measure import stream_norms
from pruning import prune

DICTIONARY_SEED, PRUNING_SEED = 101, 404
STREAM = ("blocks.0.hook_resid_pre", "blocks.0.hook_resid_post", "blocks.1.hook_resid_post")
PARTS = ("blocks.0.hook_attn_out", "blocks.1.hook_attn_out")
ORIGIN = Origin("induction", "sentences and repetitions of a made-up language", CONTEXT)


@dataclass(frozen=True)
class InductionRecipe:
    """Everything that decides what is made."""

    language: Language = field(default_factory=Language)
    shape: Shape = field(
        default_factory=lambda: Shape(
            vocabulary=256, layers=2, width=128, heads=4, hidden=4, context=CONTEXT
        )
    )
    language_model: LanguageModelRecipe = field(
        default_factory=lambda: LanguageModelRecipe(
            tokens=13_000_000,
            batch_rows=64,
            row_tokens=CONTEXT,
            muon_rate=0.02,
            muon_decay=0.05,
            report_every=100,
        )
    )
    dictionary: DictionaryRecipe = field(
        default_factory=lambda: DictionaryRecipe(
            features=768, active=16, samples=500_000, origin=ORIGIN
        )
    )
    measured_rows: int = 400

    @classmethod
    def tiny(cls) -> InductionRecipe:
        """A recipe that runs every stage in seconds and teaches nothing."""
        whole = cls()
        return replace(
            whole,
            language_model=replace(whole.language_model, tokens=40_000, report_every=5),
            dictionary=replace(whole.dictionary, features=64, samples=10_000, batch=512),
            measured_rows=32,
        )


def manifest_facts(model: AttentionOnly, recipe: InductionRecipe, out: Path) -> dict[str, Any]:
    """Everything measured, on rows that no training saw."""
    language, shape = recipe.language, recipe.shape
    rows = LanguageRows(language, MEASURING_SEED).batch(0, recipe.measured_rows)
    saes = {site: load_dictionary(sae_folder(out, site)) for site in (*STREAM, *PARTS)}
    recipes = recipe.language_model
    entries = [
        {
            "path": sae_folder(out, site).relative_to(out).as_posix(),
            "kind": "sae",
            "hook_name": reading_site(sae),
            "d_sae": sae.cfg.d_sae,
            "trained_features": recipe.dictionary.features,
            **dictionary_figures(model, sae, rows, rows),
            "trained_by": "sae_lens SAETrainer (BatchTopK)",
            "tokens": recipe.dictionary.samples,
        }
        for site, sae in saes.items()
    ]
    return {
        "name": ORIGIN.model,
        "training_text": f"{ORIGIN.text}, all of whose rules are in language.json",
        "description": "a two-layer attention-only model with induction heads, of a made-up"
        " language whose rules are known",
        "architecture": {
            **shape.facts(),
            "embeddings": "not tied",
            "mlps": "attention-only: its MLPs are zero and stay zero; shipped so because Hugging"
            " Face has no GPT-2 without MLPs",
        },
        "tokens_seen": recipes.steps * recipes.batch_rows * CONTEXT,
        "command": "python experiments/pretrain/induction.py --out DIR",
        "seeds": {
            "language": language.seed,
            "language_model": recipes.seed,
            "dictionaries": recipe.dictionary.seed,
            "dictionary_rows": DICTIONARY_SEED,
            "pruning_rows": PRUNING_SEED,
            "measuring": MEASURING_SEED,
        },
        "measured_on": "fresh rows, sentences and repetitions in equal parts; position 0 left out"
        " and never spliced",
        "default_sites": list(STREAM),
        "language_model": {
            "losses": losses(model, language, recipe.measured_rows),
            "residual_norms": stream_norms(model, rows),
        },
        "dictionaries": entries,
        "joint": joint_figures(model, {site: saes[site] for site in STREAM}, rows, {}),
    }


def main(
    out: Annotated[Path, typer.Option(help="Where the finished folder goes.")],
    work: Annotated[
        Path | None, typer.Option(help="Checkpoints and logs; OUT with -work added if absent.")
    ] = None,
    tiny: Annotated[bool, typer.Option(help="A handful of tokens a stage, for a test.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
) -> None:
    """Run all stages."""
    torch.set_num_threads(threads)
    recipe = InductionRecipe.tiny() if tiny else InductionRecipe()
    work = work or out.with_name(out.name + "-work")
    out.mkdir(parents=True, exist_ok=True)
    model = train(recipe.language, recipe.shape, recipe.language_model, work)
    if not model.mlps_are_zero():
        raise ValueError("an MLP has moved away from zero")
    export_model(model, recipe.language.tokenizer(), out)
    recipe.language.save(out / "language.json")
    unused = LanguageRows(recipe.language, PRUNING_SEED).batch(0, 4 * recipe.measured_rows)
    for site in (*STREAM, *PARTS):
        folder = sae_folder(out, site)
        if not (folder / "sae_weights.safetensors").exists():
            print("training", site, flush=True)
            rows = LanguageRows(recipe.language, DICTIONARY_SEED)
            train_dictionary(model, rows, site, recipe.dictionary, folder)
            prune(model, folder, unused)
    (out / "logs").mkdir(exist_ok=True)
    shutil.copy(work / "language_model.jsonl", out / "logs" / "language_model.jsonl")
    write_manifest(out, manifest_facts(model, recipe, out))


if __name__ == "__main__":
    typer.run(main)
