"""Is a circuit about the behaviour, or about the prompts that chose it?

    paraphrase   the circuit of a shipped task, on the same behaviour in other words
    family       the circuit of one task, on another task of its family; nodes are counted over the
                 whole prompt there, because the tasks have different spans

Each beside the circuit of the same size that the new prompts' own training half chooses, and random
circuits of the same size and layer profile.

    python -m experiments.transfer.run --out results
"""

import argparse
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import pandas as pd

import saecircuits as sc
from experiments.tables import write_table
from experiments.transfer.paraphrases import PARAPHRASES, paraphrased

FAMILIES = {
    "number": ("agreement", "agreement_distractor", "coordination"),
    "gender": ("pronoun", "possessive"),
    "recall": ("indirect_object", "noun_copy", "induction"),
}


def compare(
    model: sc.SplicedModel, own: sc.Task, other: sc.Task, *, kind: str, positions: str, nodes: int
) -> dict[str, object]:
    """One row: the circuit of `own` at home and on `other`, and what is chosen there."""
    here, there = (
        sc.prune(sc.attribute(model, task.train, positions=positions, max_nodes=1), nodes=nodes)
        for task in (own, other)
    )
    at_home = sc.validate(model, here, own.test, n_random=0)
    moved = sc.validate(model, here, other.test, n_random=20)
    native = sc.validate(model, there, other.test, n_random=0)
    both = set(here.members) & set(there.members)
    return {
        "kind": kind,
        "from": own.name,
        "to": other.name,
        "nodes": here.size,
        "at home": at_home.faithfulness,
        "moved": moved.faithfulness,
        "moved low": moved.faithfulness_low,
        "moved high": moved.faithfulness_high,
        "native": native.faithfulness,
        "random median": moved.random["median"],
        "shared nodes": len(both) / len(here.members),
        "accuracy there": moved.accuracy["clean"],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes `transfer.csv` and `.md`, row by row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="stories")
    parser.add_argument("--paraphrases", nargs="*", default=list(PARAPHRASES))
    parser.add_argument("--families", nargs="*", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--limit", type=int, default=None, help="prompt pairs in each half")
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_args(arguments)
    model = sc.load_model(options.model)

    def task(name: str) -> sc.Task:
        return sc.load_task(name, model, limit=options.limit)

    rows = []
    for name in options.paraphrases:
        other = paraphrased(name, model, limit=options.limit)
        found = compare(
            model, task(name), other, kind="paraphrase", positions="span", nodes=options.nodes
        )
        rows.append(found)
        write_table(pd.DataFrame(rows), options.out, name="transfer")
    for family in options.families:
        for own, other in permutations(FAMILIES[family], 2):
            found = compare(
                model, task(own), task(other), kind=family, positions="sum", nodes=options.nodes
            )
            rows.append(found)
            write_table(pd.DataFrame(rows), options.out, name="transfer")


if __name__ == "__main__":
    main()
