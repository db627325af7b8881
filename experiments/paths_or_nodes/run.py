"""Are paths or nodes the better unit: faithfulness on held-out prompts per bit of description?

A circuit is told in one of four ways; whoever has the graph but not the circuit pays by the bit:

    nodes     the k nodes of largest |effect|, one set of k out of the N features and error nodes of
              the graph:                                                      log2 C(N, k)
    features  the same among features alone
    paths     the k strongest paths, from tokens and error nodes to the metric (`sc.paths`): for
              each one of the beginnings, then one of the ends of the edges that leave the last;
              they come in no order:      sum over paths of sum over steps log2(choices) - log2 k!
    greedy    paths added one by one, always the one with most |effect| per bit it costs among those
              that name a new node; a path shares its first nodes with one that is told already:
              it costs log2 of the places where it may leave what is told, and its steps from there

What a description names is nodes. They are kept, and every other node is ablated: how many paths
say it does not matter to the model. Paths go through features; an error node may only begin one.

    python -m experiments.paths_or_nodes.run --out results
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import lgamma, log, log2

import pandas as pd

import saecircuits as sc
from experiments.arguments import task_parser
from experiments.charts import lines
from experiments.tables import write_table

BUDGETS = (100, 200, 300, 450, 600, 1000)
WAYS = ("nodes", "features", "paths", "greedy")


@dataclass(frozen=True)
class Described:
    """The nodes of a description of some length, in order of appearance."""

    bits: float
    nodes: tuple[str, ...]


class Code:
    """What a step of a path costs in a graph, in bits."""

    def __init__(self, edges: pd.DataFrame, begins: Sequence[str]) -> None:
        self._first = log2(len(begins))
        self._next = edges.groupby("source")["target"].nunique().map(log2).to_dict()

    def steps(self, nodes: Sequence[str]) -> list[float]:
        """The cost of each node of a path, given the one before.

        None where no edge that leaves the one before has an effect above rounding.
        """
        return [self._first, *(self._next.get(node, 0.0) for node in nodes[:-1])]


def by_nodes(ranked: pd.Index) -> Iterator[Described]:
    """Longer and longer prefixes of the ranking, up to half of it: behind it, sets get cheaper."""
    n = len(ranked)
    for k in range(1, n // 2 + 1):
        yield Described(_log2_choose(n, k), tuple(ranked[:k]))


def by_paths(paths: Sequence[tuple[str, ...]], code: Code) -> Iterator[Described]:
    """More and more of the strongest paths."""
    bits, nodes = 0.0, dict[str, None]()
    for number, path in enumerate(paths, 1):
        bits += sum(code.steps(path)) - log2(number)
        nodes.update(dict.fromkeys(path))
        yield Described(bits, tuple(nodes))


def by_greedy(table: pd.DataFrame, code: Code) -> Iterator[Described]:
    """More and more paths, each the best buy where the ones before are known."""
    left = {
        nodes: abs(effect) for nodes, effect in zip(table["nodes"], table["effect"], strict=True)
    }
    told: set[tuple[str, ...]] = set()  # beginnings of paths
    bits, nodes = 0.0, dict[str, None]()
    steps = {path: code.steps(path) for path in left}
    while left:

        def cost(path: tuple[str, ...]) -> float:
            shared = max((n for n in range(len(path)) if path[:n] in told), default=0)
            return log2(1 + len(told)) + sum(steps[path][shared:])

        best = max(left, key=lambda path: left[path] / max(cost(path), 1e-9))
        bits += cost(best)
        told.update(best[:n] for n in range(1, len(best)))
        nodes.update(dict.fromkeys(best))
        left = {path: size for path, size in left.items() if not nodes.keys() >= set(path)}
        yield Described(bits, tuple(nodes))


def _log2_choose(n: int, k: int) -> float:
    return (lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)) / log(2)


def measure(model: sc.SplicedModel, task: sc.Task, options: argparse.Namespace) -> pd.DataFrame:
    """A row for every way and budget: bits used, members, and faithfulness on held-out prompts."""
    choices = {"max_nodes": options.max_nodes, "max_edges": 10**6, "parts": False}
    graph = sc.attribute(model, task.train, **choices)
    joined = set(graph.edges["source"]) | set(graph.edges["target"])
    kinds = graph.nodes[graph.nodes["node"].isin(joined)].set_index("node")["kind"]
    begins = [node for node, kind in kinds.items() if kind in ("token", "error")]
    found = sc.paths(graph, k=options.paths, source=begins).table
    code = Code(graph.edges, begins)
    told = {
        "nodes": list(by_nodes(kinds.index[kinds.isin(["feature", "error"])])),
        "features": list(by_nodes(kinds.index[kinds == "feature"])),
        "paths": list(by_paths(list(found["nodes"]), code)),
        "greedy": list(by_greedy(found, code)),
    }
    whole = sc.prune(graph, nodes=1)
    rows = []
    for way in WAYS:
        for budget in options.budgets:
            within = [one for one in told[way] if one.bits <= budget]
            members = set(within[-1].nodes) if within else set()
            is_kept = graph.nodes["node"].isin(members) & graph.nodes["kind"].isin(
                ["feature", "error"]
            )
            circuit = replace(whole, nodes=graph.nodes[is_kept], candidates=())
            report = sc.validate(model, circuit, task.test, n_random=0)
            rows.append(
                {
                    "task": task.name,
                    "way": way,
                    "budget": budget,
                    "bits": within[-1].bits if within else 0.0,
                    "paths": len(within) if way in ("paths", "greedy") else 0,
                    "nodes": circuit.size,
                    "faithfulness": report.faithfulness,
                    "low": report.faithfulness_low,
                    "high": report.faithfulness_high,
                    "is_exhausted": len(within) == len(told[way]),
                }
            )
    return pd.DataFrame(rows)


def compare(found: pd.DataFrame) -> pd.DataFrame:
    """Per budget: on how many tasks each way is best, and clearly so: intervals do not meet."""
    rows = []
    for budget, part in found.groupby("budget"):
        row: dict[str, object] = {"bits": budget}
        tables = {way: rows_.set_index("task") for way, rows_ in part.groupby("way")}
        for way in WAYS:
            row[way] = tables[way]["faithfulness"].mean()
        for way in WAYS[2:]:
            mine, nodes = tables[way], tables["nodes"]
            row[f"{way} clearly better than nodes"] = int((mine["low"] > nodes["high"]).sum())
            row[f"nodes clearly better than {way}"] = int((nodes["low"] > mine["high"]).sum())
        rows.append(row)
    return pd.DataFrame(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes every measurement, the comparison by budget, and a plot of the means."""
    parser = task_parser(__doc__, limit=20)
    parser.add_argument("--max-nodes", type=int, default=1000)
    parser.add_argument("--paths", type=int, default=500, help="strongest paths looked at")
    parser.add_argument("--budgets", type=int, nargs="*", default=list(BUDGETS), help="in bits")
    options = parser.parse_args(arguments)
    model = sc.load_model(options.model)
    tables = []
    for name in options.tasks:
        tables.append(measure(model, sc.load_task(name, model, limit=options.limit), options))
        write_table(pd.concat(tables), options.out, name="paths_or_nodes")
    found = pd.concat(tables)
    means = compare(found)
    write_table(means, options.out, name="paths_or_nodes_by_bits")
    drawing = lines(
        list(means["bits"]),
        {way: list(means[way]) for way in WAYS},
        title="Faithfulness per bit of description",
        note=f"node ablation on held-out prompts, mean over {len(tables)} tasks",
        below="bits that describe the circuit",
    )
    (options.out / "paths_or_nodes.svg").write_text(drawing, encoding="utf-8")


if __name__ == "__main__":
    main()
