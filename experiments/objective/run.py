"""What a training objective does to circuits: dictionaries of several folders, task by task.

python -m experiments.objective.run --models stories retuned/both --out results
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import pandas as pd

import saecircuits as sc
from experiments.arguments import task_parser
from experiments.tables import write_table
from saecircuits.edges.graph_scores import SCORES
from saecircuits.splicing.loading import read_manifest


def measured(model: sc.SplicedModel, task: sc.Task, *, nodes: int) -> dict[str, Any]:
    """What goes by features in a task's graph, and how many of them stand for the whole."""
    graph = sc.attribute(model, task.train, max_nodes=nodes)
    scores = graph.summary[SCORES]
    found = sc.baselines(model, task, kinds=["features"])
    return {
        "task": task.name,
        "replacement": scores["replacement"],
        "share by features": scores["features_share"],
        "most faithful": found.curve["faithfulness"].max(),
        "nodes for 0.8": found.kinds["nodes_for_bar"][0],
        **passed(graph.nodes),
    }


def passed(nodes: pd.DataFrame) -> dict[str, float]:
    """Site to the share of features in what they and errors do there, effects with their signs."""
    effects = nodes.pivot_table(index="site", columns="kind", values="effect", aggfunc="sum")
    shares = (effects["feature"] / (effects["feature"] + effects["error"])).dropna()
    return {f"passed, {site}": float(share) for site, share in shares.items()}


def stated(manifest: dict[str, Any]) -> dict[str, float]:
    """Figures of the spliced dictionaries as their manifest states them, means over sites."""
    entries = [
        one for one in manifest["dictionaries"] if one["hook_name"] in manifest["default_sites"]
    ]
    names = ("mean_l0", "fraction_variance_explained", "loss_recovered", "dead_share")
    return {
        **{name.replace("_", " "): mean(entry[name] for entry in entries) for name in names},
        "KL, all spliced": manifest["joint"]["kl"],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes `objective_tasks.csv`, `objective.csv` and the same as `.md`."""
    parser = task_parser(__doc__)
    parser.add_argument("--models", nargs="+", default=["stories"])
    parser.add_argument("--nodes", type=int, default=300, help="edges are computed among so many")
    options = parser.parse_args(arguments)
    tables, rows = [], []
    for name in options.models:
        model = sc.load_model(name)
        tasks = [sc.load_task(task, model, limit=options.limit) for task in options.tasks]
        found = pd.DataFrame([measured(model, task, nodes=options.nodes) for task in tasks])
        tables.append(found.assign(model=Path(name).name))
        write_table(pd.concat(tables), options.out, name="objective_tasks")
        counts = found["nodes for 0.8"]
        rows.append(
            {
                "model": Path(name).name,
                **stated(read_manifest(name)),
                **found.drop(columns=["task", "nodes for 0.8"]).mean().to_dict(),
                "tasks at 0.8": int(counts.notna().sum()),
                "nodes for 0.8": ", ".join("-" if pd.isna(n) else str(n) for n in counts),
            }
        )
        write_table(pd.DataFrame(rows), options.out, name="objective")


if __name__ == "__main__":
    main()
