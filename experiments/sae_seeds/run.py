"""Do dictionaries of another seed give the same circuit?

1. dictionaries of the shipped language model are trained again, twice, with two seeds and the same
   smaller budget (`experiments/pretrain/reseeded.py`), unless the folders are there;
2. their features are matched one to one, by direction and by activation (`matching`);
3. for every task and every pair of models: the circuit of as many nodes in each, what of the one is
   found again in the other by way of the matched features, and what that carries there.

    python -m experiments.sae_seeds.run --corpus DIR --dictionaries DIR --out results
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pandas as pd

import saecircuits as sc
from experiments.sae_seeds.matching import (
    WAYS,
    Matches,
    match_models,
    match_table,
    translations,
)
from experiments.tables import write_table
from saecircuits.tasks import Prompts
from saecircuits.validation.random_circuits import random_circuits

TASKS = ("pronoun", "agreement", "possessive", "indirect_object", "noun_copy")
TRAINING = Path(__file__).resolve().parents[1] / "pretrain" / "reseeded.py"


@dataclass(frozen=True, eq=False)
class Found:
    """A circuit, the graph that it is of, and its faithfulness on held-out prompts."""

    graph: sc.AttributionGraph
    circuit: sc.Circuit
    report: sc.ValidationReport


def train(corpus: Path, folder: Path, seeds: Sequence[int]) -> None:
    """The model folders of some seeds; those that are there are kept."""
    command = [sys.executable, str(TRAINING), "--corpus", str(corpus), "--out", str(folder)]
    subprocess.run([*command, "--seeds", ",".join(map(str, seeds))], check=True)


def find(model: sc.SplicedModel, task: sc.Task, *, nodes: int) -> Found:
    """The circuit of the strongest nodes, with all edges among them."""
    graph = sc.attribute(model, task.train, max_nodes=nodes, parts=False)
    circuit = sc.prune(graph, nodes=nodes)
    return Found(graph, circuit, sc.validate(model, circuit, task.test, n_random=0))


def mass(table: pd.DataFrame, is_counted: Sequence[bool]) -> float:
    """The share of the summed |effect| that some rows carry."""
    size = table["effect"].abs().to_numpy()
    return float(size[np.asarray(is_counted)].sum() / size.sum()) if size.sum() > 0 else np.nan


def overlap(first: Found, second: Found, matches: Matches, *, draws: int) -> dict[str, object]:
    """What the second circuit has of the first, features and edges apart from error nodes.

    `expected` is the mean of `shared` over random circuits with the second's size and layer
    profile. Edges are those with a feature at an end at least.
    """
    nodes = first.circuit.nodes[first.circuit.nodes["kind"] == "feature"]
    theirs = _features(second.circuit.members)
    partner = translations(first.circuit.nodes["node"], matches)
    found = [partner.get(node) in theirs for node in nodes["node"]]
    drawn = random_circuits(second.circuit, count=draws)
    wanted = {partner[node] for node in nodes["node"] if node in partner}
    by_chance = [len(wanted & set(other)) for other in drawn]
    edges = first.circuit.edges
    own = [_features(pair) != set() for pair in _pairs(edges)]
    edges = edges[np.asarray(own, dtype=bool)]
    known = {pair for pair in _pairs(second.circuit.edges) if _features(pair)}
    again = [(partner.get(u), partner.get(v)) in known for u, v in _pairs(edges)]
    return {
        "features": len(nodes),
        "has partner": float(np.mean([node in partner for node in nodes["node"]])),
        "shared": float(np.mean(found)),
        "expected": float(np.mean(by_chance)) / len(nodes),
        "jaccard": sum(found) / (len(nodes) + len(theirs) - sum(found)),
        "effect shared": mass(nodes, found),
        "edge jaccard": sum(again) / (len(edges) + len(known) - sum(again)),
        "edge effect shared": mass(edges, again),
    }


def moved(first: Found, second: Found, matches: Matches) -> sc.Circuit:
    """The first circuit in the second's dictionaries: partners of its members, error nodes kept."""
    there = set(translations(first.circuit.members, matches).values())
    graph = second.graph
    is_kept = graph.nodes["node"].isin(there) | ~graph.nodes["kind"].isin(["feature", "error"])
    nodes = graph.nodes[is_kept].reset_index(drop=True)
    ends = graph.edges[["source", "target"]].isin(set(nodes["node"])).all(axis=1)
    return replace(second.circuit, nodes=nodes, edges=graph.edges[ends].reset_index(drop=True))


