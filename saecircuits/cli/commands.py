"""The commands. Each loads what it was asked for and calls one public function."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from saecircuits.cli.options import (
    AsJson,
    Baseline,
    Limit,
    ModelName,
    Out,
    Overwrite,
    Release,
    Resume,
    Sites,
    TaskName,
    with_choices,
)
from saecircuits.cli.showing import (
    OUT,
    print_json,
    print_report,
    print_sheet,
    print_table,
    shown_progress,
)
from saecircuits.errors import InputError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Finds, validates and publishes circuits whose nodes are SAE features.",
)


@app.command()
@with_choices
def discover(
    task: TaskName = "pronoun",
    model: ModelName = "stories",
    out: Out = None,
    sites: Sites = None,
    release: Release = None,
    faithfulness: Annotated[
        float, typer.Option(help="Wanted on the training prompts; the smallest such circuit.")
    ] = 0.85,
    nodes: Annotated[int | None, typer.Option(help="Keep this many nodes instead.")] = None,
    edges: Annotated[int | None, typer.Option(help="Keep at most this many edges.")] = None,
    limit: Limit = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    as_json: AsJson = False,
    **choices: Any,
) -> None:
    """Find a circuit, validate it on held-out prompts, and write a folder to open."""
    with shown_progress(as_json) as progress:
        import saecircuits as sc

        settings = _settings(**choices)
        progress("loading", 0.0)
        spliced = _load(model, sites=sites, release=release)
        asked = sc.load_task(task, spliced, limit=limit)
        run = sc.discover(
            spliced,
            asked,
            out or Path("runs") / asked.name,
            settings=settings,
            faithfulness=faithfulness,
            nodes=nodes,
            edges=edges,
            overwrite=overwrite,
            resume=resume,
            command=_command(),
            progress=progress,
        )
    if as_json:
        print_json({"folder": str(run.folder), **run.report.to_json()})
    else:
        print_report(run.report, title=f"{asked.name} in {spliced.name}")
        OUT.print(f"\nThe circuit: {run.folder / 'README.md'}, its picture: figure.svg")


@app.command()
@with_choices
def attribute(
    task: TaskName = "pronoun",
    model: ModelName = "stories",
    out: Out = None,
    sites: Sites = None,
    release: Release = None,
    limit: Limit = None,
    overwrite: Overwrite = False,
    all_edges: Annotated[
        Path | None,
        typer.Option(help="A Parquet file for every edge, also those beyond --max-edges."),
    ] = None,
    as_json: AsJson = False,
    **choices: Any,
) -> None:
    """Compute the effects of nodes and edges, and write them as tables; no circuit is chosen."""
    with shown_progress(as_json) as progress:
        import saecircuits as sc
        from saecircuits.publication import (
            describe_task,
            nothing_left_behind,
            open_folder,
            write_graph,
        )

        settings = _settings(**choices)
        progress("loading", 0.0)
        spliced = _load(model, sites=sites, release=release)
        asked = sc.load_task(task, spliced, limit=limit)
        folder = out or Path("runs") / f"{asked.name}-graph"
        with nothing_left_behind(folder):
            open_folder(folder, overwrite=overwrite)
            graph = sc.attribute(
                spliced, asked.train, settings=settings, all_edges=all_edges, progress=progress
            )
            write_graph(folder, graph, task=describe_task(asked, spliced), command=_command())
    if as_json:
        print_json(
            {
                "folder": str(folder),
                "nodes": len(graph.nodes),
                "edges": len(graph.edges),
                **graph.summary,
            }
        )
    else:
        print_table("Strongest nodes", graph.nodes.head(15), ["node", "token", "effect"])
        OUT.print(f"\n{len(graph.nodes)} nodes and {len(graph.edges)} edges in {folder}")


@app.command()
def validate(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    task: Annotated[
        str | None, typer.Option(help="Other prompts than the run's own task: a name or a file.")
    ] = None,
    model: ModelName = "stories",
    sites: Sites = None,
    release: Release = None,
    baseline: Baseline = "corrupted",
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Ablate a published circuit on the held-out prompts of its task, or of another one."""
    with shown_progress(as_json) as progress:
        import saecircuits as sc

        stored = sc.read_run(run)
        progress("loading", 0.0)
        spliced = _load(model, sites=sites, release=release)
        asked = sc.load_task(_task_of(stored, run, task), spliced, limit=limit)
        progress("validation", 0.0)
        kind = _settings(baseline=baseline).baseline
        report = sc.validate(
            spliced, stored.circuit, asked.test, baseline=kind, reference=asked.train
        )
    if as_json:
        print_json(report.to_json())
    else:
        print_report(report, title=f"{run} on {asked.name}")


