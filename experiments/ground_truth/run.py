"""Are the edges found that a model is known to have?

For every model made by hand: its edges ranked by `attribute` against those that it was made with,
as AUROC and as the share of true edges among as many of the strongest; the faithfulness of the true
nodes by themselves; and, where there is a backup, whether the redundancy measure finds it.

    python -m experiments.ground_truth.run --out results
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

import saecircuits as sc
from experiments.ground_truth.counting import counting
from experiments.ground_truth.induction import induction
from experiments.ground_truth.known import KnownCircuit, edge_recovery
from experiments.ground_truth.two_hop import two_hop
from experiments.tables import write_table

MODELS: dict[str, Callable[..., KnownCircuit]] = {
    "induction": induction,
    "two hops": two_hop,
    "graded counting": lambda pairs: counting("graded", pairs=pairs),
    "hard counting": lambda pairs: counting("hard", pairs=pairs),
}
ESTIMATORS = ("gradient", "integrated_gradients", "intervention")


def edges_found(known: KnownCircuit, estimator: str) -> dict[str, object]:
    """One row: recovery of the edges that act, and of those and the backup's together."""
    graph = sc.attribute(known.model, known.task.train, estimator=estimator, max_nodes=None)
    found = edge_recovery(graph, known.edges)
    row = {
        "model": known.name,
        "estimator": estimator.replace("_", " "),
        "true edges": found.true,
        "possible edges": found.possible,
        "AUROC": found.auroc,
        "exact match": found.exact,
        "missed": found.missed,
        "backup edges": len(known.backup_edges),
        "backup edges missed": 0,
    }
    if known.backup_edges:
        row["backup edges missed"] = edge_recovery(graph, known.backup_edges).missed
    return row


def backups_found(known: KnownCircuit) -> pd.DataFrame:
    """Every pair of the possible backups with its redundancy, most negative first."""
    members = [node for pair in known.backups for node in pair]
    table = sc.interactions(known.model, known.task.test, members, rest="clean").redundancy
    pairs = {frozenset(pair) for pair in known.backups}
    table["is backup"] = [frozenset(pair) in pairs for pair in zip(table.a, table.b, strict=True)]
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes `ground_truth.csv` and `.md`, and the pairs of the backup as `backups.csv`, `.md`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--estimators", nargs="*", default=list(ESTIMATORS))
    parser.add_argument("--pairs", type=int, default=24, help="prompt pairs in each half")
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_args(arguments)
    rows = []
    for name in options.models:
        known = MODELS[name](pairs=options.pairs)
        for estimator in options.estimators:
            rows.append(edges_found(known, estimator))
            write_table(pd.DataFrame(rows), options.out, name="ground_truth")
        if known.backups:
            write_table(backups_found(known), options.out, name="backups")


if __name__ == "__main__":
    main()
