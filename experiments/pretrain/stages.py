"""The stages in order, from the text to the finished folder."""

from __future__ import annotations

import json
import shutil
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from architecture import LanguageModel
from dictionaries import DictionaryRecipe, load_dictionary, train_dictionary
from evaluate import dictionary_figures, joint_figures, reading_site
from joint import JointTraining
from language_model import LanguageModelTraining
from manifest import (
    export_model,
    layer_sites,
    sae_folder,
    transcoder_folder,
    write_manifest,
)
from measure import construction_scores, loss_on, stream_norms, test_prompts
from pruning import prune
from recipes import Recipes
from rows import CHUNK_ROWS, GENERATED_SHARE, ROW, MixedRows, Texts
from tokenizer import split_words, stories_of, train_tokenizer
from transcoders import train_transcoder
from transformers import PreTrainedTokenizerFast

DICTIONARY_SEED = 101
HELD_OUT_SEED = 303
PRUNING_SEED = 404


class Pretraining:
    """One run of all stages; what is on disk already is not made again."""

    def __init__(self, corpus: Path, out: Path, work: Path, recipes: Recipes, threads: int) -> None:
        torch.set_num_threads(threads)
        self.corpus = corpus
        self.out = out
        self.work = work
        self.recipes = recipes
        for folder in (out, work):
            folder.mkdir(parents=True, exist_ok=True)

    def run(self) -> None:
        """Run every stage."""
        self.language_model_stage()
        self.stream_stage()
        self.joint_stage()
        self.parts_stage()
        self.transcoder_stage()
        self.pruning_stage()
        self.manifest_stage()

    @cached_property
    def _texts(self) -> dict[str, list[str]]:
        names = {"seen": "corpus.txt", "held_out": "corpus_valid.txt"}
        return {name: stories_of(self.corpus / file) for name, file in names.items()}

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer, trained on first use."""
        folder = self.work / "tokenizer"
        if not folder.exists():
            recipes = self.recipes
            made = train_tokenizer(
                self._texts["seen"], recipes.tokenizer_passages, recipes.shape.vocabulary
            )
            if broken := split_words(made):
                raise ValueError(f"words of more than one token: {broken}")
            made.save_pretrained(folder)
        return PreTrainedTokenizerFast.from_pretrained(folder)

    @cached_property
    def stories(self) -> dict[str, Texts]:
        """The stories trained on and the held-out ones, tokenised."""
        return {name: Texts(self.tokenizer, texts) for name, texts in self._texts.items()}

    @cached_property
    def story_rows(self) -> dict[str, torch.Tensor]:
        """Rows of stories for measurements."""
        return {
            name: torch.from_numpy(
                stories.rows(self.recipes.story_rows, np.random.default_rng(HELD_OUT_SEED))
            )
            for name, stories in self.stories.items()
        }

    @cached_property
    def mixture(self) -> torch.Tensor:
        """Held-out stories and fresh passages, mixed as the training text is."""
        rows = MixedRows(self.tokenizer, self.stories["held_out"], HELD_OUT_SEED)
        return rows.batch(0, self.recipes.mixture_rows)

    @cached_property
    def model(self) -> LanguageModel:
        """The trained language model, read from its checkpoint."""
        model = LanguageModel(self.recipes.shape)
        state = torch.load(self.work / "language_model.pt", weights_only=True)
        model.load_state_dict(state["model"])
        return model.eval().requires_grad_(False)

    def _rows(self, seed: int, generated_share: float = GENERATED_SHARE) -> MixedRows:
        return MixedRows(self.tokenizer, self.stories["seen"], seed, generated_share)

    def language_model_stage(self) -> None:
        """Train and export the language model."""
        if (self.out / "model" / "model.safetensors").exists():
            return
        recipe = self.recipes.language_model
        training = LanguageModelTraining(recipe, self.recipes.shape, self.work)
        prompts = test_prompts(self.tokenizer, self.recipes.test_prompts, seed=recipe.seed)
        training.run(self._rows(recipe.seed), self.story_rows, prompts)
        export_model(self.model, self.tokenizer, self.out)

    def _train_sae(self, hook_name: str, recipe: DictionaryRecipe, folder: Path) -> None:
        if not (folder / "sae_weights.safetensors").exists():
            print("training", hook_name, flush=True)
            train_dictionary(self.model, self._rows(DICTIONARY_SEED), hook_name, recipe, folder)

    def stream_folder(self, hook_name: str) -> Path:
        """Where a site's dictionary lies that the joint tuning begins with."""
        return self.work / "one_at_a_time" / hook_name

    @property
    def stream_sites(self) -> list[str]:
        """The stream after every layer."""
        return layer_sites("hook_resid_post", self.recipes.shape.layers)

    def stream_stage(self) -> None:
        """Train the residual-stream dictionaries one at a time: the start of the joint tuning."""
        for site in self.stream_sites:
            self._train_sae(site, self.recipes.stream, self.stream_folder(site))

    def joint_stage(self) -> None:
        """Tune the residual-stream dictionaries together."""
        folders = {site: sae_folder(self.out, site) for site in self.stream_sites}
        if all((folder / "sae_weights.safetensors").exists() for folder in folders.values()):
            return
        saes = {site: load_dictionary(self.stream_folder(site)) for site in folders}
        for number, recipe in enumerate(self.recipes.joint):
            folder = self.work / f"joint_{number + 1}"
            rows = self._rows(self.recipes.joint_seed + number, self.recipes.joint_generated_share)
            found = JointTraining(self.model, saes, recipe, folder).run(rows)
            assert found is not None, "nothing stops a run before its end here"
            saes = found
        for site, folder in folders.items():
            saes[site].save_model(folder)

    def parts_stage(self) -> None:
        """Train dictionaries for the embedding and for what attention and MLPs write."""
        layers = self.recipes.shape.layers
        sites = layer_sites("hook_attn_out", layers) + layer_sites("hook_mlp_out", layers)
        for site in ["blocks.0.hook_resid_pre", *sites]:
            self._train_sae(site, self.recipes.parts, sae_folder(self.out, site))

    def transcoder_stage(self) -> None:
        """Train a transcoder for every MLP."""
        for layer in range(self.recipes.shape.layers):
            folder = transcoder_folder(self.out, layer)
            if not (folder / "sae_weights.safetensors").exists():
                print("training the transcoder of layer", layer, flush=True)
                rows = self._rows(DICTIONARY_SEED)
                train_transcoder(self.model, rows, layer, self.recipes.transcoder, folder)

    def _dictionary_folders(self) -> list[Path]:
        return sorted(path.parent for path in self.out.glob("*/*/sae_weights.safetensors"))

    def pruning_stage(self) -> None:
        """Remove from every dictionary the features that training text never activates."""
        rows = self._rows(PRUNING_SEED).batch(0, self.recipes.mixture_rows)
        for folder in self._dictionary_folders():
            if dropped := prune(self.model, folder, rows):
                print(f"dropped {dropped} features of {folder.name}", flush=True)

    def _dictionary_entry(self, folder: Path) -> dict[str, Any]:
        dictionary = load_dictionary(folder)
        transcoder = dictionary.cfg.metadata.hook_name_out is not None
        tuned = reading_site(dictionary) in self.stream_sites
        recipe = self.recipes.transcoder if transcoder else self.recipes.parts
        recipe = self.recipes.stream if tuned else recipe
        trained_by = "sae_lens SAETrainer (BatchTopK)"
        if transcoder:
            trained_by = "own BatchTopK loop (transcoders.py)"
        if tuned:
            trained_by += ", then tuned jointly (joint.py)"
        stories = self.story_rows["held_out"][: self.recipes.dictionary_story_rows]
        entry: dict[str, Any] = {
            "path": folder.relative_to(self.out).as_posix(),
            "kind": "transcoder" if transcoder else "sae",
            "hook_name": reading_site(dictionary),
            "d_sae": dictionary.cfg.d_sae,
            "trained_features": recipe.features,
            **dictionary_figures(self.model, dictionary, self.mixture, stories),
            "trained_by": trained_by,
            "tokens": recipe.samples
            + (sum(part.tokens for part in self.recipes.joint) if tuned else 0),
        }
        if transcoder:
            entry["hook_name_out"] = dictionary.cfg.metadata.hook_name_out
        return entry

    def manifest_stage(self) -> None:
        """Measure everything on held-out text and write the manifest."""
        prompts = test_prompts(self.tokenizer, self.recipes.test_prompts)
        held_out = self.story_rows["held_out"]
        saes = {site: load_dictionary(sae_folder(self.out, site)) for site in self.stream_sites}
        recipe = self.recipes.language_model
        facts = {
            "description": self.recipes.description,
            "architecture": self.recipes.shape.facts(),
            "tokens_seen": recipe.steps * recipe.batch_rows * ROW,
            "generated_share": self._rows(recipe.seed).generated / CHUNK_ROWS,
            "command": self.recipes.command,
            "seeds": {
                "language_model": recipe.seed,
                "dictionaries": self.recipes.parts.seed,
                "dictionary_rows": DICTIONARY_SEED,
                "joint": [part.seed for part in self.recipes.joint],
                "joint_rows": [
                    self.recipes.joint_seed + number for number in range(len(self.recipes.joint))
                ],
                "pruning_rows": PRUNING_SEED,
                "held_out": HELD_OUT_SEED,
            },
            "measured_on": "held-out stories (loss, KL, loss recovered), held-out stories and fresh"
            " passages in the training proportion (L0, variance, dead), fresh prompts"
            " (constructions); position 0 left out and never spliced",
            "default_sites": self.stream_sites,
            "language_model": {
                "held_out_loss": loss_on(self.model, held_out),
                "seen_stories_loss": loss_on(self.model, self.story_rows["seen"]),
                "constructions": construction_scores(self.model, prompts),
                "residual_norms": stream_norms(self.model, held_out),
            },
            "dictionaries": [
                self._dictionary_entry(folder) for folder in self._dictionary_folders()
            ],
            "joint": joint_figures(self.model, saes, held_out, prompts),
        }
        logs = self.out / "logs"
        logs.mkdir(exist_ok=True)
        for log in self.work.rglob("*.jsonl"):
            shutil.copy(log, logs / "_".join(log.relative_to(self.work).parts))
        write_manifest(self.out, facts)
        print(json.dumps(facts["joint"], indent=1), flush=True)
