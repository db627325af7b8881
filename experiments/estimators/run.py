"""Which estimator says what interventions say? Rank correlations on every shipped task.

For each task and each way to estimate, the effects of a stratified sample of nodes and edges are
measured by intervention. Nodes are compared with both kinds of intervention: one node by itself,
and its share (Shapley value) in the joint change of its site.

    python -m experiments.estimators.run --out results
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

import saecircuits as sc
from experiments.arguments import task_parser
from experiments.tables import write_table

WAYS: dict[str, dict[str, Any]] = {
    "gradient": {},
    "gradient, thresholds held": {"thresholds": "held"},
    "gradient, attention and norms held": {"linearization": "frozen"},
    "gradient, secant gates too": {"linearization": "secant"},
    "integrated gradients": {"estimator": "integrated_gradients"},
}


def measure(
    model: sc.SplicedModel,
    task: sc.Task,
    way: str,
    *,
    n_nodes: int,
    n_edges: int,
    joint_nodes: int,
) -> dict[str, object]:
    """One row: how well estimates follow what is measured, and how good the circuits are."""
    graph = sc.attribute(model, task.train, max_nodes=200, **WAYS[way])
    single = sc.calibrate(model, graph, task.train, n_nodes=n_nodes, n_edges=n_edges)
    joint = sc.calibrate(model, graph, task.train, n_nodes=joint_nodes, n_edges=1, against="joint")
    report = sc.validate(model, sc.prune(graph, nodes=200), task.test, n_random=0)
    row: dict[str, object] = {"task": task.name, "way": way}
    for what, found in (
        ("nodes", single["nodes"]),
        ("nodes jointly", joint["nodes"]),
        ("edges", single["edges"]),
    ):
        for figure in ("spearman", "spearman_low", "spearman_high", "pearson", "sign_agreement"):
            row[f"{what} {figure}"] = found[figure]
        row[f"{what} error"] = found["error"]
    row["warnings"] = " ".join(one["text"] for one in single["warnings"])
    row["faithfulness of 200 nodes"] = report.faithfulness
    return row


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes `estimators.csv` and `estimators.md`, row by row as they are measured."""
    parser = task_parser(__doc__, limit=32)
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--edges", type=int, default=100)
    parser.add_argument("--joint-nodes", type=int, default=24)
    options = parser.parse_args(arguments)
    model = sc.load_model(options.model)
    rows = []
    for name in options.tasks:
        task = sc.load_task(name, model, limit=options.limit)
        for way in options.ways:
            row = measure(
                model,
                task,
                way,
                n_nodes=options.nodes,
                n_edges=options.edges,
                joint_nodes=options.joint_nodes,
            )
            rows.append(row)
            write_table(pd.DataFrame(rows), options.out, name="estimators")


if __name__ == "__main__":
    main()
