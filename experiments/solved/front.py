"""What stands in front of every prompt, and what the model makes of it.

    python -m experiments.solved.front --model smollm2 --out results

Whatever stands first, many models have a stream there that is far longer than anywhere else: heads
that have nothing to do look at it. The table has how much longer, behind the middle block, and the
mean logit difference of some tasks.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd
import torch

import saecircuits as sc
from experiments.solved.run import Plain, differences, plain_model
from experiments.tables import write_table
from saecircuits.tasks import Prompts

_AT_ONCE: Final = 16


@torch.no_grad()
def first_norm(model: Any, prompts: Prompts) -> float:
    """The mean length of the stream at position 0 over its median at the others, behind the middle
    block, on the first prompts."""
    part = prompts.subset(range(min(_AT_ONCE, len(prompts))))
    streams = model(part.clean_tokens, output_hidden_states=True).hidden_states
    lengths = streams[len(streams) // 2].norm(dim=-1)
    is_text = torch.arange(lengths.shape[1])[None] < part.clean_lengths[:, None]
    is_text[:, 0] = False
    return float(lengths[:, 0].mean() / lengths[is_text].median())


def row(plain: Plain, prepend: str, tasks: Sequence[str], *, limit: int | None) -> dict[str, Any]:
    """A token in front, or none, with the mean logit difference of every task behind it."""
    found = {name: sc.load_task(name, plain, limit=limit, prepend=prepend).train for name in tasks}
    first = found[tasks[0]]
    means = {name: differences(plain.model, half)[0].mean().item() for name, half in found.items()}
    return {
        "in front": first.prepended.name,
        "stream at position 0 / elsewhere": first_norm(plain.model, first),
        **means,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes `front`, CSV and Markdown, token by token."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--tasks", nargs="+", default=["ioi", "indirect_object", "agreement"])
    parser.add_argument("--prepend", nargs="+", default=["bos", "none", "<|endoftext|>"])
    parser.add_argument("--limit", type=int, default=60, help="prompt pairs, of the first half")
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_args(arguments)
    plain, rows = plain_model(options.model), []
    for prepend in options.prepend:
        rows.append(row(plain, prepend, options.tasks, limit=options.limit))
        write_table(pd.DataFrame(rows), options.out, name="front", digits=2)


if __name__ == "__main__":
    main()
