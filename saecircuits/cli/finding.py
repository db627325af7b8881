"""Commands that find, measure and validate circuits."""

from pathlib import Path
from typing import Annotated, Any

import typer

from saecircuits.cli.asked import (
    AS_RECORDED,
    SHIPPED,
    ModelSource,
    RunSource,
    check_contexts,
    command_line,
    contexts_of,
    settings_of,
)
from saecircuits.cli.options import (
    AsJson,
    Baselines,
    ContextsFile,
    ContextsLicence,
    ContextsTokens,
    Licence,
    Limit,
    NoContexts,
    Out,
    Overwrite,
    Resume,
    TaskName,
    with_choices,
    with_model,
    with_run,
)
from saecircuits.cli.showing import (
    print_fit,
    print_front,
    print_json,
    print_report,
    print_run,
    print_table,
    run_as_json,
    say,
    shown_progress,
)
from saecircuits.new_file import check_new_file
from saecircuits.runs.folder import check_folder


@with_model
@with_choices
def discover(
    task: TaskName = "pronoun",
    source: ModelSource = SHIPPED,
    out: Out = None,
    faithfulness: Annotated[
        float, typer.Option(help="Wanted on the training prompts; the smallest such circuit.")
    ] = 0.85,
    nodes: Annotated[int | None, typer.Option(help="Keep this many nodes instead.")] = None,
    edges: Annotated[int | None, typer.Option(help="Keep at most this many edges.")] = None,
    method: Annotated[
        str, typer.Option(help="How nodes are chosen: effect, signed, paths, greedy, or masks.")
    ] = "effect",
    errors: Annotated[bool, typer.Option(help="Error nodes may be kept.")] = True,
    thorough: Annotated[
        bool, typer.Option(help="Validate under every baseline, and without each node in turn.")
    ] = False,
    limit: Limit = None,
    contexts: ContextsFile = None,
    contexts_licence: ContextsLicence = None,
    contexts_tokens: ContextsTokens = None,
    no_contexts: NoContexts = False,
    licence: Licence = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    as_json: AsJson = False,
    **choices: Any,
) -> None:
    """Find a circuit, validate it on held-out prompts, and write a folder to open."""
    with shown_progress(as_json) as progress:
        # Everything that can be refused without the model is, before anything else is loaded.
        folder = check_folder(
            out or Path("runs") / Path(task).stem, overwrite=overwrite, resume=resume
        )
        import saecircuits as sc
        from saecircuits.circuits import check_choice

        settings = settings_of(**choices)
        how: Any = method
        check_choice(how, nodes=nodes, edges=edges, faithfulness=faithfulness)
        check_contexts(contexts, contexts_licence)
        spliced, asked = source.load_with(task, progress, limit=limit)
        text = contexts_of(
            contexts,
            contexts_licence,
            n_tokens=contexts_tokens,
            is_shown=not no_contexts,
            model=spliced,
            settings=settings,
            progress=progress,
        )
        run = sc.discover(
            spliced,
            asked,
            folder,
            settings=settings,
            faithfulness=faithfulness,
            nodes=nodes,
            edges=edges,
            method=how,
            with_errors=errors,
            thorough=thorough,
            overwrite=overwrite,
            resume=resume,
            command=command_line(),
            contexts=text,
            licence=licence,
            progress=progress,
        )
    if as_json:
        print_json(run_as_json(run))
    else:
        print_run(run, title=f"{asked.name} in {spliced.name}")
        say(f"\nThe circuit: {run.folder / 'report.html'}, its card: README.md")


