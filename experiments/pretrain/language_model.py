"""Training of the language model: AdamW for vectors and embeddings, Muon for the matrices."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from architecture import LanguageModel, Shape
from measure import Prompts, construction_scores, loss_on, stream_norms
from rows import ROW, MixedRows
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer


@dataclass(frozen=True)
class LanguageModelRecipe:
    """How the language model is trained."""

    tokens: int = 20_000_000
    batch_rows: int = 32
    muon_rate: float = 0.015
    muon_decay: float = 0.5
    adam_rate: float = 3e-3
    adam_decay: float = 0.1
    constant_share: float = 0.4
    warmup_steps: int = 50
    seed: int = 1
    row_tokens: int = ROW
    report_every: int = 250
    save_every: int = 250

    @property
    def steps(self) -> int:
        """The number of optimiser steps."""
        return self.tokens // (self.batch_rows * self.row_tokens)

    def rate_at(self, step: int) -> float:
        """The factor on both learning rates: warm-up, constant, then linear to zero."""
        progress = step / max(self.steps, 1)
        falling = (1 - progress) / (1 - self.constant_share)
        return min(1.0, (step + 1) / self.warmup_steps, falling)


def optimizers(model: LanguageModel, recipe: LanguageModelRecipe) -> list[Optimizer]:
    """Muon moves hidden matrices by orthogonal steps, so their decay bounds what they write."""
    matrices = [module.weight for module in model.blocks.modules() if isinstance(module, nn.Linear)]
    taken = {id(matrix) for matrix in matrices}
    others = [parameter for parameter in model.parameters() if id(parameter) not in taken]
    return [
        Muon(matrices, lr=recipe.muon_rate, weight_decay=recipe.muon_decay, momentum=0.95),
        AdamW(
            [
                {"params": [p for p in others if p.ndim > 1], "weight_decay": recipe.adam_decay},
                {"params": [p for p in others if p.ndim == 1], "weight_decay": 0.0},
            ],
            lr=recipe.adam_rate,
            betas=(0.9, 0.95),
        ),
    ]


class LanguageModelTraining:
    """One training run that writes its state to disk and goes on from there."""

    def __init__(self, recipe: LanguageModelRecipe, shape: Shape, folder: Path) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.folder = folder
        self.model = LanguageModel(shape)
        self.optimizers = optimizers(self.model, recipe)
        self.rates = [[group["lr"] for group in opt.param_groups] for opt in self.optimizers]
        self.step = 0
        folder.mkdir(parents=True, exist_ok=True)
        if self.checkpoint.exists():
            self._resume()

    @property
    def checkpoint(self) -> Path:
        """Where the state of the run is kept."""
        return self.folder / "language_model.pt"

    def _resume(self) -> None:
        state = torch.load(self.checkpoint, weights_only=True)
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step = state["step"]

    def save(self) -> None:
        """Write the state so that a broken write never replaces a good one."""
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
        }
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.checkpoint)

    def _one_step(self, ids: Tensor) -> float:
        factor = self.recipe.rate_at(self.step)
        for optimizer, rates in zip(self.optimizers, self.rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
        loss = self.model.loss(ids)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return loss.item()

    def _report(
        self,
        train_loss: float,
        started: float,
        stories: dict[str, Tensor],
        prompts: dict[str, Prompts],
    ) -> None:
        norms = stream_norms(self.model, stories["held_out"][:32])
        scores = construction_scores(self.model, prompts)
        entry = {
            "step": self.step,
            "tokens": self.step * self.recipe.batch_rows * ROW,
            "seconds": round(time.monotonic() - started),
            "train_loss": round(train_loss, 4),
            **{
                f"{name}_loss": round(loss_on(self.model, rows), 4)
                for name, rows in stories.items()
            },
            "accuracy": {name: round(score["accuracy"], 3) for name, score in scores.items()},
            "norms": {name: round(value, 1) for name, value in norms.items()},
        }
        with (self.folder / "language_model.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")
        print(json.dumps(entry), flush=True)

    def run(
        self, rows: MixedRows, stories: dict[str, Tensor], prompts: dict[str, Prompts]
    ) -> LanguageModel:
        """Train to the end of the recipe and return the model.

        The log gets the loss on each named set of story rows; one of them must be "held_out".
        """
        started = time.monotonic()
        losses: list[float] = []
        while self.step < self.recipe.steps:
            losses.append(self._one_step(rows.batch(self.step, self.recipe.batch_rows)))
            last = self.step == self.recipe.steps
            if last or self.step % self.recipe.save_every == 0:
                self.save()
            if last or self.step % self.recipe.report_every == 0:
                self._report(sum(losses) / len(losses), started, stories, prompts)
                losses = []
        return self.model.eval()
