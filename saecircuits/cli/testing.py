"""Commands that put a published circuit to the test."""

from pathlib import Path
from typing import Annotated, Any

import typer

from saecircuits.cli.asked import load, task_of
from saecircuits.cli.options import AsJson, Limit, ModelName, Release, Sites
from saecircuits.cli.showing import OUT, print_json, print_table, shown_progress


def hypotheses(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    task: Annotated[
        str | None, typer.Option(help="Other prompts than the run's own task: a name or a file.")
    ] = None,
    model: ModelName = "stories",
    sites: Sites = None,
    release: Release = None,
    baseline: Annotated[str, typer.Option(help="corrupted or zero.")] = "corrupted",
    level: Annotated[float, typer.Option(help="Of every test.")] = 0.05,
    bar: Annotated[float, typer.Option(help="The faithfulness to be above.")] = 0.8,
    random: Annotated[int, typer.Option(help="How many random circuits.")] = 199,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Test a published circuit: effect, sufficiency, necessity, minimality, with corrections."""
    with shown_progress(as_json) as progress:
        import saecircuits as sc

        stored = sc.read_run(run)
        progress("loading", 0.0)
        spliced = load(model, sites=sites, release=release)
        asked = sc.load_task(task_of(stored.task_name, run, task), spliced, limit=limit)
        progress("tests", 0.0)
        kind: Any = baseline
        found = sc.hypotheses(
            spliced,
            stored.circuit,
            asked.test,
            baseline=kind,
            level=level,
            bar=bar,
            n_random=random,
        )
    if as_json:
        print_json(found.to_json())
        return
    print_table(
        f"{run} on {asked.name}, level {level:g}, {found.prompts} prompts",
        found.tests,
        ["test", "question", "value", "against", "p", "rejected"],
    )
    verdict = "a circuit" if found.is_circuit else "no circuit"
    OUT.print(
        f"\nAt level {level:g} this is {verdict}; {found.needed} of {len(found.members)} members "
        "are needed one by one (Holm)."
    )
    smallest = ", ".join(f"{name} {value:.3g}" for name, value in found.smallest.items())
    OUT.print(f"Smallest that would be seen with probability {found.power:g}: {smallest}")
