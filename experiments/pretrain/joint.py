"""Tuning dictionaries of several sites as one set, for circuits.

Dictionaries trained one at a time each leave a small error; together, the errors add up and the
model they stand in for no longer does what it did. Here all are tuned at once. What is lowered is a
sum of five things, each with a price (`Prices`):

- divergence: of the model that runs on the reconstructions, at all sites at once and without their
  errors, from the untouched model (end-to-end dictionaries, Braun et al. 2024);
- variance: the share of it that a reconstruction leaves, token by token;
- effect: the share of first-order effects that goes with errors (`effects.py`);
- passing: the share of first-order effects of changes that the features' derivatives lose
  (`effects.py`);
- change: how much smaller or larger reconstructions make what a word does to the stream at later
  words, and its effects (`TunedDictionary.lose_change`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from activations import splice
from dictionaries import parameter_of
from effects import Reference, drawn_gradients, share_lost, twins
from gates import BatchGate
from public_model import Model
from rows import ROW, Rows
from sae_lens import SAE
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

# Features that were off for long are put where errors are until so much of a run is over.
_REVIVED_UNTIL = 0.6
# Counted as silent in the log.
_SILENT_STEPS = 50
# The share of places where it is on at first.
_REVIVED_AT = 0.003


@dataclass(frozen=True)
class Prices:
    """What each part of the loss counts; sums over sites, but the divergence."""

    divergence: float = 1.0
    variance: float = 0.3
    effect: float = 0.0
    passing: float = 0.0
    change: float = 0.0

    @property
    def needs_gradients(self) -> bool:
        """Whether gradients of the untouched model, and tokens drawn from it, are wanted."""
        return self.effect > 0 or self.passing > 0 or self.change > 0


@dataclass(frozen=True)
class JointRecipe:
    """How the dictionaries are tuned together.

    Attributes:
        revives_after: a feature that was off for so many steps is put where errors are; None for
            never.
    """

    tokens: int = 10_000_000
    batch_rows: int = 16
    active_first: float = 40
    active: float = 24
    falling_share: float = 0.4
    rate: float = 8e-4
    prices: Prices = field(default_factory=Prices)
    settled_share: float = 0.15
    revives_after: int | None = None
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
    """The parameters of one autoencoder while it is tuned with the others.

    They are those of the stream in units of `scale`; a saved dictionary has the stream's own.
    """

    scale: Tensor
    silent: Tensor

    def __init__(self, sae: SAE, active: float, scale: float = 1.0) -> None:
        super().__init__()
        norms = sae.W_dec.data.norm(dim=1)
        self.W_enc = nn.Parameter((sae.W_enc.data * norms).contiguous())
        self.b_enc = nn.Parameter(parameter_of(sae, "b_enc").data * norms / scale)
        self.W_dec = nn.Parameter(sae.W_dec.data / norms[:, None])
        self.b_dec = nn.Parameter(sae.b_dec.data / scale)
        threshold = (parameter_of(sae, "threshold").data * norms).mean().item() / scale
        self.gate = BatchGate(active, threshold)
        self.register_buffer("scale", torch.tensor(float(scale)))
        self.register_buffer("silent", torch.zeros(len(norms)))
        self.lost: dict[str, Tensor] = {}
        self.missed: Tensor | None = None
        self.read: Tensor | None = None

    def forward(self, stream: Tensor) -> Tensor:
        """The reconstruction."""
        x = stream.float() / self.scale
        return (self._written(self.gate.held(self._values(x))) * self.scale).to(stream.dtype)

    def lose(self, stream: Tensor, gradient: Tensor | None = None) -> None:
        """Put what the reconstruction loses into `lost`, and let the gate follow.

        Args:
            stream: `[row, position, width]`.
            gradient: of what effects are on, there; without one no effects are counted.
        """
        x = stream.float() / self.scale
        features = self.gate(self._values(x))
        centred = x - x.flatten(0, 1).mean(dim=0)
        error = self._written(features) - x
        self.lost = {"variance": (error.square().sum(-1) / centred.square().sum(-1)).mean()}
        self.missed, self.read = error.detach(), x.detach()
        with torch.no_grad():
            self.silent += 1
            self.silent[(features > 0).flatten(0, 1).any(dim=0)] = 0
        if gradient is None:
            return
        self.lost["effect"] = share_lost(gradient, error, centred)
        change = x - x.roll(1, 0)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            passed = ((change @ self.W_enc) * (features > 0)) @ self.W_dec
        self.lost["passing"] = share_lost(gradient, change - passed.float(), change)

    def _values(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return ((x - self.b_dec) @ self.W_enc).float() + self.b_enc

    def _written(self, features: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return (features @ self.W_dec).float() + self.b_dec

    def lose_change(self, stream: Tensor, other: Tensor, gradient: Tensor, counted: Tensor) -> None:
        """Add to `lost` how much smaller or larger reconstructions make a change.

        With v what a row's words change, w what reconstructions change, both in sum over the places
        of the row, and s the mean of v.v over rows: `(1 - slope)^2`, where slope is
        `sum over rows of v.w / (v.v + s)` over `sum over rows of v.v / (v.v + s)`, so that rows
        that change little are not drowned; and the same of the effects g.v and g.w. What is off by
        chance cancels, and a change that is made smaller everywhere counts in full. An error row by
        row, squared or not, would be least for reconstructions that hardly change at all.

        Args:
            stream, other: `[row, position, width]`.
            gradient: of what effects are on, at `stream`.
            counted: the places to count, `[row, position]`.
        """
        x, y = (part.float() / self.scale for part in (stream, other))
        written = [self._written(self.gate.held(self._values(part))) for part in (x, y)]
        change = (x - y) * counted[..., None]
        kept = written[0] - written[1]
        effect = gradient * change
        pairs = (
            ((change * kept).sum((1, 2)), change.square().sum((1, 2))),
            ((effect.sum(-1) * (gradient * kept).sum(-1)).sum(1), effect.sum(-1).square().sum(1)),
        )
        off = torch.zeros(())
        for passed, whole in pairs:
            weight = 1 / (whole + whole.mean())
            off = off + (1 - (weight * passed).sum() / (weight * whole).sum()).square()
        self.lost["change"] = off

    @torch.no_grad()
    def normalise(self) -> None:
        """Keep decoder rows at norm 1, so that one threshold means the same for all features."""
        self.W_dec.data /= self.W_dec.norm(dim=1, keepdim=True).clamp(min=1e-8)

    @torch.no_grad()
    def revive(self, silent: int, generator: torch.Generator) -> Tensor:
        """Point features that were off for so many steps at what is missed most; their numbers.

        Each is on at few places: many that are all on together would overshoot.
        """
        assert self.missed is not None and self.read is not None
        dead = (self.silent >= silent).nonzero()[:, 0]
        missed = self.missed.flatten(0, 1)
        dead = dead[: len(missed) // 4]
        if len(dead):
            sizes = missed.square().sum(-1)
            chosen = missed[torch.multinomial(sizes, len(dead), generator=generator)]
            rows = -chosen / chosen.norm(dim=1, keepdim=True)
            values = (self.read.flatten(0, 1) - self.b_dec) @ rows.T
            least = values.topk(max(1, round(_REVIVED_AT * len(values))), dim=0).values[-1]
            self.W_dec.data[dead] = rows
            self.W_enc.data[:, dead] = rows.T
            self.b_enc.data[dead] = self.gate.threshold - least
            self.silent[dead] = 0
        return dead

    @torch.no_grad()
    def write_to(self, sae: SAE) -> None:
        """Put the tuned parameters into the autoencoder of sae_lens; decoder rows have norm 1."""
        sae.W_enc.data = self.W_enc.data.clone().contiguous()
        sae.W_dec.data = self.W_dec.data.clone().contiguous()
        parameter_of(sae, "b_enc").data = self.b_enc.data * self.scale
        sae.b_dec.data = self.b_dec.data * self.scale
        threshold = parameter_of(sae, "threshold")
        threshold.data = (self.gate.threshold * self.scale).expand(len(threshold)).clone()


def divergence(model: Model, reference: Tensor, spliced: Tensor, chunk: int = 512) -> Tensor:
    """Mean KL of the spliced model from the untouched one, position 0 left out.

    Both arguments are what the unembedding reads; logits are made a few rows at a time, and made
    again for the gradient.
    """

    def part_of(before: Tensor, after: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            wanted = before @ model.unembedding.T
            got = after @ model.unembedding.T
        wanted, got = F.log_softmax(wanted.float(), -1), F.log_softmax(got.float(), -1)
        return F.kl_div(got, wanted, reduction="sum", log_target=True)

    total = torch.zeros((), dtype=torch.float32)
    pairs = [states[:, 1:].flatten(0, 1).split(chunk) for states in (reference, spliced)]
    for before, after in zip(*pairs, strict=True):
        part = checkpoint(part_of, before, after, use_reentrant=False)
        assert isinstance(part, Tensor)
        total = total + part
    return total / spliced[:, 1:, 0].numel()


class JointTraining:
    """One run that writes its state to disk and goes on from there.

    Args:
        together: else nothing is spliced, and the price of divergence does not count.
        scales: of the stream at each site; 1 if None.
    """

    def __init__(
        self,
        model: Model,
        saes: dict[str, SAE],
        recipe: JointRecipe,
        folder: Path,
        *,
        together: bool = True,
        scales: dict[str, float] | None = None,
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.model = model.requires_grad_(False)
        self.saes = saes
        self.recipe = recipe
        self.folder = folder
        self.together = together
        scales = scales or dict.fromkeys(saes, 1.0)
        self.tuned = nn.ModuleList(
            TunedDictionary(sae, recipe.active_first, scales[site]) for site, sae in saes.items()
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

    def _losses(self, ids: Tensor) -> Iterator[tuple[float, Tensor]]:
        """The parts of the loss with their prices.

        What each dictionary loses is counted on the untouched stream, where graphs are; the one
        that runs on reconstructions is asked for the divergence only.
        """
        prices = self.recipe.prices
        members = dict(zip(self.saes, self._members(), strict=True))
        generator = torch.Generator().manual_seed(self.recipe.seed + self.step)
        reference = self._reference(ids, generator)
        for site, member in members.items():
            gradient = reference.gradients.get(site)
            member.lose(
                reference.streams[site][:, 1:], None if gradient is None else gradient[:, 1:]
            )
        if prices.change > 0:
            other, is_same = twins(ids, reference.drawn, generator)
            _, streams = self._untouched(other)
            is_same[:, 0] = False
            for site, member in members.items():
                member.lose_change(
                    reference.streams[site], streams[site], reference.gradients[site], is_same
                )
        for member in members.values():
            for name, lost in member.lost.items():
                yield getattr(prices, name), lost
        if self.together:
            spliced = self.model.final(ids, low=True, tap=splice(members))
            self.kl = divergence(self.model, reference.final, spliced)
            yield prices.divergence, self.kl

    def _reference(self, ids: Tensor, generator: torch.Generator) -> Reference:
        if self.recipe.prices.needs_gradients:
            return drawn_gradients(self.model, ids, list(self.saes), generator)
        final, streams = self._untouched(ids)
        return Reference(final, streams, gradients={}, drawn=ids)

    @torch.no_grad()
    def _untouched(self, ids: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        streams: dict[str, Tensor] = {}
        return self.model.final(ids, low=True, tap=_keeping(streams, self.saes)), streams

    def _one_step(self, ids: Tensor) -> float:
        self.optimizer.param_groups[0]["lr"] = self.recipe.rate_at(self.step)
        settled = self.step >= (1 - self.recipe.settled_share) * self.recipe.steps
        for member in self._members():
            member.gate.follows = not settled
            member.gate.active = self.recipe.active_at(self.step)
        self.kl = torch.zeros(())
        torch.stack([price * part for price, part in self._losses(ids)]).sum().backward()
        for member in self._members():
            nn.utils.clip_grad_norm_(member.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        for member in self._members():
            member.normalise()
        self.step += 1
        after = self.recipe.revives_after
        if after is not None and self.step < _REVIVED_UNTIL * self.recipe.steps:
            self._revive(after)
        return self.kl.item()

    def _revive(self, silent: int) -> None:
        if self.step % silent:
            return
        generator = torch.Generator().manual_seed(self.step)
        for member in self._members():
            dead = member.revive(silent, generator)
            for name, axis in (("W_enc", 1), ("b_enc", 0), ("W_dec", 0)):
                state = self.optimizer.state[getattr(member, name)]
                for moment in ("exp_avg", "exp_avg_sq"):
                    state[moment].index_fill_(axis, dead, 0.0)

    def _report(self, kl: float, started: float) -> None:
        members = list(self._members())
        entry: dict[str, object] = {
            "step": self.step,
            "tokens": self.step * self.recipe.batch_rows * ROW,
            "seconds": round(time.monotonic() - started),
            "kl": round(kl, 4),
            **{
                name: [round(member.lost[name].item(), 4) for member in members]
                for name in members[0].lost
            },
            "l0": [round(member.gate.passed, 1) for member in members],
            "silent": [int((member.silent > _SILENT_STEPS).sum()) for member in members],
        }
        with (self.folder / "joint.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")
        print(json.dumps(entry), flush=True)

    def run(self, rows: Rows, until: Callable[[], bool] = lambda: False) -> dict[str, SAE] | None:
        """Tune to the end of the recipe; the autoencoders, or None if stopped before by `until`."""
        started = time.monotonic()
        recent: list[float] = []
        while self.step < self.recipe.steps:
            recent.append(self._one_step(rows.batch(self.step, self.recipe.batch_rows)))
            if self.step % self.recipe.report_every == 0 or self.step == self.recipe.steps:
                self._save()
                self._report(sum(recent) / len(recent), started)
                recent = []
                if self.step < self.recipe.steps and until():
                    return None
        for member, sae in zip(self._members(), self.saes.values(), strict=True):
            member.write_to(sae)
        return self.saes


def _keeping(streams: dict[str, Tensor], sites: dict[str, SAE]) -> Callable[[str, Tensor], Tensor]:
    def tap(site: str, activation: Tensor) -> Tensor:
        if site in sites:
            streams[site] = activation
        return activation

    return tap
