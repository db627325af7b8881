"""Commands that say what is there: models, tasks, and how fast the machine is."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table
from rich.text import Text

from saecircuits.cli.asked import command_line
from saecircuits.cli.options import (
    AsJson,
)
from saecircuits.cli.showing import (
    OUT,
    print_json,
    print_sheet,
    shown_progress,
)
from saecircuits.errors import RunFolderError


def models(as_json: AsJson = False) -> None:
    """List the shipped models, their dictionaries and how good these are."""
    from saecircuits.splicing.loading import model_names, read_manifest

    manifests = {name: read_manifest(name) for name in model_names()}
    if as_json:
        print_json(manifests)
        return
    for name, manifest in manifests.items():
        OUT.print(Text.assemble((name, "bold"), f": {manifest.get('description', '')}"))
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
    only: Annotated[
        list[str] | None,
        typer.Option(help="nodes, edges, parts, ablation, or all; may be given again."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Use at most this many pairs of the shipped model's task."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for a page, its plots and the figures.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Time the engines side by side on this machine: two published sizes, the shipped model."""
    with shown_progress(as_json) as progress:
        if out is not None and out.exists() and not out.is_dir():
            raise RunFolderError(f"{out} is a file; choose a folder")
        from saecircuits.benchmark import benchmark, sheets, to_json, write

        found = benchmark(
            sizes=size or ["all"],
            engines=engine or ["all"],
            threads=threads or ["1"],
            is_full=full,
            has_curves=curves,
            only=only or ["all"],
            limit=limit,
            command=command_line(),
            progress=progress,
        )
        if out is not None:
            write(found, out)
    if as_json:
        print_json(to_json(found))
        return
    for sheet in sheets(found):
        print_sheet(sheet)
