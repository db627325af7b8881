"""How linear is the model really? By layer, by component, features against neurons.

Taylor's first two orders against measured effects, and the metric on the straight line from the
corrupted to the clean stream, on every shipped task.

    python -m experiments.linearity.run --out results
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

import saecircuits as sc
from experiments.arguments import task_parser
from experiments.charts import bars, lines
from experiments.tables import write_table

FIGURES = ["pearson_1", "sign_1", "error_1", "pearson_2", "sign_2", "error_2"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes agreement by kind and layer, profiles and curves, task by task, then medians."""
    parser = task_parser(__doc__, limit=16)
    parser.add_argument("--nodes", type=int, default=60)
    parser.add_argument("--edges", type=int, default=30)
    parser.add_argument("--neurons", type=int, default=15, help="in every layer")
    options = parser.parse_args(arguments)
    model = sc.load_model(options.model)
    found: dict[str, list[pd.DataFrame]] = {"agreement": [], "profile": [], "curves": []}
    for name in options.tasks:
        task = sc.load_task(name, model, limit=options.limit)
        result = sc.linearity(
            model,
            task.test,
            n_nodes=options.nodes,
            n_edges=options.edges,
            n_neurons=options.neurons,
        )
        for table, parts in found.items():
            parts.append(getattr(result, table).assign(task=name))
            write_table(pd.concat(parts), options.out, name=f"linearity_{table}")
    agreement, profile, curves = (pd.concat(parts) for parts in found.values())
    by_kind = agreement.groupby(["kind", "layer"], sort=False)[FIGURES].median().reset_index()
    write_table(by_kind, options.out, name="linearity_medians")
    by_layer = profile.groupby("layer").median(numeric_only=True).reset_index()
    write_table(by_layer, options.out, name="linearity_profile_medians")
    whole = by_kind[by_kind["layer"] == "all"]
    _write(
        options.out / "linearity.svg",
        bars(
            list(whole["kind"]),
            {"order 1": list(whole["error_1"]), "order 2": list(whole["error_2"])},
            title="What Taylor's orders miss of single effects",
            note="sum of |measured - estimated| over sum of |measured|; medians over the tasks",
        ),
    )
    scaled = curves.assign(metric=curves.groupby(["task", "layer"])["metric"].transform(_scaled))
    at = scaled[scaled["layer"] == 0].groupby("share")["metric"]
    shown = {"lowest": at.min(), "median": at.median(), "highest": at.max()}
    shares = [float(share) for share in at.groups]
    _write(
        options.out / "linearity_curves.svg",
        lines(
            shares,
            {name: list(values) for name, values in shown.items()} | {"straight line": shares},
            title="The metric from corrupted to clean embeddings",
            note=f"0 at the corrupted and 1 at the clean end; over {len(options.tasks)} tasks",
            below="share of the way from the corrupted to the clean embeddings",
        ),
    )


def _scaled(metric: pd.Series) -> pd.Series:
    return (metric - metric.iloc[0]) / (metric.iloc[-1] - metric.iloc[0])


def _write(path: Path, drawing: str) -> None:
    path.write_text(drawing, encoding="utf-8")


if __name__ == "__main__":
    main()
