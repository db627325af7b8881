"""What does a dtype cost in accuracy? Effects and circuits against the same in float64.

On every task the effects of nodes and edges, a circuit's faithfulness, and the time they took, in
each dtype; float64 is what they are compared with. A dtype that fails says how.

    python -m experiments.precision.run --out results
"""

import time
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

import saecircuits as sc
from experiments.arguments import task_parser
from experiments.tables import write_table

EXACT = "float64"
DTYPES = (EXACT, "float32", "bfloat16", "float16")
STRONGEST = 100


def compared(
    exact: pd.DataFrame, found: pd.DataFrame, keys: list[str]
) -> tuple[float, float, float]:
    """How far effects are from the exact ones; what one table lacks has the effect 0 there.

    Returns:
        The sum of |difference| over the sum of |exact effect|; Spearman's correlation; and of the
        strongest `STRONGEST` of the exact table, the share that are among the strongest as found.
    """
    both = exact.merge(found, on=keys, how="outer", suffixes=("", "_found"))
    effects = both[["effect", "effect_found"]].fillna(0.0)
    size = effects["effect"].abs().sum()
    error = (effects["effect_found"] - effects["effect"]).abs().sum() / size
    strongest = [set(effects[column].abs().nlargest(STRONGEST).index) for column in effects.columns]
    return (
        float(error),
        float(effects["effect"].corr(effects["effect_found"], method="spearman")),
        len(strongest[0] & strongest[1]) / len(strongest[0]),
    )


def measure(
    model: sc.SplicedModel,
    task: sc.Task,
    exact: tuple[sc.AttributionGraph, sc.Circuit] | None,
    *,
    nodes: int,
    max_nodes: int,
) -> tuple[dict[str, object], tuple[sc.AttributionGraph, sc.Circuit]]:
    """One row, and the graph and circuit that it is of.

    Args:
        exact: graph and circuit in float64; None if these are they.
        nodes: of the circuit; the one in float64 is ablated in every dtype.
    """
    start = time.process_time()
    graph = sc.attribute(model, task.train, max_nodes=max_nodes)
    seconds = time.process_time() - start
    circuit = sc.prune(graph, nodes=nodes)
    first_graph, first_circuit = exact or (graph, circuit)
    # A circuit is of one dtype and refused in others; here the same nodes are meant in all of them.
    same = replace(first_circuit, provenance=graph.provenance)
    report = sc.validate(model, same, task.test, n_random=0)
    row: dict[str, object] = {}
    for what, keys in (("nodes", ["node"]), ("edges", ["source", "target"])):
        error, spearman, shared = compared(getattr(first_graph, what), getattr(graph, what), keys)
        row[f"{what} error"] = error
        row[f"{what} spearman"] = spearman
        row[f"strongest {what} shared"] = shared
    row["faithfulness by nodes"] = report.faithfulness_of("nodes")
    row["faithfulness by edges"] = report.faithfulness_of("edges")
    row["CPU s of the graph"] = seconds
    return row, (graph, circuit)


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes `precision.csv` and `precision.md`, row by row as they are measured."""
    parser = task_parser(__doc__, limit=32)
    parser.add_argument("--dtypes", nargs="*", default=list(DTYPES[1:]), choices=list(DTYPES[1:]))
    parser.add_argument("--device", default="cpu", help="of all dtypes; float64 is on the CPU")
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--max-nodes", type=int, default=300)
    options = parser.parse_args(arguments)
    rows = []
    for name in options.tasks:
        exact = None
        for dtype in (EXACT, *options.dtypes):
            device = "cpu" if dtype == EXACT else options.device
            row: dict[str, object] = {"task": name, "dtype": dtype, "device": device}
            try:
                model = sc.load_model(options.model, dtype=dtype, device=device)
                task = sc.load_task(name, model, limit=options.limit)
                figures, found = measure(
                    model, task, exact, nodes=options.nodes, max_nodes=options.max_nodes
                )
                exact = exact or found
                row |= {**figures, "failed": ""}
            except (sc.SaecircuitsError, RuntimeError) as error:
                row["failed"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            rows.append(row)
            write_table(pd.DataFrame(rows), options.out, name="precision", digits=6)


if __name__ == "__main__":
    main()
