"""Write the figures of a finished folder as a page of tables.

python experiments/pretrain/report.py pretrained/stories pretrained/README.md
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

BARS = {
    "loss_recovered": 0.95,
    "mean_l0": 48.0,
    "dead_share": 0.10,
    "joint_gap": 0.25,
    "accuracy": 0.95,
    "kept": 0.80,
}
"""What was aimed at: for each stream dictionary alone, for all at once, and for constructions."""


def table(heads: list[str], lines: Iterable[list[str]]) -> str:
    """A table in Markdown, the first column to the left and figures to the right."""
    rows = [heads, ["---"] + ["---:"] * (len(heads) - 1), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def construction_table(manifest: dict[str, Any]) -> str:
    """How well the model does each construction and what the spliced dictionaries keep of it."""
    alone = manifest["language_model"]["constructions"]
    joint = manifest["joint"]["constructions"]
    heads = ["construction", "accuracy", "logit difference", "kept, all spliced", "accuracy then"]
    return table(
        heads,
        (
            [
                name,
                f"{alone[name]['accuracy']:.3f}",
                f"{alone[name]['logit_difference']:.2f}",
                f"{joint[name]['kept']:.2f}",
                f"{joint[name]['accuracy_spliced']:.3f}",
            ]
            for name in alone
        ),
    )


def dictionary_table(manifest: dict[str, Any]) -> str:
    """Sparsity and fidelity of every dictionary."""
    heads = ["dictionary", "features", "removed", "mean L0", "variance explained"]
    heads += ["loss recovered", "dead"]
    return table(
        heads,
        (
            [
                f"`{entry['path']}`",
                str(entry["d_sae"]),
                f"{removed_share(entry):.1%}",
                f"{entry['mean_l0']:.1f}",
                f"{entry['fraction_variance_explained']:.3f}",
                f"{entry['loss_recovered']:.3f}",
                f"{entry['dead_share']:.1%}",
            ]
            for entry in manifest["dictionaries"]
        ),
    )


def removed_share(entry: dict[str, Any]) -> float:
    """The share of the trained features that were removed because nothing activated them."""
    return 1 - entry["d_sae"] / entry["trained_features"]


def norm_table(manifest: dict[str, Any]) -> str:
    """How large the stream is and what each part writes into it."""
    norms = manifest["language_model"]["residual_norms"]
    return table(["site", "mean norm"], ([f"`{site}`", f"{norms[site]:.1f}"] for site in norms))


def shortfalls(manifest: dict[str, Any]) -> list[str]:
    """Every bar that was missed, in words."""
    missed = []
    for entry in manifest["dictionaries"]:
        name = f"`{entry['path']}`"
        if entry["loss_recovered"] < BARS["loss_recovered"]:
            missed.append(f"{name}: loss recovered {entry['loss_recovered']:.3f}, below 0.95")
        if entry["mean_l0"] > BARS["mean_l0"]:
            missed.append(f"{name}: mean L0 {entry['mean_l0']:.1f}, above 48")
        # Removal takes dead features away; it does not make the training any better.
        if (dead := removed_share(entry) + entry["dead_share"]) > BARS["dead_share"]:
            missed.append(f"{name}: {dead:.0%} of the trained features dead, above 10%")
    joint = manifest["joint"]
    gap = joint["loss_all_spliced"] - joint["loss_unspliced"]
    if gap > BARS["joint_gap"]:
        missed.append(f"all four spliced: loss {gap:.3f} above the untouched model, not 0.25")
    for name, figures in manifest["language_model"]["constructions"].items():
        if figures["accuracy"] < BARS["accuracy"]:
            missed.append(f"{name}: the model is right in {figures['accuracy']:.1%}, below 95%")
        if (kept := joint["constructions"][name]["kept"]) < BARS["kept"]:
            missed.append(f"{name}: {kept:.2f} of the logit difference kept, below 0.80")
    return missed


def page(manifest: dict[str, Any]) -> str:
    """The whole page."""
    model, joint = manifest["language_model"], manifest["joint"]
    shape = manifest["architecture"]
    trained = manifest["dictionaries"][0]["trained_features"]
    positions = manifest["dictionaries"][0]["measured_positions"]
    gap = joint["loss_all_spliced"] - joint["loss_unspliced"]
    missed = "\n".join(f"- {line}" for line in shortfalls(manifest)) or "Nothing."
    return f"""# The shipped model and its dictionaries

`stories/` holds a small language model of children's stories with sparse dictionaries for every
layer: `model/` loads with transformers, `saes/` and `transcoders/` with sae_lens, all without a
network. `stories/manifest.json` has every figure below and a SHA-256 of every file.

`stories-effects/` has the same model with dictionaries of the stream that more of an effect passes
through ([docs/objective.md](../docs/objective.md)). [induction.md](induction.md) is about another
model, `induction/`.

saecircuits finds all of them beside its checkout. An installation without one gets them as a
package of their own, `saecircuits-models`: `pip install ./pretrained` in a checkout.

- **Licence of the weights:** {manifest["licence"]}. Trained on {manifest["training_text"]}.
- **Model:** {shape["family"]}, {shape["layers"]} layers, width {shape["width"]}, {shape["heads"]}
  heads, MLP {shape["hidden"]}, context {shape["context"]}, vocabulary {shape["vocabulary"]},
  activation {shape["activation"]}, {shape["embeddings"]} embeddings.
- **Training:** {manifest["tokens_seen"]:,} tokens, {manifest["generated_share"]:.0%} of them
  generated passages, the rest stories, each seen several times. Made by
  `{manifest["command"]}`.
- **Measured on:** {manifest["measured_on"]}.
- **Loss:** {model["held_out_loss"]:.3f} on held-out stories, {model["seen_stories_loss"]:.3f} on
  stories trained on.

## What the model can do, and what its dictionaries keep

Right answer against wrong answer on fresh prompts. "Kept" is the share of the mean logit difference
that is left when all four residual-stream dictionaries stand in for the stream at once and their
errors are dropped; above 1, the spliced model is surer of the right answer than the model itself.

{construction_table(manifest)}

All four spliced at once: loss {joint["loss_all_spliced"]:.3f} against {joint["loss_unspliced"]:.3f}
({gap:+.3f}), divergence from the untouched model {joint["kl"]:.3f}.

## The dictionaries

Loss recovered is against zero ablation of the site, each dictionary alone. Every dictionary was
trained with {trained:,} features; those that no position of a stretch of training text activated
were removed afterwards, which changes nothing else ("removed"). Dead means never active at
{positions:,} held-out positions, of those that were left.

{dictionary_table(manifest)}

## The residual stream

{norm_table(manifest)}

## What fell short

The bars: the model right in 95% of the prompts of every construction; every dictionary alone
recovers 0.95 of the loss at a mean L0 of at most 48 with under 10% dead features; all four within
0.25 of the loss; 0.80 of each logit difference kept.

{missed}
"""


def write(page_of: Callable[[dict[str, Any]], str]) -> None:
    """Run a command that writes the page of a folder."""

    def main(
        folder: Annotated[Path, typer.Argument(help="A folder with a manifest.json.")],
        target: Annotated[Path, typer.Argument(help="The page to write.")],
    ) -> None:
        """Write the page."""
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        target.write_text(page_of(manifest), encoding="utf-8")

    typer.run(main)


if __name__ == "__main__":
    write(page)
