"""How often is something called a circuit where there is none?

Two kinds of prompts without anything to find, drawn again and again: answers exchanged at random
between right and wrong, on both halves of a task; and the clean prompt as its own corruption. A
circuit is chosen on the one half and tested on the other, as always. Beside them the same on the
task as it is, which says that the tests can find something.

    python -m experiments.false_positives.run --out results
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import stats

import saecircuits as sc
from experiments.tables import write_table
from saecircuits.tasks.nulls import shuffled_labels, unchanged


def tested(
    model: sc.SplicedModel, task: sc.Task, *, nodes: int, seed: int, **how: Any
) -> sc.Hypotheses:
    """A circuit of the training half, tested on the other."""
    graph = sc.attribute(model, task.train, max_nodes=nodes, parts=False, seed=seed)
    circuit = sc.prune(graph, nodes=nodes)
    return sc.hypotheses(
        model, circuit, task.test, reference=task.train, n_random=39, edges=0, seed=seed, **how
    )


def row(task: str, prompts: str, found: Sequence[sc.Hypotheses]) -> dict[str, object]:
    """How many of the repetitions were called circuits, with Clopper and Pearson's interval."""
    called = sum(one.is_circuit for one in found)
    interval = stats.binomtest(called, len(found)).proportion_ci(0.95)
    return {
        "task": task,
        "prompts": prompts,
        "repetitions": len(found),
        "called a circuit": called,
        "rate": called / len(found),
        "interval low": interval.low,
        "interval high": interval.high,
        "members needed": sum(one.needed for one in found) / len(found),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes `false_positives.csv` and `.md`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="stories")
    parser.add_argument("--tasks", nargs="*", default=["agreement", "pronoun"])
    parser.add_argument("--limit", type=int, default=24, help="prompt pairs in each half")
    parser.add_argument("--nodes", type=int, default=30)
    parser.add_argument("--ablate", default="nodes", choices=["nodes", "edges"])
    parser.add_argument("--baseline", default="corrupted")
    parser.add_argument("--repetitions", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_args(arguments)
    model = sc.load_model(options.model)
    how = {"nodes": options.nodes, "ablate": options.ablate, "baseline": options.baseline}
    rows = []
    for name in options.tasks:
        task = sc.load_task(name, model, limit=options.limit)
        real = [tested(model, task, seed=0, **how)]
        same = replace(task, train=unchanged(task.train), test=unchanged(task.test))
        rows.append(row(name, "as they are", real))
        if options.baseline == "corrupted":  # under the others there is something to find
            rows.append(row(name, "clean = corrupted", [tested(model, same, seed=0, **how)]))
        shuffled = []
        for seed in range(options.repetitions):
            null = replace(
                task,
                train=shuffled_labels(task.train, seed=2 * seed),
                test=shuffled_labels(task.test, seed=2 * seed + 1),
            )
            shuffled.append(tested(model, null, seed=seed, **how))
        rows.append(row(name, "labels shuffled", shuffled))
        write_table(pd.DataFrame(rows), options.out, name="false_positives")


if __name__ == "__main__":
    main()
