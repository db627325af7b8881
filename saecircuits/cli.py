"""The command line. Thin: each command loads what it was asked for and calls one public function.

Heavy libraries are imported inside the commands, so that `--help` answers at once. Exit status: 0
done, 2 bad input (one line on the error stream, nothing written), 1 a fault of ours.
"""

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from saecircuits.errors import InputError, SaecircuitsError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Finds, validates and publishes circuits whose nodes are SAE features.",
)
OUT = Console(highlight=False)
NOTES = Console(stderr=True, highlight=False)

TaskName = Annotated[
    str, typer.Argument(help="A shipped task (see `tasks`), or a .jsonl file of prompt pairs.")
]
ModelName = Annotated[
    str, typer.Option("--model", help="A shipped model (see `models`), or a folder.")
]
Sites = Annotated[
    str | None,
    typer.Option(help="Where dictionaries are spliced: a kind such as resid_post, or hook names."),
]
Release = Annotated[
    str | None, typer.Option(help="An SAE release of sae_lens, for a model from a hub.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Out = Annotated[Path | None, typer.Option("--out", help="The run's folder.")]
Estimator = Annotated[
    str, typer.Option(help="gradient, integrated_gradients, or intervention (exact, slow).")
]
Linearization = Annotated[str, typer.Option(help="full, frozen, or secant.")]
Positions = Annotated[str, typer.Option(help="each, span, or sum.")]
ErrorPolicy = Annotated[str, typer.Option(help="recompute or hold.")]
Baseline = Annotated[str, typer.Option(help="corrupted, mean, or zero.")]
Engine = Annotated[
    str, typer.Option(help="Of the edges: auto, factorised, or reference (autograd, slow).")
]
MaxNodes = Annotated[int, typer.Option(help="Edges are computed among this many nodes.")]
Seed = Annotated[int, typer.Option(help="Seed of every random draw.")]
Limit = Annotated[
    int | None, typer.Option(help="Use at most this many pairs of each half of the task.")
]
Overwrite = Annotated[bool, typer.Option(help="Replace a run that the folder holds.")]
Resume = Annotated[bool, typer.Option(help="Continue a run that the folder holds.")]


@app.command()
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
    estimator: Estimator = "gradient",
    linearization: Linearization = "full",
    positions: Positions = "span",
    error_policy: ErrorPolicy = "recompute",
    baseline: Baseline = "corrupted",
    engine: Engine = "auto",
    max_nodes: MaxNodes = 300,
    limit: Limit = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    resume: Resume = False,
    as_json: AsJson = False,
) -> None:
    """Find a circuit, validate it on held-out prompts, and write a folder to open."""
    with _progress(as_json) as progress:
        import saecircuits as sc

        settings = _settings(
            estimator=estimator,
            linearization=linearization,
            positions=positions,
            error_policy=error_policy,
            baseline=baseline,
            engine=engine,
            max_nodes=max_nodes,
            seed=seed,
        )
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
        _print_json({"folder": str(run.folder), **run.report.to_json()})
    else:
        _print_report(run.report, title=f"{asked.name} in {spliced.name}")
        OUT.print(f"\nThe circuit: {run.folder / 'README.md'}, its picture: figure.svg")


@app.command()
def attribute(
    task: TaskName = "pronoun",
    model: ModelName = "stories",
    out: Out = None,
    sites: Sites = None,
    release: Release = None,
    estimator: Estimator = "gradient",
    linearization: Linearization = "full",
    positions: Positions = "span",
    error_policy: ErrorPolicy = "recompute",
    baseline: Baseline = "corrupted",
    engine: Engine = "auto",
    max_nodes: MaxNodes = 300,
    limit: Limit = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Compute the effects of nodes and edges, and write them as tables; no circuit is chosen."""
    with _progress(as_json) as progress:
        import saecircuits as sc
        from saecircuits.publication import (
            describe_task,
            nothing_left_behind,
            open_folder,
            write_graph,
        )

        settings = _settings(
            estimator=estimator,
            linearization=linearization,
            positions=positions,
            error_policy=error_policy,
            baseline=baseline,
            engine=engine,
            max_nodes=max_nodes,
            seed=seed,
        )
        progress("loading", 0.0)
        spliced = _load(model, sites=sites, release=release)
        asked = sc.load_task(task, spliced, limit=limit)
        folder = out or Path("runs") / f"{asked.name}-graph"
        with nothing_left_behind(folder):
            open_folder(folder, overwrite=overwrite)
            graph = sc.attribute(spliced, asked.train, settings=settings, progress=progress)
            write_graph(folder, graph, task=describe_task(asked, spliced), command=_command())
    if as_json:
        _print_json(
            {
                "folder": str(folder),
                "nodes": len(graph.nodes),
                "edges": len(graph.edges),
                **graph.summary,
            }
        )
    else:
        _print_table("Strongest nodes", graph.nodes.head(15), ["node", "token", "effect"])
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
    with _progress(as_json) as progress:
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
        _print_json(report.to_json())
    else:
        _print_report(report, title=f"{run} on {asked.name}")


@app.command()
def models(as_json: AsJson = False) -> None:
    """List the shipped models, their dictionaries and how good these are."""
    from saecircuits.splicing.loading import model_names, read_manifest

    manifests = {name: read_manifest(name) for name in model_names()}
    if as_json:
        _print_json(manifests)
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
        _print_json(
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


def main() -> None:
    """The entry point: turns the package's errors into one line and exit status 2."""
    try:
        app(standalone_mode=False)
    except InputError as error:
        NOTES.print(f"saecircuits: {error}", markup=False, soft_wrap=True)
        sys.exit(2)
    except typer.Abort:
        sys.exit(130)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except SaecircuitsError as error:
        NOTES.print(f"saecircuits: {error}", markup=False, soft_wrap=True)
        sys.exit(1)
    except Exception as error:
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        # A usage error of the parser: one line, not a page.
        NOTES.print(f"saecircuits: {message()}", markup=False, soft_wrap=True)
        sys.exit(2)


@contextmanager
def _progress(is_quiet: bool) -> Iterator[Callable[[str, float], None]]:
    """A bar on the error stream that shows the current stage; nothing where a program reads."""
    with Progress(
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=NOTES,
        transient=True,
        disable=is_quiet or not NOTES.is_terminal,
    ) as bar:
        shown = bar.add_task("starting", total=None)

        def show(stage: str, share: float) -> None:
            bar.update(shown, description=stage, completed=share, total=1.0 if share > 0 else None)

        yield show


def _load(model: str, *, sites: str | None, release: str | None) -> Any:
    import saecircuits as sc

    names = None if sites is None else sites.split(",")
    kind_or_names = names[0] if names and len(names) == 1 and "." not in names[0] else names
    return sc.load_model(model, sites=kind_or_names, release=release)


def _settings(**choices: Any) -> Any:
    """The settings of these choices, which are plain text here and checked there."""
    import saecircuits as sc

    return sc.AttributionSettings(**choices)


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


def _print_json(value: Any) -> None:
    from saecircuits.publication import plain

    sys.stdout.write(json.dumps(plain(value), allow_nan=False) + "\n")


def _print_report(report: Any, *, title: str) -> None:
    table = Table(title=title, show_header=False)
    interval = f"[{report.faithfulness_low:.3f}, {report.faithfulness_high:.3f}]"
    rows = [
        ("nodes (of which error nodes)", f"{report.nodes} ({report.errors})"),
        ("held-out prompts", str(report.prompts)),
        ("faithfulness, 95% interval", f"{report.faithfulness:.3f} {interval}"),
        ("the same, all error nodes at baseline", f"{report.faithfulness_without_errors:.3f}"),
        ("all features, all error nodes at baseline", f"{report.all_features_without_errors:.3f}"),
        (
            "share carried by error nodes",
            "none" if report.error_share is None else f"{report.error_share:.1%}",
        ),
        ("completeness: faithfulness of the rest", f"{report.completeness:.3f}"),
        (f"{report.random['count']} random circuits, median", f"{report.random['median']:.3f}"),
    ]
    if report.calibration is not None:
        for what in ("nodes", "edges"):
            figures = report.calibration[what]
            rows.append((f"calibration of {what}, Spearman", f"{figures['spearman']:.3f}"))
    for name, value in rows:
        table.add_row(name, value)
    OUT.print(table)


def _print_table(title: str, frame: Any, columns: list[str]) -> None:
    table = Table(*columns, title=title)
    for row in frame[columns].itertuples(index=False):
        table.add_row(*(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row))
    OUT.print(table)
