"""Commands that put a published circuit, or features as nodes, to the test."""

from pathlib import Path
from typing import Annotated, Any

import typer

from saecircuits.cli.asked import (
    AS_RECORDED,
    SHIPPED,
    ModelSource,
    RunSource,
    counts_of,
    settings_of,
)
from saecircuits.cli.options import (
    AsJson,
    Baseline,
    Limit,
    TaskName,
    with_model,
    with_run,
)
from saecircuits.cli.showing import print_json, print_table, say, shown_progress


@with_run
def hypotheses(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    again: RunSource = AS_RECORDED,
    ablate: Annotated[
        str, typer.Option(help="nodes, or edges: by the circuit's edges alone, slower.")
    ] = "nodes",
    baseline: Baseline = "corrupted",
    level: Annotated[float, typer.Option(help="Of every test.")] = 0.05,
    bar: Annotated[float, typer.Option(help="The faithfulness to be above.")] = 0.8,
    random: Annotated[int, typer.Option(help="How many random circuits.")] = 199,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Test a published circuit: effect, sufficiency, necessity, minimality, with corrections."""
    with shown_progress(as_json) as progress:
        import saecircuits as sc
        from saecircuits.validation import check_tests

        how: Any = ablate
        kind = settings_of(baseline=baseline).baseline
        check_tests(how, level=level, bar=bar, n_random=random)
        stored = sc.read_run(run)
        spliced, asked = again.load(stored.record, run, progress, limit=limit)
        progress("tests", 0.0)
        found = sc.hypotheses(
            spliced,
            stored.circuit,
            asked.test,
            ablate=how,
            baseline=kind,
            reference=asked.train,
            level=level,
            bar=bar,
            n_random=random,
        )
    if as_json:
        print_json(found.to_json())
        return
    print_table(
        f"{run} on {asked.name} by {found.ablate}, {found.baseline} baseline, level {level:g}, "
        f"{found.prompts} prompts",
        found.tests,
        ["test", "question", "value", "against", "p", "rejected"],
    )
    verdict = "a circuit" if found.is_circuit else "no circuit"
    say(
        f"\nAt level {level:g} this is {verdict}; {found.needed} of {len(found.members)} members "
        "are needed one by one (Holm)."
    )
    smallest = ", ".join(f"{name} {value:.3g}" for name, value in found.smallest.items())
    say(f"Smallest that would be seen with probability {found.power:g}: {smallest}")


@with_model
def baselines(
    task: TaskName = "pronoun",
    source: ModelSource = SHIPPED,
    kinds: Annotated[
        str,
        typer.Option(
            help="all, or some with commas: features, features and errors, coordinates, pca, "
            "random, neurons, heads, untrained."
        ),
    ] = "all",
    sizes: Annotated[str, typer.Option(help="Numbers of nodes, with commas.")] = (
        "1,2,5,10,20,50,100,200,500,1000"
    ),
    positions: Annotated[str, typer.Option(help="each, span, or sum.")] = "span",
    bar: Annotated[float, typer.Option(help="The faithfulness to be reached.")] = 0.8,
    limit: Limit = 32,
    as_json: AsJson = False,
) -> None:
    """Hold features against nodes that need no training: faithfulness over the number of nodes."""
    with shown_progress(as_json) as progress:
        import saecircuits as sc
        from saecircuits.validation import check_kinds

        chosen: dict[str, Any] = {} if kinds == "all" else {"kinds": kinds.split(",")}
        counts = counts_of("--sizes", sizes)
        way: Any = settings_of(positions=positions).positions
        check_kinds(chosen.get("kinds", ()), sizes=counts, bar=bar)
        spliced, asked = source.load_with(task, progress, limit=limit)
        progress("baselines", 0.0)
        found = sc.baselines(spliced, asked, sizes=counts, positions=way, bar=bar, **chosen)
    if as_json:
        print_json(found.to_json())
        return
    over = found.curve.pivot(index="kind", columns="nodes", values="faithfulness")
    cells = over.reindex(found.kinds["kind"]).map(lambda value: f"{value:.3f}").replace("nan", "")
    shown = cells.rename(columns=str).reset_index()
    reached = (
        found.kinds["nodes_for_bar"]
        .astype(object)
        .where(found.kinds["nodes_for_bar"].notna(), "none")
    )
    print_table(
        f"Faithfulness over the number of nodes, {asked.name}, {found.prompts} held-out prompts",
        shown,
        list(shown.columns),
    )
    print_table(
        f"Nodes for a faithfulness of {found.bar:g}",
        found.kinds.assign(nodes=reached),
        ["kind", "nodes", "candidates", "metric_clean", "metric_baseline"],
    )
