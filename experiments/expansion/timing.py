"""What the polynomial pass costs against a forward pass of the model, in CPU seconds.

All four in the same process, the best of some repetitions:

    forward   the model's own forward pass over the prompt
    reading   the run read off as affine components: recorded passes, M and b of every component
    pass      the degree spectrum, all degrees at once
    ratio     the pass's seconds per degree over the forward pass's seconds

Models: the two shipped ones, and two of published shapes with random weights.

    python -m experiments.expansion.timing --out results
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

import saecircuits as sc
from experiments.bench.sizes import SIZES, load_random
from experiments.tables import write_table
from saecircuits.expansion import affine_run
from saecircuits.theory import degree_spectrum

SHAPES = tuple(SIZES)


def load(name: str) -> sc.SplicedModel:
    """A shipped model, or one of a published shape, whose dictionaries are kept small: unused."""
    if name not in SIZES:
        return sc.load_model(name)
    return load_random(replace(SIZES[name], d_sae=64, active=8)).model


def measure(model: sc.SplicedModel, n_tokens: int, by: str, repeat: int) -> dict[str, object]:
    """One row."""
    tokens = torch.arange(n_tokens) % 97
    run = affine_run(model, tokens, by=by)

    def forward() -> None:
        with torch.no_grad():
            model.forward(tokens[None])

    one = seconds(forward, repeat)
    reading = seconds(lambda: affine_run(model, tokens, by=by), repeat)
    whole = seconds(lambda: degree_spectrum(run.source, run.steps), repeat)
    degrees = len(run.steps) + 1
    return {
        "model": model.name,
        "by": by,
        "tokens": str(n_tokens),
        "components": str(len(run.names)),
        "degrees": str(degrees),
        "forward": one,
        "reading": reading,
        "pass": whole,
        "ratio": whole / degrees / one,
    }


@torch.no_grad()
def seconds(work: Callable[[], object], repeat: int) -> float:
    """CPU seconds of the quickest of some runs, after one that is not counted."""
    work()
    times = []
    for _ in range(repeat):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return min(times)


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes `timing.csv` and `timing.md`, row by row as they are measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=["stories", "induction", *SHAPES])
    parser.add_argument("--tokens", type=int, nargs="*", default=[10, 60])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = []
    for name in options.models:
        model = load(name)
        for n_tokens in options.tokens:
            for by in ("layer", "head"):
                rows.append({**measure(model, n_tokens, by, options.repeat), "model": name})
                write_table(pd.DataFrame(rows), options.out, name="timing")


if __name__ == "__main__":
    main()
