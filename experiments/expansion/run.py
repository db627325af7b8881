"""How fast does the naive sum diverge, and how much of the logits lives at each degree?

Over prompts of every shipped task: errors of the naive and of the exact expansion by degree, what
each degree gives to the logit of the most likely next token (less the mean over the vocabulary),
and what the tangent operator leaves out of the change from the corrupted prompt.

    python -m experiments.expansion.run --out results
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

import saecircuits as sc
from experiments.charts import bars, lines
from experiments.tables import write_table

OPERATORS = ("secant", "frozen")
GATES = {"secant": "secant gates", "frozen": "tangent gates"}


def measure(
    model: sc.SplicedModel, prompts: Sequence[tuple[list[int], list[int]]], *, operator: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Degree by degree of every prompt; and the sources of every remainder."""
    degrees, remainders = [], []
    for number, (clean, corrupted) in enumerate(prompts):
        expansion = sc.expand(model, clean, operator=operator, corrupted=corrupted)
        logits = expansion.logits()
        top = int(logits.value.argmax())
        gives = (logits.terms[:, top] - logits.terms.mean(1)).tolist()
        rows = zip(expansion.paths, expansion.naive_error, expansion.error, gives, strict=True)
        for degree, (paths, naive, exact, top_logit) in enumerate(rows):
            degrees.append((number, degree, paths, naive, exact, top_logit))
        left = expansion.remainder
        table = left.table.assign(share_of_metric=left.table["metric_shapley"].abs())
        table["share_of_metric"] /= abs(left.metric_change)
        remainders.append(table)
    names = ["prompt", "degree", "paths", "naive", "exact", "top_logit"]
    return pd.DataFrame(degrees, columns=names), pd.concat(remainders)


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """A row per degree: medians of errors, and means of what goes to the likeliest token."""
    sizes = found["top_logit"].abs()
    found = found.assign(part=sizes / sizes.groupby(found["prompt"]).transform("sum"))
    by_degree = found.groupby("degree")
    return pd.DataFrame(
        {
            "degree": by_degree["degree"].first().astype(str),
            "paths": by_degree["paths"].first().astype(str),
            "naive error": by_degree["naive"].median(),
            "exact error": by_degree["exact"].median(),
            "top logit": by_degree["top_logit"].mean(),
            "share of absolute logit": by_degree["part"].mean(),
        }
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes tables as CSV and Markdown, and two plots as SVG."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="stories")
    parser.add_argument("--tasks", nargs="*", default=list(sc.task_names("stories")))
    parser.add_argument("--limit", type=int, default=4, help="prompts of each task")
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_args(arguments)
    model = sc.load_model(options.model)
    prompts = []
    for name in options.tasks:
        half = sc.load_task(name, model, limit=options.limit).train
        sides = (
            (half.clean_tokens, half.clean_lengths),
            (half.corrupted_tokens, half.corrupted_lengths),
        )
        both = [
            [row[:length].tolist() for row, length in zip(*side, strict=True)] for side in sides
        ]
        prompts += [pair for pair in zip(*both, strict=True) if len(pair[0]) == len(pair[1])]
    tables = {}
    for operator in OPERATORS:
        degrees, remainders = measure(model, prompts, operator=operator)
        tables[operator] = summary(degrees)
        write_table(tables[operator], options.out, name=f"degrees_{operator}")
    left = remainders.groupby("source", sort=False).median().reset_index()
    write_table(left, options.out, name="remainder")
    _plot(tables, options.out, n_prompts=len(prompts))


def _plot(tables: dict[str, pd.DataFrame], folder: Path, *, n_prompts: int) -> None:
    """Errors by degree; and shares of the logit by degree. What is zero but for rounding is out."""
    naive = next(iter(tables.values()))["naive error"]
    errors = {"naive sum": naive} | {
        f"exact, {GATES[name]}": table["exact error"].where(table["exact error"] > 1e-4)
        for name, table in tables.items()
    }
    drawn = {
        "naive": lines(
            [float(degree) for degree in range(len(naive))],
            {name: list(values) for name, values in errors.items()},
            title="The naive sum diverges",
            note=f"|T - sum up to degree| / |T - x|, median over {n_prompts} prompts",
            below="degree: components passed",
            is_log=True,
        ),
        "logits": bars(
            [str(degree) for degree in range(len(naive))],
            {GATES[name]: list(table["share of absolute logit"]) for name, table in tables.items()},
            title="Where the likeliest token's logit lives",
            note=f"share of the sum of absolute values, mean over {n_prompts} prompts",
            below="degree: components passed",
        ),
    }
    for name, plot in drawn.items():
        (folder / f"expansion_{name}.svg").write_text(plot, encoding="utf-8")


if __name__ == "__main__":
    main()