@with_model
@with_choices
def attribute(
    task: TaskName = "pronoun",
    source: ModelSource = SHIPPED,
    out: Out = None,
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
        folder = check_folder(out or Path("runs") / f"{Path(task).stem}-graph", overwrite=overwrite)
        if all_edges is not None:
            check_new_file(all_edges, is_replaced=False)
        import saecircuits as sc
        from saecircuits.runs.opening import nothing_left_behind, open_folder
        from saecircuits.runs.phrases import score_rows
        from saecircuits.runs.records import describe_task
        from saecircuits.runs.writing import write_graph

        settings = settings_of(**choices)
        spliced, asked = source.load_with(task, progress, limit=limit)
        with nothing_left_behind(folder):
            open_folder(folder, overwrite=overwrite)
            graph = sc.attribute(
                spliced, asked.train, settings=settings, all_edges=all_edges, progress=progress
            )
            write_graph(folder, graph, task=describe_task(asked, spliced), command=command_line())
    if as_json:
        print_json(
            {
                "folder": str(folder),
                "nodes": len(graph.nodes),
                "edges": len(graph.edges),
                "prepended": asked.train.prepended.to_json(),
                **graph.summary,
            }
        )
    else:
        print_fit(graph.summary["fit"])
        print_table("Strongest nodes", graph.nodes.head(15), ["node", "token", "effect"])
        for name, value in score_rows(graph.summary):
            say(f"{name}: {value}")
        print_front(graph)
        say(f"\n{len(graph.nodes)} nodes and {len(graph.edges)} edges in {folder}")


@with_run
def validate(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    again: RunSource = AS_RECORDED,
    baseline: Baselines = "corrupted",
    ablate: Annotated[
        str, typer.Option(help="What curve, completeness and random circuits are of: nodes, edges.")
    ] = "nodes",
    drops: Annotated[
        bool, typer.Option(help="Also measure what each node of the circuit adds.")
    ] = False,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Ablate a published circuit on the held-out prompts of its task, or of another one.

    Its faithfulness is measured by nodes and by edges, under every baseline.
    """
    with shown_progress(as_json) as progress:
        import saecircuits as sc
        from saecircuits.validation import check_ways

        kinds: list[Any] = baseline.split(",")
        how: Any = ablate
        check_ways(how, kinds)
        stored = sc.read_run(run)
        spliced, asked = again.load(stored.record, run, progress, limit=limit)
        progress("validation", 0.0)
        report = sc.validate(
            spliced,
            stored.circuit,
            asked.test,
            ablate=how,
            baseline=kinds,
            reference=asked.train,
            with_drops=drops,
        )
    if as_json:
        print_json(report.to_json())
    else:
        print_report(report, title=f"{run} on {asked.name}", about=stored.circuit)


def compare(
    first: Annotated[
        Path, typer.Argument(help="A run's folder, or a graph of any format read here.")
    ],
    second: Annotated[Path, typer.Argument(help="Another, of the same model and dictionaries.")],
    as_json: AsJson = False,
) -> None:
    """Say what two published circuits share: nodes, edges, effects, and their figures."""
    with shown_progress(as_json):
        import saecircuits as sc

        runs = {str(path): sc.read_graph_file(path) for path in (first, second)}
        if len(runs) < 2:
            raise sc.InputError(f"compare was given {first} twice; give two runs")
        found = sc.compare(*(run.circuit for run in runs.values()), names=tuple(runs))
    reports = {name: run.report for name, run in runs.items() if run.report is not None}
    if as_json:
        print_json(
            {
                **found.to_json(),
                "faithfulness": {
                    name: {way: report.faithfulness_of(way) for way in ("nodes", "edges")}
                    for name, report in reports.items()
                },
            }
        )
        return
    figures = ["circuit", "nodes", "error_nodes", "edges", "method", "effect"]
    figures += ["replacement", "features_share"]
    print_table("Circuits", found.figures, figures)
    overlaps = ["of", "shared", "only_first", "only_second", "jaccard", "pearson", "spearman"]
    print_table("What they share", found.overlaps, overlaps)
    # Nodes of other programs' graphs have no effects to be ranked by; their edges have.
    of = "edges" if found.figures["effect"].isna().any() else "nodes"
    strongest = found.edges if of == "edges" else found.nodes
    print_table(f"Strongest {of}", strongest.head(15), list(strongest.columns))
    for name, report in reports.items():
        say(
            f"{name}: faithfulness {report.faithfulness:.3f} by {report.ablate}, "
            f"{report.prompts} held-out prompts"
        )
