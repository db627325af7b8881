"""Commands that hand a run on: to other programs, and to people who name its features."""

from pathlib import Path
from typing import Annotated, Any

import typer

from saecircuits.cli.asked import AS_RECORDED, RunSource
from saecircuits.cli.options import AsJson, with_run
from saecircuits.cli.showing import print_json, say, shown_progress
from saecircuits.errors import InputError


@with_run
def draw(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    out: Annotated[
        list[Path] | None,
        typer.Option(help="A .svg or .pdf file; may be given again. Default: the run's own two."),
    ] = None,
    groups: Annotated[
        str,
        typer.Option(
            help='suggested, none, a JSON file {"name": ["id", ...]}, or the address of the run\'s '
            "page with groups made there."
        ),
    ] = "suggested",
    measure: Annotated[
        bool,
        typer.Option(
            help="Ablate circuit and groups once more on held-out prompts; loads the model."
        ),
    ] = False,
    again: RunSource = AS_RECORDED,
    as_json: AsJson = False,
) -> None:
    """Draw a published circuit with groups, as SVG and PDF for papers."""
    with shown_progress(as_json) as progress:
        import saecircuits as sc
        from saecircuits.publication.drawing import check_figure_path, groups_of, replace_figure
        from saecircuits.publication.grouping import read_groups

        for path in out or ():
            check_figure_path(path)
        stored = sc.read_run(run)
        wanted: Any = groups if groups in ("suggested", "none") else read_groups(groups)
        drawn = groups_of(stored.circuit, wanted)
        report = stored.report
        if measure:
            spliced, asked = again.load(stored.record, run, progress)
            progress("ablation", 0.0)
            kind: Any = "corrupted" if report is None else report.baseline
            report = sc.validate(
                spliced,
                stored.circuit,
                asked.test,
                baseline=kind,
                reference=asked.train,
                with_drops=report is not None and report.minimality is not None,
                groups=[group.nodes for group in drawn],
            )
        figure = sc.draw(stored, groups=wanted, report=report)
        paths = [figure.save(path) for path in out] if out else replace_figure(run, figure)
    if as_json:
        shown = [{"name": group.name, "nodes": group.nodes} for group in drawn]
        print_json({"files": [str(path) for path in paths], "groups": shown})
        return
    for path in paths:
        say(f"{len(drawn)} groups: {path}")


def export(
    run: Annotated[
        Path | None, typer.Argument(help="A run's folder, or a graph of any format read here.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="neuronpedia, circuit-tracer, graphml, gexf, dot, cytoscape, node-link, or csv."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File or folder; by default here, named after the run.")
    ] = None,
    pin: Annotated[
        list[str] | None,
        typer.Option(help="Id of a node that viewers show pinned; may be given again."),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(help="Check this attribution-graph JSON instead, for --target or both."),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace what is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a run's circuit for another program, or check a graph that one has written."""
    import saecircuits as sc

    if check is not None:
        if run is not None:
            raise InputError(f"{run} was to be exported and {check} to be checked; choose one")
        _check(check, target, as_json)
        return
    if run is None or target is None:
        raise InputError("give a run's folder and --target, or a file with --check")
    graph = run if (run / "circuit.json").exists() else sc.read_graph_file(run)
    path = sc.export(graph, target, out, pins=pin, overwrite=overwrite)
    notes = [] if isinstance(graph, Path) else list(graph.notes)
    if as_json:
        print_json({"path": str(path), "target": target, "notes": notes})
        return
    for note in notes:
        say(note)
    say(f"{target}: {path}")


def label(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    node: Annotated[str, typer.Argument(help="Id of a feature node; @place may be left out.")],
    text: Annotated[str, typer.Argument(help="What the feature means.")],
    author: Annotated[str, typer.Option(help="Who says so.")],
    date: Annotated[str | None, typer.Option(help="Year-month-day; today by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Name a feature; kept apart from automatic labels, and shown in their place at once."""
    from saecircuits.publication.views import refresh_views
    from saecircuits.runs.human_labels import add_label
    from saecircuits.runs.records import read_record

    made = add_label(run, read_record(run), node, text, author=author, date=date)
    written = refresh_views(run)
    if as_json:
        print_json({**made.model_dump(), "refreshed": written})
        return
    where = f"{', '.join(written)} and exports" if written else "Exports"
    say(f"{made.site}.f{made.feature}: {made.text} ({made.author}, {made.date}). {where} show it.")


def _check(path: Path, target: str | None, as_json: bool) -> None:
    from dataclasses import asdict

    import saecircuits as sc

    found = sc.check_graph(path, target=target)
    errors = [one for one in found if one.level == "error"]
    if as_json:
        print_json({"file": str(path), "errors": len(errors), "findings": [*map(asdict, found)]})
    else:
        for one in found:
            viewers = ", ".join(one.viewers)
            say(f"{one.level} {one.rule} ({viewers}): {one.message}")
        if not found:
            say(f"{path}: nothing found")
    if errors:
        raise InputError(f"{path} has {len(errors)} errors; {errors[0].message}")
