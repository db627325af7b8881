"""Does the search for a smaller circuit depend on where it begins?

For every task and the same wanted faithfulness: the smallest prefix of all nodes by |effect|, by
learned masks, and in a random order; then exchange (`saecircuits.circuits.exchange`) from each.
Starts that end at one size, from circuits that have little in common, say that the size is the
task's and not the start's.

    python -m experiments.selection.starts --out results
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

import saecircuits as sc
from experiments.tables import write_table
from saecircuits.circuits.exchange import exchanged
from saecircuits.circuits.masks import rank_by_masks
from saecircuits.circuits.selection import smallest_prefix
from saecircuits.circuits.soft_ablation import Marginals


def searched(graph: sc.AttributionGraph, wanted: float) -> dict[str, tuple[list[str], list[str]]]:
    """The circuit of every start before and after the search; without those that reach nothing."""
    table, measured = graph.nodes, graph.checked(None)
    nodes = table[table["kind"].isin(["feature", "error"])]["node"].tolist()
    adds = Marginals(measured, nodes).of
    orders = {
        "effect": nodes,
        "masks": rank_by_masks(measured, nodes, wanted),
        "random": list(np.random.default_rng(0).permutation(nodes)),
    }
    found = {}
    for name, order in orders.items():
        count = smallest_prefix(order, wanted, measured.faithfulness)
        if count is not None:
            start = order[:count]
            ended = exchanged(start, wanted, adds=adds, measure=measured.faithfulness)
            found[name] = (start, ended)
    return found


def row(task: str, found: Mapping[str, tuple[Sequence[str], Sequence[str]]]) -> dict[str, object]:
    """Sizes before and after, and what all starts have in common before and after."""
    sizes = {
        f"{name}, {when}": len(circuits[place])
        for name, circuits in found.items()
        for place, when in enumerate(("start", "end"))
    }
    shared = {
        f"shared, {when}": len(set.intersection(*(set(pair[place]) for pair in found.values())))
        for place, when in enumerate(("start", "end"))
    }
    return {"task": task, **sizes, **shared}


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes `selection_starts`, CSV and Markdown, task by task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="stories")
    parser.add_argument("--tasks", nargs="*", default=list(sc.task_names("stories")))
    parser.add_argument("--limit", type=int, default=None, help="prompt pairs")
    parser.add_argument("--faithfulness", type=float, default=0.82)
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_args(arguments)
    model, rows = sc.load_model(options.model), []
    for name in options.tasks:
        task = sc.load_task(name, model, limit=options.limit)
        graph = sc.attribute(model, task.train, max_nodes=None, max_edges=1, parts=False)
        rows.append(row(name, searched(graph, options.faithfulness)))
        write_table(pd.DataFrame(rows), options.out, name="selection_starts")


if __name__ == "__main__":
    main()
