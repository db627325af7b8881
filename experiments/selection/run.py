"""How small is the smallest circuit with the wanted faithfulness, by each way to choose?

For every task: a graph of all nodes on the training half; by every method the smallest circuit with
`--faithfulness` there, with error nodes and without; judged by edge ablation on the test half.
A circuit whose held-out edge faithfulness falls short of `--held-out` is chosen again for more, in
steps of 0.03.

    python -m experiments.selection.run --out results
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pandas as pd

import saecircuits as sc
from experiments.tables import write_table
from saecircuits.circuits.selection import Method

METHODS = get_args(Method)


def smallest(
    model: sc.SplicedModel,
    task: sc.Task,
    graph: sc.AttributionGraph,
    choice: dict[str, Any],
    *,
    wanted: float,
    held_out: float,
) -> dict[str, object]:
    """One row: the smallest circuit of one method, and its figures on held-out prompts."""
    started, asked = time.process_time(), wanted
    row: dict[str, object] = {"task": task.name, **choice}
    while True:
        try:
            circuit = sc.prune(graph, faithfulness=asked, **choice)
        except sc.InputError:
            return {**row, "asked for": asked, "seconds": time.process_time() - started}
        report = sc.validate(model, circuit, task.test, n_random=0)
        by_edges = report.faithfulness_of("edges")
        assert by_edges is not None
        if by_edges >= held_out or asked + 0.03 > 1:
            break
        asked += 0.03
    return {
        **row,
        "asked for": asked,
        "seconds": time.process_time() - started,
        "nodes": circuit.size,
        "error nodes": circuit.n_errors,
        "edges": len(circuit.edges),
        "by nodes": report.faithfulness,
        "by edges": by_edges,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes `selection.csv` and `selection.md`, row by row as they are measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="stories")
    parser.add_argument("--tasks", nargs="*", default=list(sc.task_names()))
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--limit", type=int, default=None, help="prompt pairs in each half")
    parser.add_argument("--faithfulness", type=float, default=0.82, help="on the training half")
    parser.add_argument("--held-out", type=float, default=0.8, help="by edges, on the test half")
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_args(arguments)
    model, rows = sc.load_model(options.model), []
    for name in options.tasks:
        task = sc.load_task(name, model, limit=options.limit)
        graph = sc.attribute(model, task.train, max_nodes=None, max_edges=1_000_000, parts=False)
        for with_errors in (True, False):
            for method in options.methods:
                choice = {"method": method, "with_errors": with_errors}
                found = smallest(
                    model,
                    task,
                    graph,
                    choice,
                    wanted=options.faithfulness,
                    held_out=options.held_out,
                )
                rows.append(found)
                write_table(pd.DataFrame(rows), options.out, name="selection")


if __name__ == "__main__":
    main()
