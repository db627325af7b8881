"""How small is the smallest circuit with the wanted faithfulness, by each way to choose?

For every task: a graph of all nodes on the training half; by every method the smallest circuit with
`--faithfulness` there, with error nodes and without; judged by edge ablation on the test half.
A circuit whose held-out edge faithfulness falls short of `--held-out` is chosen again for more, in
steps of 0.03. Rows that the folder has already are kept and not measured again.

    python -m experiments.selection.run --out results
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pandas as pd

import saecircuits as sc
from experiments.arguments import task_parser
from experiments.tables import write_table
from saecircuits.circuits.selection import Method

METHODS = get_args(Method)
_KEYS = ["task", "with_errors", "method"]


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


def shares(table: pd.DataFrame) -> pd.DataFrame:
    """Nodes of every method's circuit as a share of those that effects need.

    Returns:
        A row for every task with error nodes and without, and a column for every other method;
        NaN where either has no circuit.
    """
    nodes = table.pivot(index=_KEYS[:2], columns="method", values="nodes")
    order = table[_KEYS[:2]].drop_duplicates()
    found = nodes.div(nodes["effect"], axis=0).drop(columns="effect")
    others = [method for method in METHODS if method in found.columns]
    return found.loc[pd.MultiIndex.from_frame(order), others].reset_index()


def _table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    ranks = {
        "task": {name: rank for rank, name in enumerate(sc.task_names())},
        "with_errors": {True: 0, False: 1},
        "method": {name: rank for rank, name in enumerate(METHODS)},
    }
    table = pd.DataFrame(rows)
    whole = [name for name in ("seconds", "nodes", "error nodes", "edges") if name in table]
    table[whole] = table[whole].astype(float).round().astype("Int64")
    return table.sort_values(_KEYS, key=lambda column: column.map(ranks[str(column.name)]))


def _write(rows: Sequence[dict[str, Any]], folder: Path) -> None:
    table = _table(rows)
    write_table(table, folder, name="selection", digits=2)
    if "nodes" in table and "effect" in set(table["method"]):
        write_table(shares(table), folder, name="selection_shares", digits=2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes `selection` and `selection_shares`, CSV and Markdown, row by row as measured."""
    parser = task_parser(__doc__)
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--faithfulness", type=float, default=0.82, help="on the training half")
    parser.add_argument("--held-out", type=float, default=0.8, help="by edges, on the test half")
    options = parser.parse_args(arguments)
    model, known = sc.load_model(options.model), options.out / "selection.csv"
    rows: list[dict[str, Any]] = []
    if known.exists():
        rows.extend(pd.read_csv(known).to_dict("records"))  # pyright: ignore[reportArgumentType]
    for name in options.tasks:
        choices = [
            {"method": method, "with_errors": with_errors}
            for with_errors in (True, False)
            for method in options.methods
        ]
        missing = [choice for choice in choices if not _has(rows, {"task": name, **choice})]
        if not missing:
            continue
        task = sc.load_task(name, model, limit=options.limit)
        graph = sc.attribute(model, task.train, max_nodes=None, max_edges=1_000_000, parts=False)
        for choice in missing:
            wanted, held_out = options.faithfulness, options.held_out
            rows.append(smallest(model, task, graph, choice, wanted=wanted, held_out=held_out))
            _write(rows, options.out)
    _write(rows, options.out)


def _has(rows: Sequence[dict[str, Any]], choice: dict[str, object]) -> bool:
    return any(all(row[key] == choice[key] for key in _KEYS) for row in rows)


if __name__ == "__main__":
    main()
