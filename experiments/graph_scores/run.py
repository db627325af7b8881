"""How much goes by features, and how much by error nodes? Every shipped task's scores.

python -m experiments.graph_scores.run --out results
"""

import time
from collections.abc import Sequence

import pandas as pd

import saecircuits as sc
from experiments.arguments import task_parser
from experiments.tables import write_table
from saecircuits.nodes.features_alone import effect_by_features


def row_of(model: sc.SplicedModel, task: sc.Task, nodes: int) -> dict[str, float]:
    """The scores of a task's graph, and CPU seconds, user and system."""
    before = time.process_time()
    graph = sc.attribute(model, task.train, max_nodes=nodes)
    taken = time.process_time() - before
    scores = graph.summary["scores"]
    known = graph.checked(None)
    before = time.process_time()
    known.over_batches(effect_by_features)
    return {
        "replacement": scores["replacement"],
        "completeness": scores["completeness"],
        "tokens, logits": scores["tokens"],
        "by features": scores["by_features"],
        "share": scores["features_share"],
        "attribute, CPU s": taken,
        "by features, CPU s": time.process_time() - before,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes `graph_scores.csv` and `graph_scores.md`; the mean over tasks comes last."""
    parser = task_parser(__doc__)
    parser.add_argument("--nodes", type=int, default=300, help="edges are computed among so many")
    options = parser.parse_args(arguments)
    model = sc.load_model(options.model)
    found = []
    for name in options.tasks:
        task = sc.load_task(name, model, limit=options.limit)
        found.append({"task": name, **row_of(model, task, options.nodes)})
        table = pd.DataFrame(found)
        mean = pd.DataFrame([{"task": "mean", **table.drop(columns="task").mean().to_dict()}])
        write_table(pd.concat([table, mean]), options.out, name="graph_scores")


if __name__ == "__main__":
    main()