@app.command()
def interactions(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    top: Annotated[
        int, typer.Option(help="Members: this many of the circuit's strongest nodes.")
    ] = 12,
    rest: Annotated[
        str, typer.Option(help="All other nodes: at their baseline, or clean.")
    ] = "clean",
    task: Annotated[
        str | None, typer.Option(help="Other prompts than the run's own task: a name or a file.")
    ] = None,
    model: ModelName = "stories",
    sites: Sites = None,
    release: Release = None,
    baseline: Baseline = "corrupted",
    limit: Limit = 32,
    as_json: AsJson = False,
) -> None:
    """Measure how the strongest nodes of a circuit act together: grades, redundancy, backup."""
    with shown_progress(as_json) as progress:
        import saecircuits as sc
        from saecircuits.nonlinearity.node_game import parse_rest

        stored = sc.read_run(run)
        members = stored.circuit.members[:top]
        progress("loading", 0.0)
        spliced = _load(model, sites=sites, release=release)
        asked = sc.load_task(_task_of(stored, run, task), spliced, limit=limit)
        settings = stored.circuit.settings
        progress("interactions", 0.0)
        found = sc.interactions(
            spliced,
            asked.test,
            members,
            rest=parse_rest(rest),
            baseline=_settings(baseline=baseline).baseline,
            positions=settings.positions,
            error_policy=settings.error_policy,
            reference=asked.train,
        )
    if as_json:
        print_json(found.to_json())
        return
    OUT.print(
        f"{len(members)} strongest nodes of {run} on {asked.name}: together {found.total:.3f} "
        f"logits, mean grade {found.mean_grade:.2f}"
    )
    ends = ["low", "high"]
    print_table("By grade", found.spectrum, ["grade", "kind", "total", *ends, "share"])
    print_table("Nodes", found.shapley, ["member", "value", *ends, "alone", "last"])
    print_table(
        f"Most redundant of {len(found.redundancy)} pairs ({len(found.backups)} backups)",
        found.redundancy.head(10),
        ["a", "b", "redundancy", *ends, "joint"],
    )


@app.command()
def linearity(
    task: TaskName = "pronoun",
    model: ModelName = "stories",
    sites: Sites = None,
    release: Release = None,
    limit: Limit = 32,
    as_json: AsJson = False,
) -> None:
    """Measure how linear the model is: Taylor's orders against interventions, layer by layer."""
    with shown_progress(as_json) as progress:
        import saecircuits as sc

        progress("loading", 0.0)
        spliced = _load(model, sites=sites, release=release)
        asked = sc.load_task(task, spliced, limit=limit)
        progress("linearity", 0.0)
        found = sc.linearity(spliced, asked.test)
    if as_json:
        print_json(found.to_json())
        return
    overall = found.agreement[found.agreement["layer"] == "all"]
    orders = [f"{figure}_{order}" for figure in ("pearson", "sign", "error") for order in (1, 2)]
    print_table(
        f"Orders 1 and 2 against measured effects, {asked.name}",
        overall,
        ["kind", "members", *orders],
    )
    figures = ["change", "deviation", "deviation_low", "deviation_high", "bend", "r_squared"]
    print_table("From corrupted to clean stream", found.profile, ["layer", *figures])


