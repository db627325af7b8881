"""Do features need fewer nodes than what nobody trained? Every kind of node under one protocol.

python -m experiments.baselines.run --out results
"""

from collections.abc import Sequence
from typing import get_args

import pandas as pd

import saecircuits as sc
from experiments.arguments import task_parser
from experiments.charts import lines
from experiments.tables import write_table
from saecircuits.validation.baselines import Kind

SHOWN = (10, 50, 100, 200, 500)
KINDS = get_args(Kind)
DRAWN = ("features", "pca", "coordinates", "random", "neurons")


def measure(
    model: sc.SplicedModel, task: sc.Task, kinds: Sequence[Kind]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A row per kind of node, and all points of all curves."""
    found = sc.baselines(model, task, kinds=kinds)
    by_size = found.curve.set_index(["kind", "nodes"])
    rows = []
    for kind in found.kinds.itertuples():
        row = {"task": task.name, "kind": kind.kind, "candidates": kind.candidates}
        for size in SHOWN:
            # A kind with fewer nodes than that has all of them kept.
            at = by_size.loc[kind.kind]
            point = at.loc[at.index[at.index <= size].max()]
            row[f"{size} nodes"] = f"{point.faithfulness:.2f}"
            row[f"{size} interval"] = f"{point.low:.2f} to {point.high:.2f}"
        row["nodes for 0.8"] = kind.nodes_for_bar
        row["metric clean"], row["metric baseline"] = kind.metric_clean, kind.metric_baseline
        rows.append(row)
    return pd.DataFrame(rows), found.curve.assign(task=task.name)


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes `baselines.csv` and `.md`, `baselines_curves.csv`, and a plot of mean curves."""
    parser = task_parser(__doc__)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=KINDS)
    options = parser.parse_args(arguments)
    model = sc.load_model(options.model)
    tables, curves = [], []
    for name in options.tasks:
        task = sc.load_task(name, model, limit=options.limit)
        table, curve = measure(model, task, options.kinds)
        tables.append(table)
        curves.append(curve)
        write_table(pd.concat(tables), options.out, name="baselines")
    every = pd.concat(curves)
    every.to_csv(options.out / "baselines_curves.csv", index=False)
    (options.out / "baselines.svg").write_text(drawing(every), encoding="utf-8")


def drawing(curves: pd.DataFrame) -> str:
    """Mean faithfulness over tasks, against the number of nodes on a logarithmic axis."""
    kinds = [kind for kind in DRAWN if (curves["kind"] == kind).any()]
    sizes = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
    series = {}
    for kind in kinds:
        table = curves[curves["kind"] == kind].pivot(
            index="nodes", columns="task", values="faithfulness"
        )
        # A task with fewer nodes than that has all of them kept.
        filled = table.sort_index().ffill()
        series[kind] = [float(filled[filled.index <= size].iloc[-1].mean()) for size in sizes]
    return lines(
        sizes,
        series,
        title="Faithfulness over size, mean over tasks",
        note="node ablation on held-out prompts",
        below="nodes kept",
        is_log_across=True,
    )


if __name__ == "__main__":
    main()
