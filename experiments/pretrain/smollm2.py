"""Dictionaries for SmolLM2-135M, in stages that go on where they were stopped.

    python experiments/pretrain/smollm2.py --model DIR --corpus DIR --work DIR --out DIR

1. text: what the model writes itself, once;
2. start: every dictionary on the untouched stream;
3. together: all of them as one set (`joint.py`);
4. the folder that is shipped, with its figures on held-out text (`public_folder.py`).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from activations import collect
from dictionaries import Origin, site_metadata
from joint import JointRecipe, JointTraining, Prices
from manifest import sae_folder
from numpy.typing import NDArray
from public_folder import write_folder
from public_model import PublicModel, tokenizer_of
from public_text import PublicRows, docstrings, own_rows
from rows import Texts
from sae_lens import SAE, JumpReLUSAE, JumpReLUSAEConfig
from tokenizer import stories_of
from transformers import PreTrainedTokenizerBase

BOS = 1  # <|im_start|>
ORIGIN = Origin(
    model="smollm2",
    text="TinyStories, passages, docstrings and the model's own text",
)
DESCRIPTION = "dictionaries of SmolLM2-135M-Instruct's stream, tuned together"
COMMAND = "python experiments/pretrain/smollm2.py --model DIR --corpus DIR --work DIR --out DIR"
_OWN_AT_ONCE = 64
_LARGE = 4.0  # times the median
_NOTHING = 1e-3  # what is left of a direction
START_SEED, TOGETHER_SEED, OWN_SEED, HELD_OUT_SEED = 501, 502, 503, 504


START: Final = JointRecipe(
    tokens=400_000,
    active_first=64,
    active=48,
    rate=1e-3,
    prices=Prices(divergence=0, variance=1),
    revives_after=50,
    seed=31,
    report_every=20,
)
TOGETHER: Final = JointRecipe(
    tokens=250_000,
    active_first=48,
    active=40,
    rate=4e-4,
    prices=Prices(divergence=1, variance=1, effect=0.5, change=0.2),
    revives_after=20,
    seed=32,
    report_every=10,
)


@dataclass(frozen=True)
class Recipe:
    """Sizes of all stages."""

    layers: tuple[int, ...] = (2, 7, 12, 17, 22, 27)
    features: int = 2560
    own: int = 960
    held_out_rows: int = 128
    start: JointRecipe = START
    together: JointRecipe = TOGETHER


class Training:
    """One run of all stages."""

    def __init__(self, model: Path, corpus: Path, work: Path, recipe: Recipe) -> None:
        self.folder = model
        self.corpus = corpus
        self.work = work
        self.recipe = recipe
        self.sites = [f"blocks.{layer}.hook_resid_post" for layer in recipe.layers]
        work.mkdir(parents=True, exist_ok=True)

    @cached_property
    def model(self) -> PublicModel:
        """The model, in bfloat16."""
        return PublicModel(self.folder)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer."""
        return tokenizer_of(self.folder)

    def own_text(self) -> NDArray[np.int64]:
        """What the model wrote itself, row by row, made once, in batches that are kept."""
        folder = self.work / "own"
        folder.mkdir(exist_ok=True)
        parts = []
        for number in range(-(-self.recipe.own // _OWN_AT_ONCE)):
            path = folder / f"{number}.npy"
            if not path.exists():
                started = time.monotonic()
                np.save(
                    folder / "partial.npy",
                    own_rows(self.model, _OWN_AT_ONCE, OWN_SEED + number, BOS),
                )
                (folder / "partial.npy").replace(path)
                print(f"own text {number}: {time.monotonic() - started:.0f} s", flush=True)
            parts.append(np.load(path))
        return np.concatenate(parts)

    def rows(self, seed: int, *, held_out: bool = False) -> PublicRows:
        """Training text, or text of the same kinds that is not trained on."""
        own = self.own_text()
        # The last batch of what the model wrote, and the last of the docstrings, are held out.
        own = own[-_OWN_AT_ONCE:] if held_out else own[:-_OWN_AT_ONCE]
        texts = list(docstrings())
        last = len(texts) - len(texts) // 10
        texts = texts[last:] if held_out else texts[:last]
        stories = stories_of(self.corpus / ("corpus_valid.txt" if held_out else "corpus.txt"))
        return PublicRows(
            self.tokenizer,
            {
                "stories": Texts(self.tokenizer, stories, BOS).rows,
                "docstrings": Texts(self.tokenizer, texts, BOS).rows,
                "own": lambda count, rng: own[rng.integers(0, len(own), count)],
            },
            seed=seed,
            bos=BOS,
        )

    def scales(self, rows: PublicRows) -> dict[str, float]:
        """The median norm of the stream at every site over the root of its width."""
        found = collect(self.model, rows.batch(0, 16), self.sites)
        return {
            site: float(x.float().norm(dim=-1).median()) / self.model.shape.width**0.5
            for site, x in found.items()
        }

    def new(self, site: str, points: torch.Tensor) -> SAE:
        """A dictionary whose features point at centred activations.

        Activations point in much the same direction, so features that point at them would all be on
        together and overshoot: the encoder is scaled until the reconstruction has the right size.
        A few tokens are many times larger than all others, all in one direction: that is the first
        feature's, and no other feature points there.
        """
        sae = JumpReLUSAE(
            JumpReLUSAEConfig(
                d_in=points.shape[1],
                d_sae=self.recipe.features,
                metadata=site_metadata(site, origin=ORIGIN),
            )
        )
        centre = points.median(dim=0).values
        chosen = points[torch.randperm(len(points))[: self.recipe.features]] - centre
        rows = chosen / chosen.norm(dim=1, keepdim=True)
        sizes = (points - centre).norm(dim=1)
        is_large = sizes > _LARGE * sizes.median()
        if bool(is_large.any()):
            along = points[is_large].mean(0) - centre
            along = along / along.norm()
            rows = rows - (rows @ along)[:, None] * along
            lengths = rows.norm(dim=1, keepdim=True)
            rows = torch.where(lengths > _NOTHING, rows / lengths, along)
            rows[0] = along
        some = points[:512] - centre
        values = some @ rows.T
        kept = round(self.recipe.start.active_first * len(some))
        least = values.flatten().topk(kept, sorted=False).values.min()
        written = torch.where(values > least, values, 0) @ rows
        # But the first: its direction is its own.
        size = ((written * some).sum(1) / written.square().sum(1).clamp(min=1e-9)).median()
        sae.W_dec.data, sae.W_enc.data = rows, (size * rows.T).contiguous()
        if bool(is_large.any()):
            sae.W_enc.data[:, 0] = rows[0]
        sae.b_dec.data = centre.clone()
        return sae

    def run(self, until: Callable[[], bool], out: Path) -> None:
        """Run every stage, or stop where `until` says so; the shipped folder comes last."""
        rows = self.rows(START_SEED)
        scales = self.scales(rows)
        torch.manual_seed(START_SEED)
        points = collect(self.model, rows.batch(1, 32), self.sites)
        saes = {site: self.new(site, x.float()) for site, x in points.items()}
        start = JointTraining(
            self.model,
            saes,
            self.recipe.start,
            self.work / "start",
            together=False,
            scales=scales,
        )
        found = start.run(rows, until)
        if found is None:
            return
        together = JointTraining(
            self.model, found, self.recipe.together, self.work / "together", scales=scales
        )
        found = together.run(self.rows(TOGETHER_SEED), until)
        if found is None:
            return
        for site, sae in found.items():
            sae.save_model(sae_folder(self.work, site))
        write_folder(
            self.model,
            self.work,
            out,
            self.rows(HELD_OUT_SEED, held_out=True).batch(0, self.recipe.held_out_rows),
            (self.recipe.start, self.recipe.together),
            name="smollm2",
            description=DESCRIPTION,
            packaged="smollm2",
            command=COMMAND,
        )


def main() -> None:
    """Go on with the training, for so many minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("model", "corpus", "work", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=100)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    end = time.monotonic() + 60 * options.minutes
    training = Training(options.model, options.corpus, options.work, Recipe())
    training.run(partial(_is_over, end), options.out)


def _is_over(end: float) -> bool:
    return time.monotonic() > end


if __name__ == "__main__":
    main()