@app.command()
def models(as_json: AsJson = False) -> None:
    """List the shipped models, their dictionaries and how good these are."""
    from saecircuits.splicing.loading import model_names, read_manifest

    manifests = {name: read_manifest(name) for name in model_names()}
    if as_json:
        print_json(manifests)
        return
    for name, manifest in manifests.items():
        OUT.print(f"[bold]{name}[/bold]: {manifest.get('description', '')}")
        table = Table(
            Column("dictionary", min_width=25), "kind", "L0", "variance", "recovered", "dead"
        )
        for entry in manifest["dictionaries"]:
            table.add_row(
                entry.get("hook_name_out") or entry["hook_name"],
                entry["kind"],
                f"{entry['mean_l0']:.1f}",
                f"{entry['fraction_variance_explained']:.3f}",
                f"{entry['loss_recovered']:.3f}",
                f"{entry['dead_share']:.1%}",
            )
        OUT.print(table)


@app.command()
def tasks(as_json: AsJson = False) -> None:
    """List the shipped tasks."""
    from saecircuits.tasks import FAMILIES

    if as_json:
        print_json(
            {
                name: {"description": family.description, "example": family.example}
                for name, family in FAMILIES.items()
            }
        )
        return
    table = Table("task", "what it asks", "example")
    for name, family in FAMILIES.items():
        table.add_row(name, family.description, family.example)
    OUT.print(table)


@app.command()
def bench(
    size: Annotated[
        list[str] | None,
        typer.Option(help="gpt2-small, pythia-70m, stories, or all; may be given again."),
    ] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(help="Of the edges: factorised, batched-vjp, single-vjp, or all."),
    ] = None,
    threads: Annotated[
        list[str] | None,
        typer.Option(help="A number, or all for one to a core; may be given again."),
    ] = None,
    full: Annotated[
        bool, typer.Option(help="Measure slow engines on all targets, not on a part, scaled.")
    ] = False,
    curves: Annotated[
        bool, typer.Option(help="Also time over targets, layers and prompt length.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(help="Use at most this many pairs of the shipped model's task.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for a page, its plots and the figures.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Time the engines side by side on this machine: two published sizes, the shipped model."""
    with shown_progress(as_json) as progress:
        from saecircuits.benchmark import benchmark, sheets, to_json, write

        found = benchmark(
            sizes=size or ["all"],
            engines=engine or ["all"],
            threads=threads or ["1"],
            is_full=full,
            has_curves=curves,
            limit=limit,
            command=_command(),
            progress=progress,
        )
        if out is not None:
            write(found, out)
    if as_json:
        print_json(to_json(found))
        return
    for sheet in sheets(found):
        print_sheet(sheet)


def _load(model: str, *, sites: str | None, release: str | None) -> Any:
    import saecircuits as sc

    names = None if sites is None else sites.split(",")
    kind_or_names = names[0] if names and len(names) == 1 and "." not in names[0] else names
    return sc.load_model(model, sites=kind_or_names, release=release)


def _settings(**choices: Any) -> Any:
    """The settings of these choices, which are plain text here and checked there."""
    from pydantic import ValidationError

    import saecircuits as sc

    try:
        return sc.AttributionSettings(**choices)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{first['loc'][0]} is {first['input']!r}: {first['msg']}") from None


def _task_of(stored: Any, folder: Path, given: str | None) -> str:
    """The task asked for, or else the run's own if it is a shipped one."""
    import saecircuits as sc

    if given is not None:
        return given
    if stored.task_name not in sc.task_names():
        raise InputError(
            f"the task of {folder} is {stored.task_name!r}, which is not a shipped one; give its "
            "file with --task"
        )
    return stored.task_name


def _command() -> str:
    return shlex.join(["saecircuits", *sys.argv[1:]])
