"""Training of the attention-only model, and what shows that it does induction."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from architecture import Shape
from attention_only import AttentionOnly
from induction_rows import LONGEST, Language, LanguageRows
from language_model import LanguageModelRecipe, optimizers
from torch import Tensor, nn

MEASURING_SEED = 303


def position_losses(model: AttentionOnly, rows: Tensor) -> Tensor:
    """Mean next-token loss at every position but the last, `[position]`."""
    with torch.no_grad():
        logits = model(rows)[:, :-1]
    losses = F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="none")
    return losses.view(len(rows), -1).mean(dim=0)


def losses(model: AttentionOnly, language: Language, rows: int = 256) -> dict[str, float]:
    """Losses on fresh rows: sentences, and the first and second time of the same 31 words.

    The second time starts one word in: which word begins it, nothing predicts. What knowing every
    rule would leave is `sentences_least`, the logarithm of the number of words the first time, and
    0 the second time.
    """
    rng = np.random.default_rng(MEASURING_SEED)
    text = language.sentences(rows, rng)
    sentences = position_losses(model, torch.from_numpy(text))
    twice = position_losses(model, torch.from_numpy(language.twice(rows, rng)))
    return {
        "sentences": sentences[1:].mean().item(),
        "sentences_least": language.least_loss(text),
        "first_time": twice[:LONGEST].mean().item(),
        "second_time": twice[LONGEST + 1 :].mean().item(),
    }


def train(
    language: Language, shape: Shape, recipe: LanguageModelRecipe, folder: Path
) -> AttentionOnly:
    """Train the model; it goes on from the checkpoint in the folder if there is one."""
    torch.manual_seed(recipe.seed)
    model = AttentionOnly(shape)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "language_model.pt"
    if checkpoint.exists():
        model.load_state_dict(torch.load(checkpoint, weights_only=True))
        return model.eval().requires_grad_(False)
    rows = LanguageRows(language, recipe.seed)
    movers = optimizers(model, recipe)
    rates = [[group["lr"] for group in mover.param_groups] for mover in movers]
    started = time.monotonic()
    log = folder / "language_model.jsonl"
    log.write_text("", encoding="utf-8")
    for step in range(recipe.steps):
        factor = recipe.rate_at(step)
        for mover, own in zip(movers, rates, strict=True):
            for group, rate in zip(mover.param_groups, own, strict=True):
                group["lr"] = rate * factor
        model.loss(rows.batch(step, recipe.batch_rows), chunk=4096).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for mover in movers:
            mover.step()
            mover.zero_grad(set_to_none=True)
        if (step + 1) % recipe.report_every == 0 or step + 1 == recipe.steps:
            entry = {"step": step + 1, "seconds": round(time.monotonic() - started)}
            entry |= {name: round(loss, 4) for name, loss in losses(model, language).items()}
            print(json.dumps(entry), flush=True)
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
    torch.save(model.state_dict(), checkpoint)
    return model.eval().requires_grad_(False)
