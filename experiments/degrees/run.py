"""Do circuits live at low degree?

For the smallest circuit of every shipped task that reaches a faithfulness of 0.85 on the training
prompts, as `sc.discover` finds it:

    edges     how the absolute effect of its edges is spread over the components passed
    paths     how all paths to the metric, from tokens and error nodes, are spread over the
              components passed and over the features between the ends: of the circuit, of the graph
              of all nodes, and of as many random nodes of the same sites
    model     the logit difference by degree, without dictionaries (`sc.expand`)

    python -m experiments.degrees.run --out results
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

import saecircuits as sc
from experiments.arguments import task_parser
from experiments.charts import bars
from experiments.tables import write_table

MEANS = ("edges", "all edges", "paths", "all paths", "random paths", "model")
PLOTTED = ["edges", "paths", "all paths", "random paths", "model"]


def edge_degrees(edge_parts: pd.DataFrame) -> pd.Series:
    """By degree, its share of the sum of the absolute effects of all parts of edges."""
    sizes = edge_parts["effect"].abs().groupby(edge_parts["degree"]).sum()
    return sizes / sizes.sum()


def path_degrees(graph: sc.AttributionGraph) -> pd.DataFrame:
    """All paths from tokens and error nodes to the metric, by degree and number of features."""
    joined = set(graph.edges["source"]) | set(graph.edges["target"])
    begins = graph.nodes[graph.nodes["kind"].isin(["token", "error"])]["node"]
    return sc.path_degrees(graph, source=[node for node in begins if node in joined])


def within(graph: sc.AttributionGraph, nodes: pd.DataFrame) -> sc.AttributionGraph:
    """The graph of some of its nodes, and the edges among them."""
    known = {"metric", *nodes["node"]}
    kept = [table[table["source"].isin(known) & table["target"].isin(known)]
            for table in (graph.edges, graph.edge_parts)]  # fmt: skip
    return replace(graph, nodes=nodes, edges=kept[0], edge_parts=kept[1])


def random_nodes(graph: sc.AttributionGraph, circuit: sc.Circuit, *, seed: int) -> pd.DataFrame:
    """All tokens, and as many nodes of every kind and site as the circuit has, drawn at random."""
    tokens = graph.nodes[graph.nodes["kind"].isin(["token", "metric"])]
    members = circuit.nodes[circuit.nodes["node"].isin(circuit.members)]
    candidates = graph.nodes.groupby(["site", "kind"])
    drawn = [
        candidates.get_group(place).sample(n=len(rows), random_state=seed)
        for place, rows in members.groupby(["site", "kind"])
    ]
    return pd.concat([tokens, *drawn])


def model_degrees(model: sc.SplicedModel, task: sc.Task, *, count: int) -> pd.Series:
    """The logit difference by degree: mean over prompts of shares of its absolute parts."""
    half, shares = task.train, []
    for row in range(min(count, len(half))):
        tokens = half.clean_tokens[row, : half.clean_lengths[row]].tolist()
        logits = sc.expand(model, tokens, naive_limit=0).logits().terms
        answers = half.answer_tokens[row, half.answer_mask[row]]
        wrong = half.wrong_tokens[row, half.wrong_mask[row]]
        terms = (logits[:, answers].mean(1) - logits[:, wrong].mean(1)).abs()
        shares.append((terms / terms.sum()).tolist())
    return pd.DataFrame(shares).mean()


def measure(
    model: sc.SplicedModel, task: sc.Task, options: argparse.Namespace
) -> tuple[dict[str, object], pd.DataFrame]:
    """One row of figures; and shares of everything by degree."""
    choices = {"max_nodes": options.max_nodes, "max_edges": 10**6}
    graph = sc.attribute(model, task.train, **choices)
    circuit = sc.prune(graph, faithfulness=options.faithfulness)
    inside = within(graph, circuit.nodes)
    of_circuit, of_graph = path_degrees(inside), path_degrees(graph)
    drawn = [
        path_degrees(within(graph, random_nodes(graph, circuit, seed=seed)))
        for seed in range(options.random)
    ]
    shares = {
        "edges": edge_degrees(inside.edge_parts),
        "all edges": edge_degrees(graph.edge_parts),
        "paths": _share(of_circuit, "degree"),
        "all paths": _share(of_graph, "degree"),
        "random paths": _means([_share(one, "degree") for one in drawn]),
        "paths by features": _share(of_circuit, "features"),
        "all paths by features": _share(of_graph, "features"),
        "model": model_degrees(model, task, count=options.prompts),
    }
    table = pd.concat(
        [part.rename("share").rename_axis("degree").reset_index().assign(of=name)
         for name, part in shares.items()]
    )  # fmt: skip
    row = {
        "task": task.name,
        "nodes": circuit.size,
        "edges": len(inside.edges),
        "paths of the circuit": of_circuit["effect"].sum(),
        "absolute": of_circuit["absolute"].sum(),
        "all paths": of_graph["effect"].sum(),
        "all absolute": of_graph["absolute"].sum(),
        "random, median": pd.Series([one["effect"].sum() for one in drawn]).median(),
        **{f"mean degree, {name}": _mean(shares[name]) for name in MEANS},
        **{
            f"signed, degree {low} to {high}": of_circuit.loc[
                of_circuit["degree"].between(low, high), "effect"
            ].sum()
            for low, high in ((0, 2), (3, 8))
        },
    }
    return row, table.assign(task=task.name)


def _share(found: pd.DataFrame, by: str) -> pd.Series:
    sizes = found.groupby(by)["absolute"].sum()
    return sizes / sizes.sum()


def _means(shares: Sequence[pd.Series]) -> pd.Series:
    """By degree; nodes between which there is no path have a share nowhere."""
    degrees = range(1 + max((int(share.index.max()) for share in shares if len(share)), default=0))
    filled = [share.reindex(degrees, fill_value=0.0) for share in shares]
    return sum(filled, start=pd.Series(0.0, index=degrees)) / len(shares)


def _mean(share: pd.Series) -> float:
    return float((share * share.index).sum())


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes a row a task, shares by degree of every task and their means, and a plot."""
    parser = task_parser(__doc__, limit=20)
    parser.add_argument("--prompts", type=int, default=6, help="expanded, of each task")
    parser.add_argument("--faithfulness", type=float, default=0.85)
    parser.add_argument("--max-nodes", type=int, default=1000)
    parser.add_argument("--random", type=int, default=2, help="random circuits of each task")
    options = parser.parse_args(arguments)
    model = sc.load_model(options.model)
    rows, tables = [], []
    for name in options.tasks:
        task = sc.load_task(name, model, limit=options.limit)
        row, table = measure(model, task, options)
        rows.append(row)
        tables.append(table)
        write_table(pd.DataFrame(rows), options.out, name="degrees")
    every = pd.concat(tables)
    every.to_csv(options.out / "degrees_shares.csv", index=False)
    by_task = every.pivot_table(index=["task", "degree"], columns="of", values="share")
    by_task = by_task.reindex(columns=pd.Index(every["of"].unique())).fillna(0)
    means = by_task.groupby("degree").mean().reset_index()
    write_table(means, options.out, name="degrees_means")
    shown = means[means[PLOTTED].max(axis=1) > 1e-3]
    drawing = bars(
        [f"{degree}" for degree in shown["degree"]],
        {kind: list(shown[kind]) for kind in PLOTTED},
        title="Do circuits live at low degree?",
        note=f"shares of the sum of absolute effects, mean over {len(rows)} tasks",
        below="degree: components passed",
    )
    (options.out / "degrees.svg").write_text(drawing, encoding="utf-8")


if __name__ == "__main__":
    main()