def compare(
    models: tuple[sc.SplicedModel, sc.SplicedModel],
    found: tuple[Found, Found],
    test: Prompts | None,
    matches: Matches,
    *,
    draws: int,
) -> dict[str, object]:
    """One row: what of the first circuit is in the second, and what that does there on `test`.

    `moved` is not measured without prompts that chose neither circuit.
    """
    first, second = found
    carried = np.nan
    if test is not None:
        there = moved(first, second, matches)
        carried = sc.validate(models[1], there, test, n_random=0).faithfulness
    return {
        **overlap(first, second, matches, draws=draws),
        "by edges": first.report.faithfulness_of("edges"),
        "by edges, second": second.report.faithfulness_of("edges"),
        "by nodes, second": second.report.faithfulness,
        "moved": carried,
    }


def half_of(task: sc.Task, half: str) -> sc.Task:
    """The task whose circuits are chosen on a half and judged on the other."""
    return task if half == "train" else replace(task, train=task.test, test=task.train)


def _features(nodes: Sequence[str]) -> set[str]:
    return {node for node in nodes if ".f" in node.partition("@")[0]}


def _pairs(edges: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(edges["source"], edges["target"], strict=True))


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes `dictionaries.csv` and `sae_seeds.csv`, each also as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, help="TinyStories, to train on")
    parser.add_argument("--dictionaries", type=Path, help="where the seeds' folders are, or go")
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--models", nargs="*", default=["stories"], help="compared with them")
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--limit", type=int, default=None, help="prompt pairs in each half")
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--draws", type=int, default=200, help="random circuits")
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_args(arguments)
    names = {str(name): name for name in options.models}
    if options.dictionaries is not None:
        if options.corpus is not None:
            train(options.corpus, options.dictionaries, options.seeds)
        folders = [options.dictionaries / f"seed_{seed}" for seed in options.seeds]
        names = {**{folder.name.replace("_", " "): folder for folder in folders}, **names}
    models = {shown: sc.load_model(name) for shown, name in names.items()}
    tasks = {
        name: sc.load_task(name, next(iter(models.values())), limit=options.limit)
        for name in options.tasks
    }
    prompts = [task.train for task in tasks.values()]
    tables, rows = [], []
    found = {
        (shown, task.name, half): find(model, half_of(task, half), nodes=options.nodes)
        for shown, model in models.items()
        for task in tasks.values()
        for half in ("train", "test")
    }
    # Against itself: what other prompts of the same task change, the most to hope for.
    pairs = [*combinations(models, 2), *((name, name) for name in models)]
    for (one, other), by in product(pairs, WAYS):
        if one == other and by != WAYS[0]:
            continue
        both = (models[one], models[other])
        matches = match_models(*both, prompts, by=by)
        ends = {"first": one, "second": other}
        if one != other:
            tables.append(match_table(matches).assign(**ends))
            write_table(pd.concat(tables, ignore_index=True), options.out, name="dictionaries")
        for task in tasks.values():
            half = "test" if one == other else "train"
            circuits = (found[one, task.name, "train"], found[other, task.name, half])
            test = task.test if half == "train" else None
            row = compare(both, circuits, test, matches, draws=options.draws)
            rows.append({"task": task.name, **ends, "by": by, **row})
            write_table(pd.DataFrame(rows), options.out, name="sae_seeds")


if __name__ == "__main__":
    main()
