"""What does it cost to cross thresholds? CPU seconds of `attribute`, with gates held and crossed.

python -m experiments.thresholds.run --out results
"""

import time
from collections.abc import Sequence

import pandas as pd

import saecircuits as sc
from experiments.arguments import task_parser
from experiments.tables import write_table


def seconds(model: sc.SplicedModel, task: sc.Task, thresholds: str) -> float:
    """CPU seconds of one call, user and system."""
    before = time.process_time()
    sc.attribute(model, task.train, thresholds=thresholds)
    return time.process_time() - before


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes `thresholds.csv` and `thresholds.md`: the least of some calls, taken in turn."""
    parser = task_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(arguments)
    model = sc.load_model(options.model)
    rows = []
    for name in options.tasks:
        task = sc.load_task(name, model, limit=options.limit)
        taken = pd.DataFrame(
            [
                {way: seconds(model, task, way) for way in ("held", "crossed")}
                for _ in range(options.repeats)
            ]
        ).min()
        ratio = taken["crossed"] / taken["held"]
        rows.append({"task": name, **taken.to_dict(), "crossed / held": ratio})
        write_table(pd.DataFrame(rows), options.out, name="thresholds", digits=2)


if __name__ == "__main__":
    main()
