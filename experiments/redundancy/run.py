"""How much of the redundancy of circuits is interaction, and which tasks have backups?

Five games a task, each of the strongest members on held-out prompts:

    circuit     nodes of the circuit, everything else clean
    alone       the same nodes, everything else at its baseline: the circuit by itself
    inner       nodes of one site, the one before the last where the strongest nodes have most
                effect, everything else clean: none of them reads another, so that what they do
                together is redundancy or joint use, and no path among them
    last        nodes of the last site, likewise: behind it is the final norm alone
    layers      every attention layer and MLP

    python -m experiments.redundancy.run --out results
"""

from collections.abc import Sequence

import pandas as pd

import saecircuits as sc
from experiments.arguments import task_parser
from experiments.charts import bars
from experiments.tables import write_table
from saecircuits.nonlinearity.node_game import Rest


def games(
    model: sc.SplicedModel, circuit: sc.Circuit, count: int
) -> dict[str, tuple[list[str], Rest]]:
    """The members and the rest of every game."""
    strongest = list(circuit.members[:count])
    nodes = circuit.nodes[circuit.nodes["node"].isin(circuit.members)]
    at_top = nodes[nodes["node"].isin(strongest)]
    by_site = at_top.groupby("site")["effect"].apply(lambda effects: effects.abs().sum())
    last = model.hooks[-1]
    inner = by_site.drop(last, errors="ignore").idxmax()
    layers = [f"L{layer}.{kind}" for layer in range(model.n_layers) for kind in ("ATTN", "MLP")]
    return {
        "circuit": (strongest, "clean"),
        "alone": (strongest, "baseline"),
        "inner": (list(nodes.loc[nodes["site"] == inner, "node"].head(count)), "clean"),
        "last": (list(nodes.loc[nodes["site"] == last, "node"].head(count)), "clean"),
        "layers": (layers, "clean"),
    }


def measure(found: sc.Interactions) -> dict[str, object]:
    """One row: the spectrum by grade, and the pairs that back each other up."""
    share = found.spectrum.set_index("grade")["share"]
    most = found.redundancy.iloc[0]
    backups = found.backups
    return {
        "members": len(found.members),
        "total": found.total,
        "grade 1": share[1],
        "grade 2": share[2],
        "grade 3": share.get(3, 0.0),
        "grade 4 and above": share[share.index > 3].sum(),
        "mean grade": found.mean_grade,
        "pairs": len(found.redundancy),
        "backups": len(backups),
        "backup logits": backups["redundancy"].sum(),
        "most redundant": f"{most['a']} and {most['b']}",
        "redundancy": most["redundancy"],
        "redundancy low": most["low"],
        "redundancy high": most["high"],
        "their joint effect": most["joint"],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes `redundancy.csv` and `redundancy.md`, row by row as they are measured, and a plot."""
    parser = task_parser(__doc__, limit=32)
    parser.add_argument("--members", type=int, default=12)
    options = parser.parse_args(arguments)
    model = sc.load_model(options.model)
    rows = []
    for name in options.tasks:
        task = sc.load_task(name, model, limit=options.limit)
        circuit = sc.prune(sc.attribute(model, task.train, max_nodes=1), nodes=200)
        for game, (members, rest) in games(model, circuit, options.members).items():
            found = sc.interactions(model, task.test, members, rest=rest)
            rows.append({"task": name, "game": game, **measure(found)})
            write_table(pd.DataFrame(rows), options.out, name="redundancy")
    table = pd.DataFrame(rows)
    of_site = table[table["game"] == "inner"]
    grades = ["grade 1", "grade 2", "grade 3", "grade 4 and above"]
    drawing = bars(
        list(of_site["task"].str.replace("_", "\n")),
        {grade: list(of_site[grade]) for grade in grades},
        title="Interactions by grade, among the nodes of one site",
        note="share of v(N) - v(empty); 1 at grade 1 would be a sum of parts",
    )
    (options.out / "redundancy.svg").write_text(drawing, encoding="utf-8")


if __name__ == "__main__":
    main()
