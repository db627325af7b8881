"""Commands that look into a run, a prompt or a model."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from saecircuits.cli.asked import AS_RECORDED, SHIPPED, ModelSource, RunSource, settings_of
from saecircuits.cli.options import (
    AsJson,
    Baseline,
    Limit,
    TaskName,
    with_model,
    with_run,
)
from saecircuits.cli.showing import (
    print_expansion,
    print_json,
    print_table,
    say,
    shown_progress,
)

_PAIRS_SHOWN: Final = 12


@with_run
def paths(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    k: Annotated[int, typer.Option("-k", help="How many paths.")] = 20,
    target: Annotated[
        str, typer.Option("--to", help="Where paths end: metric, or the id of a feature node.")
    ] = "metric",
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            help="Where they begin: tokens, errors, features, or node ids; may be given again.",
        ),
    ] = None,
    by: Annotated[
        str, typer.Option(help="A step is an edge (edges) or one component of it (parts).")
    ] = "edges",
    sign: Annotated[str, typer.Option(help="either, positive, or negative.")] = "either",
    ablate: Annotated[
        bool,
        typer.Option(
            help="Also keep the listed paths alone, and measure what held-out prompts do."
        ),
    ] = False,
    again: RunSource = AS_RECORDED,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """List the strongest paths of features through a run's graph, and what all paths carry."""
    with shown_progress(as_json) as progress:
        import saecircuits as sc
        from saecircuits.circuits import check_routes
        from saecircuits.circuits.path_circuits import path_circuit
        from saecircuits.publication.path_words import labels_by_node
        from saecircuits.runs.feature_files import read_labels_if_any
        from saecircuits.runs.records import read_record
        from saecircuits.runs.stored import read_graph

        check_routes(k, sign=sign, by=by)
        record, graph, labels = read_record(run), read_graph(run), read_labels_if_any(run)
        spliced, asked = again.load(record, run, progress, limit=limit)
        progress("paths", 0.0)
        wanted = source[0] if source is not None and len(source) == 1 else source
        routes = sc.paths(
            graph,
            graph.on(spliced, asked.train),
            k=k,
            source=wanted,
            target=target,
            by=by,
            sign=sign,
        )
        alone = None
        if ablate:
            progress("ablation", 0.0)
            alone = sc.validate(spliced, path_circuit(graph, routes), asked.test, n_random=0)
    if as_json:
        ablated = {} if alone is None else {"ablated": alone.to_json()}
        print_json({**routes.to_json(), **ablated})
        return
    for line in routes.sentences(labels_by_node(routes, labels)):
        say(line)
    if alone is not None:
        say(
            f"Kept alone, the listed paths have {alone.nodes} nodes and {alone.edges} edges. "
            f"Faithfulness on {alone.prompts} held-out prompts: "
            f"{alone.faithfulness_of('edges'):.3f} by these edges, "
            f"{alone.faithfulness_of('nodes'):.3f} by the nodes with all edges between them."
        )


