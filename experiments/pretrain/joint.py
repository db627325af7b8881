"""Joint fine-tuning: dictionaries at all sites spliced in together, errors dropped.

Dictionaries trained one at a time each leave a small error; together, the errors add up and the
model they stand in for no longer does what it did. Here all are tuned at once so that the model
which runs on their reconstructions predicts what the untouched model predicts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from activations import splice
from architecture import LanguageModel
from dictionaries import parameter_of
from gates import BatchGate
from rows import ROW, MixedRows
from sae_lens import SAE
from torch import Tensor, nn


@dataclass(frozen=True)
class JointRecipe:
    """How the dictionaries are tuned together."""

    tokens: int = 10_000_000
    batch_rows: int = 16
    active_first: float = 40
    active: float = 24
    falling_share: float = 0.4
    rate: float = 8e-4
    variance_price: float = 0.3
    settled_share: float = 0.15
    seed: int = 21
    report_every: int = 100

    @property
    def steps(self) -> int:
        """The number of optimiser steps."""
        return self.tokens // (self.batch_rows * ROW)

    def rate_at(self, step: int) -> float:
        """The learning rate: warm-up, constant for half of the run, then linear to zero."""
        progress = step / max(self.steps, 1)
        return self.rate * min(1.0, (step + 1) / 50, 2 * (1 - progress))

    def active_at(self, step: int) -> float:
        """How many features are wanted at a step: fewer and fewer, then the final number.

        A set that grows sparser slowly merges and sharpens its features; cut at once, it would
        have to be learned again.
        """
        fallen = min(1.0, step / max(self.falling_share * self.steps, 1))
        return self.active_first + fallen * (self.active - self.active_first)


class TunedDictionary(nn.Module):
    """The parameters of one autoencoder while it is tuned with the others."""

    def __init__(self, sae: SAE, active: float) -> None:
        super().__init__()
        norms = sae.W_dec.data.norm(dim=1)
        self.W_enc = nn.Parameter((sae.W_enc.data * norms).contiguous())
        self.b_enc = nn.Parameter(parameter_of(sae, "b_enc").data * norms)
        self.W_dec = nn.Parameter(sae.W_dec.data / norms[:, None])
        self.b_dec = nn.Parameter(sae.b_dec.data.clone())
        self.gate = BatchGate(active, (parameter_of(sae, "threshold").data * norms).mean().item())
        self.unexplained = torch.zeros(())

    def forward(self, stream: Tensor) -> Tensor:
        """The reconstruction; what it misses is kept in `unexplained`."""
        with torch.autocast("cpu", dtype=torch.bfloat16):
            values = ((stream - self.b_dec) @ self.W_enc).float() + self.b_enc
            features = self.gate(values)
            written = (features @ self.W_dec).float() + self.b_dec
        wanted = stream.detach().flatten(0, 1)
        spread = (wanted - wanted.mean(dim=0)).pow(2).sum()
        self.unexplained = (written.flatten(0, 1) - wanted).pow(2).sum() / spread
        return written

    @torch.no_grad()
    def normalise(self) -> None:
        """Keep decoder rows at norm 1, so that one threshold means the same for all features."""
        self.W_dec.data /= self.W_dec.norm(dim=1, keepdim=True).clamp(min=1e-8)

    @torch.no_grad()
    def write_to(self, sae: SAE) -> None:
        """Put the tuned parameters into the autoencoder of sae_lens."""
        for name in ("W_enc", "b_enc", "W_dec", "b_dec"):
            getattr(sae, name).data = getattr(self, name).data.clone().contiguous()
        threshold = parameter_of(sae, "threshold")
        threshold.data = self.gate.threshold.expand(len(threshold)).clone()


def divergence(
    model: LanguageModel, reference: Tensor, spliced: Tensor, chunk: int = 512
) -> Tensor:
    """Mean KL of the spliced model from the untouched one, position 0 left out.

    Both arguments are what the unembedding reads; logits are made a few rows at a time.
    """
    total = spliced.new_zeros(())
    pairs = [states[:, 1:].flatten(0, 1).split(chunk) for states in (reference, spliced)]
    for before, after in zip(*pairs, strict=True):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            wanted = before @ model.unembedding.T
            got = after @ model.unembedding.T
        wanted, got = F.log_softmax(wanted.float(), -1), F.log_softmax(got.float(), -1)
        total = total + F.kl_div(got, wanted, reduction="sum", log_target=True)
    return total / spliced[:, 1:, 0].numel()


class JointTraining:
    """One joint run that writes its state to disk and goes on from there."""

    def __init__(
        self, model: LanguageModel, saes: dict[str, SAE], recipe: JointRecipe, folder: Path
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.model = model.requires_grad_(False)
        self.saes = saes
        self.recipe = recipe
        self.folder = folder
        self.tuned = nn.ModuleList(
            TunedDictionary(sae, recipe.active_first) for sae in saes.values()
        ).train()
        self.optimizer = torch.optim.Adam(self.tuned.parameters(), betas=(0.9, 0.99))
        self.step = 0
        folder.mkdir(parents=True, exist_ok=True)
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, weights_only=True)
            self.tuned.load_state_dict(state["tuned"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]

    @property
    def checkpoint(self) -> Path:
        """Where the state of the run is kept."""
        return self.folder / "joint.pt"

    def _save(self) -> None:
        state = {
            "tuned": self.tuned.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
        }
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.checkpoint)

    def _members(self) -> Iterator[TunedDictionary]:
        for member in self.tuned:
            assert isinstance(member, TunedDictionary)
            yield member

    def _one_step(self, ids: Tensor) -> float:
        self.optimizer.param_groups[0]["lr"] = self.recipe.rate_at(self.step)
        settled = self.step >= (1 - self.recipe.settled_share) * self.recipe.steps
        for member in self._members():
            member.gate.follows = not settled
            member.gate.active = self.recipe.active_at(self.step)
        with torch.no_grad():
            reference = self.model.final(ids, low=True)
        tap = splice(dict(zip(self.saes, self._members(), strict=True)))
        spliced = self.model.final(ids, low=True, tap=tap)
        kl = divergence(self.model, reference, spliced)
        missed = torch.stack([member.unexplained for member in self._members()]).sum()
        (kl + self.recipe.variance_price * missed).backward()
        nn.utils.clip_grad_norm_(self.tuned.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        for member in self._members():
            member.normalise()
        self.step += 1
        return kl.item()

    def _report(self, kl: float, started: float) -> None:
        entry = {
            "step": self.step,
            "tokens": self.step * self.recipe.batch_rows * ROW,
            "seconds": round(time.monotonic() - started),
            "kl": round(kl, 4),
            "unexplained": [round(m.unexplained.item(), 4) for m in self._members()],
            "l0": [round(m.gate.passed, 1) for m in self._members()],
        }
        with (self.folder / "joint.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")
        print(json.dumps(entry), flush=True)

    def run(self, rows: MixedRows) -> dict[str, SAE]:
        """Tune to the end of the recipe and return the autoencoders."""
        started = time.monotonic()
        recent: list[float] = []
        while self.step < self.recipe.steps:
            recent.append(self._one_step(rows.batch(self.step, self.recipe.batch_rows)))
            if self.step % self.recipe.report_every == 0 or self.step == self.recipe.steps:
                self._save()
                self._report(sum(recent) / len(recent), started)
                recent = []
        for member, sae in zip(self._members(), self.saes.values(), strict=True):
            member.write_to(sae)
        return self.saes
