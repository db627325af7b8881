"""What the shipped dictionaries lose, site by site, as the joint training counts it (`joint.py`).

python experiments/pretrain/lost.py --corpus DIR --models stories stories-effects
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from activations import collect_with
from architecture import LanguageModel, Shape, from_transformers
from dictionaries import load_dictionary
from effects import drawn_gradients, twins
from joint import TunedDictionary
from manifest import layer_sites, sae_folder
from rows import MixedRows, Texts
from tokenizer import stories_of
from torch import Tensor
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

SHIPPED = Path(__file__).resolve().parents[2] / "pretrained"
SEED = 303
BATCH_ROWS = 64


@torch.no_grad()
def lost(
    model: LanguageModel, members: dict[str, TunedDictionary], rows: MixedRows, batches: int
) -> dict[str, dict[str, float]]:
    """Site to part of the loss to its mean over batches of text; nothing is tuned."""
    totals: dict[str, dict[str, float]] = {site: {} for site in members}
    generator = torch.Generator().manual_seed(SEED)
    for step in range(batches):
        ids = rows.batch(step, BATCH_ROWS)
        reference = drawn_gradients(model, ids, list(members), generator)
        other, is_same = twins(ids, reference.drawn, generator)
        streams: dict[str, Tensor] = {}
        is_same[:, 0] = False
        model.final(other, tap=collect_with(streams, list(members)))
        for site, member in members.items():
            member.lose(reference.streams[site][:, 1:], reference.gradients[site][:, 1:])
            member.lose_change(
                reference.streams[site], streams[site], reference.gradients[site], is_same
            )
            for name, value in member.lost.items():
                totals[site][name] = totals[site].get(name, 0.0) + value.item() / batches
    return totals


def main() -> None:
    """Print a line for every model and site."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=["stories", "stories-effects"])
    parser.add_argument("--batches", type=int, default=8)
    options = parser.parse_args()
    texts = stories_of(options.corpus / "corpus_valid.txt")
    for name in options.models:
        folder = SHIPPED / name
        model = LanguageModel(Shape())
        from_transformers(GPT2LMHeadModel.from_pretrained(folder / "model"), model)
        model.eval().requires_grad_(False)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "model")
        rows = MixedRows(tokenizer, Texts(tokenizer, texts), SEED)
        members = {}
        for site in layer_sites("hook_resid_post", model.shape.layers):
            members[site] = TunedDictionary(load_dictionary(sae_folder(folder, site)), active=16)
            members[site].gate.follows = False
        for site, parts in lost(model, members, rows, options.batches).items():
            figures = (f"{part} {value:.3f}" for part, value in parts.items())
            print(name, site, *figures, flush=True)


if __name__ == "__main__":
    main()