@with_run
def interactions(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    top: Annotated[
        int, typer.Option(help="Members: this many of the circuit's strongest nodes.")
    ] = 12,
    rest: Annotated[
        str, typer.Option(help="All other nodes: at their baseline, or clean.")
    ] = "clean",
    again: RunSource = AS_RECORDED,
    baseline: Baseline = "corrupted",
    limit: Limit = 32,
    as_json: AsJson = False,
) -> None:
    """Measure how the strongest nodes of a circuit act together: grades, redundancy, backup."""
    with shown_progress(as_json) as progress:
        import saecircuits as sc
        from saecircuits.nonlinearity.members import check_count
        from saecircuits.nonlinearity.node_game import parse_rest

        others = parse_rest(rest)
        kind = settings_of(baseline=baseline).baseline
        stored = sc.read_run(run)
        members = stored.circuit.members[: max(0, top)]
        check_count(len(members))
        spliced, asked = again.load(stored.record, run, progress, limit=limit)
        settings = stored.circuit.settings
        progress("interactions", 0.0)
        found = sc.interactions(
            spliced,
            asked.test,
            members,
            rest=others,
            baseline=kind,
            positions=settings.positions,
            error_policy=settings.error_policy,
            reference=asked.train,
        )
    if as_json:
        print_json(found.to_json())
        return
    say(
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


@with_model
def expand(
    prompt: Annotated[str, typer.Option(help="The text whose next token is predicted.")],
    source: ModelSource = SHIPPED,
    by: Annotated[str, typer.Option(help="Of attention: layer or head.")] = "layer",
    operator: Annotated[
        str, typer.Option(help="secant, or frozen: first order (tangent gates).")
    ] = "secant",
    corrupted: Annotated[
        str | None,
        typer.Option(
            help="A prompt as long, token by token, that changes are measured from; without it, "
            "token embeddings at zero, all but of what is prepended."
        ),
    ] = None,
    answer: Annotated[
        str | None, typer.Option(help="Of the metric, one token; else the most likely one.")
    ] = None,
    wrong: Annotated[
        str | None, typer.Option(help="Taken off it, one token; else the next most likely.")
    ] = None,
    limit: Annotated[
        int,
        typer.Option(
            min=0, help="Of applications of a component, for the naive sum and for paths each."
        ),
    ] = 1000,
    as_json: AsJson = False,
) -> None:
    """Expand a prompt's stream by degree: exactly, naively, and path by path."""
    with shown_progress(as_json) as progress:
        import saecircuits as sc
        from saecircuits.expansion.affine import check_choices

        check_choices(operator, by)
        progress("loading", 0.0)
        spliced = source.load(progress)
        asked: dict[str, Any] = {
            "by": by,
            "corrupted": corrupted,
            "answer": answer,
            "wrong": wrong,
        }
        progress("expanding", 0.0)
        expansion = sc.expand(spliced, prompt, operator=operator, naive_limit=limit, **asked)
        progress("paths", 0.0)
        paths = sc.treeify(spliced, prompt, **asked).paths(limit=limit)
    if as_json:
        print_json({**expansion.to_json(), "treeified": paths.to_json()})
    else:
        print_expansion(expansion, paths)


@with_model
def attention(
    prompt: Annotated[str, typer.Option(help="The text, without what is prepended.")],
    layer: Annotated[int, typer.Option(min=0, help="The layer of the head, from 0.")],
    head: Annotated[int, typer.Option(min=0, help="The head, from 0.")],
    query: Annotated[
        int | None, typer.Option(help="Position that looks, from 0; the last by default.")
    ] = None,
    key: Annotated[
        int | None, typer.Option(help="Position looked at; by default the one looked at most.")
    ] = None,
    by: Annotated[str, typer.Option(help="features or components.")] = "features",
    source: ModelSource = SHIPPED,
    as_json: AsJson = False,
) -> None:
    """Say which features, or components, make a head look where it looks."""
    from saecircuits.heads import Question, scores_of_head
    from saecircuits.heads.terms import check_basis

    check_basis(by)
    with shown_progress(as_json) as progress:
        progress("loading", 0.0)
        spliced = source.load(progress)
    asked = Question(query, key, by, top=None if as_json else _PAIRS_SHOWN)
    found = scores_of_head(spliced, prompt, layer, head, asked)
    if as_json:
        print_json(found.to_json())
        return
    where = f"L{layer}.H{head} from {found.query} {found.tokens[found.query]!r}"
    looked = found.keys.sort_values("pattern", ascending=False).head(8)
    print_table(where, looked, ["key", "token", "pattern", "score", "contrast"])
    title = f"Why {found.key} {found.tokens[found.key]!r}: strongest pairs"
    print_table(title, found.pairs, ["query_term", "key_term", "score", "contrast"])


@with_model
def linearity(
    task: TaskName = "pronoun",
    source: ModelSource = SHIPPED,
    limit: Limit = 32,
    as_json: AsJson = False,
) -> None:
    """Measure how linear the model is: Taylor's orders against interventions, layer by layer."""
    with shown_progress(as_json) as progress:
        import saecircuits as sc

        spliced, asked = source.load_with(task, progress, limit=limit)
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
