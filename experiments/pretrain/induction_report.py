"""Write the figures of the attention-only model's folder as a page of tables.

python experiments/pretrain/induction_report.py pretrained/induction pretrained/induction.md
"""

from __future__ import annotations

import math
from typing import Any

from report import BARS, dictionary_table, norm_table, removed_share, write


def shortfalls(manifest: dict[str, Any]) -> list[str]:
    """Every bar that a dictionary missed, in words."""
    missed = []
    for entry in manifest["dictionaries"]:
        name = f"`{entry['path']}`"
        if entry["loss_recovered"] < BARS["loss_recovered"]:
            missed.append(f"{name}: loss recovered {entry['loss_recovered']:.3f}, below 0.95")
        if (dead := removed_share(entry) + entry["dead_share"]) > BARS["dead_share"]:
            missed.append(f"{name}: {dead:.0%} of the trained features dead, above 10%")
    joint = manifest["joint"]
    gap = joint["loss_all_spliced"] - joint["loss_unspliced"]
    if gap > BARS["joint_gap"]:
        missed.append(f"all spliced: loss {gap:.3f} above the untouched model, not 0.25")
    return missed


def page(manifest: dict[str, Any]) -> str:
    """The whole page."""
    shape, joint = manifest["architecture"], manifest["joint"]
    losses = manifest["language_model"]["losses"]
    gap = joint["loss_all_spliced"] - joint["loss_unspliced"]
    missed = "\n".join(f"- {line}" for line in shortfalls(manifest)) or "Nothing."
    least = math.log(shape["vocabulary"] - 1)
    return f"""# The attention-only model and its dictionaries

`induction/` holds a two-layer attention-only model with induction heads and sparse dictionaries of
its stream. Its text is a made-up language; `induction/language.json` has all of its rules: which
words may follow each word, and which word follows a trigger once a topic was named.
`induction/manifest.json` has every figure below and a SHA-256 of every file.
[docs/attention.md](../docs/attention.md) shows what its heads do.

- **Licence of the weights:** {manifest["licence"]}. No text of others was used.
- **Model:** {shape["family"]}, {shape["layers"]} layers, width {shape["width"]}, {shape["heads"]}
  heads, context {shape["context"]}, vocabulary {shape["vocabulary"]} words, embeddings
  {shape["embeddings"]}. It is {shape["mlps"]}.
- **Training:** {manifest["tokens_seen"]:,} tokens, half of them sentences, half repetitions of
  random words. Made by `{manifest["command"]}`.
- **Measured on:** {manifest["measured_on"]}.

| rows | loss | least possible |
| --- | ---: | ---: |
| sentences | {losses["sentences"]:.3f} | {losses["sentences_least"]:.3f} |
| 31 random words, the first time | {losses["first_time"]:.3f} | {least:.3f} |
| the same, the second time | {losses["second_time"]:.3f} | 0.000 |

## The dictionaries

BatchTopK autoencoders of sae_lens, saved as JumpReLU; features that nothing activated were removed.
Loss recovered is against zero ablation of the site, each dictionary alone.

{dictionary_table(manifest)}

The three of the residual stream spliced at once, errors dropped: loss
{joint["loss_all_spliced"]:.3f} against {joint["loss_unspliced"]:.3f} ({gap:+.3f}), divergence from
the untouched model {joint["kl"]:.3f}.

{norm_table(manifest)}

## What fell short

The bars: every dictionary alone recovers 0.95 of the loss with under 10% dead features; all at once
within 0.25 of the loss.

{missed}
"""


if __name__ == "__main__":
    write(page)
