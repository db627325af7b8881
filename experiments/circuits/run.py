"""How large a circuit does each shipped task need, and how much of it is error nodes?

For every task: graph and circuit on the training half, ablation on the test half.

    python -m experiments.circuits.run --out results
"""

from collections.abc import Sequence

import pandas as pd

import saecircuits as sc
from experiments.arguments import task_parser
from experiments.tables import write_table

SIZES = (100, 200, 300)


def measure(model: sc.SplicedModel, task: sc.Task, *, wanted: float) -> dict[str, object]:
    """One row: faithfulness by size, and of the smallest circuit with the wanted faithfulness."""
    graph = sc.attribute(model, task.train, max_nodes=1)
    by_size = {size: sc.validate(model, sc.prune(graph, nodes=size), task.test) for size in SIZES}
    largest = by_size[SIZES[-1]]
    smallest = sc.prune(graph, faithfulness=wanted)
    report = sc.validate(model, smallest, task.test, n_random=0)
    return {
        "task": task.name,
        "accuracy": largest.accuracy["clean"],
        "logit difference": largest.metric_clean,
        **{f"{size} nodes": by_size[size].faithfulness for size in SIZES},
        "interval low": largest.faithfulness_low,
        "interval high": largest.faithfulness_high,
        "error nodes": largest.errors,
        "errors at baseline": largest.faithfulness_without_errors,
        "all features, errors at baseline": largest.all_features_without_errors,
        "error share": largest.error_share,
        "random median": largest.random["median"],
        f"nodes for {wanted} (train)": smallest.size,
        "its held-out faithfulness": report.faithfulness,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes `circuits.csv` and `circuits.md`, row by row as they are measured."""
    parser = task_parser(__doc__)
    parser.add_argument("--faithfulness", type=float, default=0.85)
    options = parser.parse_args(arguments)
    model = sc.load_model(options.model)
    rows = []
    for name in options.tasks:
        task = sc.load_task(name, model, limit=options.limit)
        rows.append(measure(model, task, wanted=options.faithfulness))
        write_table(pd.DataFrame(rows), options.out, name="circuits")


if __name__ == "__main__":
    main()
