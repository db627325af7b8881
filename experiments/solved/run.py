"""How often a model is right on the shipped tasks.

    python -m experiments.solved.run --model smollm2 --out results

A task is done by a model that prefers the right answer in 90% of the pairs of each half. No
dictionaries are needed: the model itself is asked.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd
import torch

import saecircuits as sc
from experiments.tables import write_table
from saecircuits.splicing.loading import model_folder, read_manifest
from saecircuits.splicing.packaged import PACKAGED, packaged_folder
from saecircuits.tasks import Prompts, Tokenizer, last_position_logits, logit_difference

BAR: Final = 0.9
_AT_ONCE: Final = 24


@dataclass(frozen=True)
class Plain:
    """A model of Hugging Face as `load_task` takes one."""

    model: Any
    tokenizer: Tokenizer
    n_ctx: int


def plain_model(name: str) -> Plain:
    """A model in a package, a shipped one, or a folder in Hugging Face's format."""
    import transformers

    if name in PACKAGED:
        folder = packaged_folder(PACKAGED[name])
    elif (Path(name) / "config.json").is_file():
        folder = Path(name)
    else:
        folder = model_folder(name) / read_manifest(name).get("model", "model")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return Plain(model.eval(), tokenizer, int(model.config.max_position_embeddings))


@torch.no_grad()
def differences(model: Any, prompts: Prompts) -> tuple[torch.Tensor, torch.Tensor]:
    """Logit differences on the clean and on the corrupted prompts, one a pair."""
    found: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    for start in range(0, len(prompts), _AT_ONCE):
        part = prompts.subset(range(start, min(start + _AT_ONCE, len(prompts))))
        sides = (
            (part.clean_tokens, part.clean_lengths),
            (part.corrupted_tokens, part.corrupted_lengths),
        )
        for values, (tokens, lengths) in zip(found, sides, strict=True):
            final = last_position_logits(model(tokens).logits, lengths)
            values.append(logit_difference(final, part))
    return torch.cat(found[0]), torch.cat(found[1])


def solved(plain: Plain, task: str, *, prepend: str | None, limit: int | None) -> dict[str, Any]:
    """A row of the table; no more than the reason where the tokenizer does not read the task."""
    try:
        loaded = sc.load_task(task, plain, limit=limit, prepend=prepend)
    except sc.SaecircuitsError as error:
        return {"task": task, "done": f"not read: {error}".partition(";")[0]}
    halves = [differences(plain.model, half) for half in (loaded.train, loaded.test)]
    right = [float((clean > 0).double().mean()) for clean, _ in halves]
    clean, corrupted = (torch.cat(sides).mean().item() for sides in zip(*halves, strict=True))
    return {
        "task": task,
        "in front": loaded.train.prepended.name,
        "pairs": len(loaded.train) + len(loaded.test),
        "right, train": right[0],
        "right, test": right[1],
        "logit difference": clean,
        "of the corrupted prompt": corrupted,
        "done": "yes" if min(right) >= BAR else "failed",
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes `solved`, CSV and Markdown, task by task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--tasks", nargs="*", default=list(sc.task_names()))
    parser.add_argument("--prepend", help="bos, none, or a token")
    parser.add_argument("--limit", type=int, default=None, help="prompt pairs in each half")
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_args(arguments)
    plain, rows = plain_model(options.model), []
    for task in options.tasks:
        rows.append(solved(plain, task, prepend=options.prepend, limit=options.limit))
        write_table(pd.DataFrame(rows), options.out, name="solved")


if __name__ == "__main__":
    main()
