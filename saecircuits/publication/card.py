"""`write_card`: the README of a run, in plain words and Markdown.

What was asked, what was found, how sure, what it does not show, and how to repeat it. Text that
comes from models and task files is escaped, so that a token such as `|` or `<b>` stays a token.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd

from saecircuits.circuits import Circuit, parts_of
from saecircuits.edges.columns import Row, rows_of
from saecircuits.features.dashboards import CorpusRecord
from saecircuits.features.labels import FeatureLabel
from saecircuits.features.texts import NOT_STATED
from saecircuits.nodes.baselines import told
from saecircuits.nodes.names import METRIC
from saecircuits.publication.certainty import certainty
from saecircuits.publication.contents import Contents
from saecircuits.publication.fit_section import fit_section
from saecircuits.publication.limits import limit_points
from saecircuits.publication.markdown import code, literal, table
from saecircuits.publication.path_words import paths_section
from saecircuits.publication.through import through_note, through_phrase
from saecircuits.runs.folder import (
    CRATE,
    EDGES,
    FEATURES,
    FIGURE,
    FIGURE_PDF,
    GRAPH,
    HUMAN_LABELS,
    LABELS,
    NODES,
    PAGE,
    PARTS,
    PATHS,
    RECORD,
    REPORT,
)
from saecircuits.runs.loading_again import ModelWords, task_call
from saecircuits.runs.phrases import (
    SCORES_NOTE,
    decimal,
    effect_number,
    interval,
    pair_phrase,
    score_rows,
)
from saecircuits.runs.records import CircuitRecord
from saecircuits.shown_text import shown_token, visible
from saecircuits.splicing.sites import make_site
from saecircuits.tasks.prepending import recorded
from saecircuits.validation import ValidationReport

_LISTED: Final = 15
# What of the provenance has rows of its own.
_TOLD_APART: Final = (
    "dictionaries",
    "dictionaries_from",
    "revisions",
    "stated",
    "stored_in",
    "insisted",
    "trained_with",
    "prepended",
)
_EFFECT: Final = ("effect (logits)", "95% interval", "sign held")


def write_card(contents: Contents, *, title: str) -> str:
    """The card as Markdown."""
    circuit, report, labels, record, routes = (
        contents.circuit,
        contents.report,
        contents.labels,
        contents.record,
        contents.routes,
    )
    texts = {(label.site, label.feature): _signed(label) for label in labels}
    sections = [
        f"# {literal(title)}",
        f"![The circuit as a graph; numbers and labels are in the tables below]({FIGURE})",
        "## What was asked",
        _asked(circuit, record),
        "## What was found",
        _found(circuit, report),
        "### Strongest nodes",
        _node_table(circuit.nodes, texts),
        "### Strongest edges",
        _edge_table(circuit, texts),
        *([] if routes is None else ["### Strongest paths", paths_section(routes, labels)]),
        "## How sure",
        certainty(circuit, report),
        *fit_section(circuit),
        "## What this does not show",
        "\n".join(f"- {point}" for point in limit_points(circuit, report, has_labels=bool(labels))),
        "## How it was made",
        _made(circuit, record, report, _texts_used(contents.corpus, contents.licence)),
        "## Files",
        _FILES if routes is None else f"{_FILES}\n{_PATHS_FILE}",
    ]
    return "\n\n".join(sections) + "\n"


_FILES: Final = f"""\
- `{PAGE}`: the circuit as a page to look around in; opens in a browser, without a network
- `{RECORD}`: settings, selection, versions, digests
- `{NODES}`, `{EDGES}`: the whole graph; the column `in_circuit` marks the circuit
- `{PARTS}`: how much of each edge goes through which attention head and MLP
- `{REPORT}`: every figure of the validation, the curve over sizes included
- `{LABELS}`: automatic labels of the features, with contexts
- `{FEATURES}/`: a dashboard of each feature, where the model was at hand: contexts, histogram,
  density, promoted tokens, neighbours
- `{HUMAN_LABELS}`: labels that people wrote, if any (`saecircuits label`)
- `{GRAPH}`: the circuit as attribution-graph JSON, for other viewers (`saecircuits export`)
- `{CRATE}`: all files with their digests, and how they were made, as RO-Crate
- `{FIGURE}`, `{FIGURE_PDF}`: the picture above"""
_PATHS_FILE: Final = f"- `{PATHS}`: the strongest paths, and what all paths carry"


def _asked(circuit: Circuit, record: CircuitRecord) -> str:
    model = literal(record.model)
    if record.task is None:
        asked = f"Which SAE features of {model} carry a behaviour, on prompts without a named task."
    else:
        task = record.task
        asked = (
            f"Which SAE features of {model} carry the task **{literal(task.name)}**: "
            f"{literal(task.description)}\n\n{literal(pair_phrase(task.example))}"
        )
    return (
        f"{asked}\n\nThe metric is the logit of the answer minus the logit of the wrong answer at "
        "the last token, each a mean if there are several. On the training prompts it is "
        f"{_logits(circuit.summary.get('metric_clean'))} with every node clean and "
        f"{_logits(circuit.summary.get('metric_baseline'))} with every node at its baseline "
        f"({told(circuit.settings.baseline).description})."
    )


def _found(circuit: Circuit, report: ValidationReport | None) -> str:
    features = circuit.size - circuit.n_errors
    size = (
        f"A circuit of {circuit.size} nodes ({features} features and {circuit.n_errors} error "
        f"nodes) and {len(circuit.edges):,} edges, chosen from {len(circuit.candidates):,} nodes."
    )
    scores = [(name.capitalize(), value) for name, value in score_rows(circuit.summary)]
    if report is None:
        known = f"\n\n{table(('', 'value'), scores, numbers=1)}" if scores else ""
        return f"{size}\n\nIt was **not validated**: no faithfulness was measured.{known}"
    spread = interval(report.faithfulness_low, report.faithfulness_high)
    rows = [
        ("Faithfulness: this circuit alone", f"{report.faithfulness:.3f}{spread}"),
        ("... with its error nodes at baseline too", decimal(report.faithfulness_without_errors)),
        (
            "Share of its faithfulness that goes with its error nodes",
            "not defined" if report.error_share is None else decimal(report.error_share),
        ),
        *scores,
        ("All features, all error nodes at baseline", decimal(report.all_features_without_errors)),
        ("Completeness: everything but this circuit", decimal(report.completeness)),
        (
            f"{report.random['count']} random circuits of the same size and layers (median)",
            decimal(report.random["median"]),
        ),
    ]
    figures = table(("", "value"), rows, numbers=1)
    note = f"\n\n{SCORES_NOTE}" if scores else ""
    other = "node" if report.ablate == "nodes" else "source of every node"
    return (
        f"{size}\n\nOn {report.prompts} held-out prompts, with every other {other} at its "
        f"{report.baseline} baseline; 0 is the metric with all nodes at baseline, 1 that of the "
        f"whole model:\n\n"
        f"{figures}{note}{_side_by_side(report)}\n\nThe right answer comes before the wrong one on "
        f"{report.accuracy['clean']:.0%} of these prompts for the model and on "
        f"{report.accuracy['circuit']:.0%} for the circuit."
    )


def _side_by_side(report: ValidationReport) -> str:
    """Faithfulness by nodes and by edges, under every baseline; and the areas over sizes."""
    text = ""
    if report.ablations is not None:
        rows = [
            (
                f"{row['baseline']}, by {row['ablate']}",
                f"{row['faithfulness']:.3f}"
                + interval(row["faithfulness_low"], row["faithfulness_high"]),
                f"{row['accuracy']:.0%}",
                f"{row['divergence']:.3f}",
            )
            for row in rows_of(report.ablations)
        ]
        header = ("baseline", "faithfulness", "right answers", "KL from the model (nats)")
        text += (
            "\n\nBy nodes, a kept node reads everything that is kept; by edges, only what the "
            "circuit's edges bring it. Under each baseline:\n\n" + table(header, rows, numbers=3)
        )
        ranges = [
            f"from {low:.3f} to {high:.3f} by {ablate}"
            for ablate in ("nodes", "edges")
            if len(report.ablations) > 2 and (found := report.spread(ablate))
            for low, high in [found]
        ]
        if ranges:
            text += f"\n\nOver the baselines faithfulness goes {' and '.join(ranges)}."
    if report.areas is not None:
        text += (
            f"\n\nOver sizes from a thousandth of the ranking to all of it, faithfulness is "
            f"{decimal(report.areas['cpr'])} on average (CPR) and {decimal(report.areas['cmd'])} "
            "away from 1 (CMD)."
        )
    if report.minimality is not None and report.minimality["node"] is not None:
        drops = [row["drop"] for row in report.minimality["drops"]]
        text += (
            f"\n\nWithout one of its nodes the circuit loses at least "
            f"{decimal(report.minimality['least'])} of faithfulness "
            f"({code(report.minimality['node'])}) and at most {decimal(max(drops))}; "
            f"{sum(drop > 0.001 for drop in drops)} of {len(drops)} nodes add more than 0.001."
        )
    return text


def _node_table(nodes: pd.DataFrame, texts: dict[tuple[str, int], str]) -> str:
    strongest = rows_of(nodes[nodes["kind"] != METRIC].head(_LISTED))
    rows = [
        (
            code(node["node"]),
            literal(shown_token(node["token"])),
            literal(_label(node, texts)),
            *_effect(node),
        )
        for node in strongest
    ]
    return table(("node", "token", "label", *_EFFECT), rows, numbers=3)


def _edge_table(circuit: Circuit, texts: dict[tuple[str, int], str]) -> str:
    if not len(circuit.edges):
        return "The circuit has no edges."
    by_id = {node["node"]: node for node in rows_of(circuit.nodes)}
    strongest = circuit.strongest_edges(_LISTED)
    parts = parts_of(circuit.edge_parts, strongest)
    by_edge = {ends: rows_of(found) for ends, found in parts.groupby(["source", "target"])}
    rows = []
    for edge in rows_of(strongest):
        ends = [by_id[edge[end]] for end in ("source", "target")]
        shown = [literal(f"{_short_name(end)} {_label(end, texts)}".strip()) for end in ends]
        through = through_phrase(by_edge.get((edge["source"], edge["target"]), []), edge["effect"])
        rows.append((*shown, through, *_effect(edge)))
    header = ("from", "to", "through", *_EFFECT)
    if by_edge:
        return (
            f"{table(header, rows, numbers=3)}\n\n{through_note(parts['part'].unique().tolist())}"
        )
    return table(
        [name for name in header if name != "through"],
        [(*row[:2], *row[3:]) for row in rows],
        numbers=3,
    )


def _made(
    circuit: Circuit,
    record: CircuitRecord,
    report: ValidationReport | None,
    texts_used: Sequence[tuple[str, str]],
) -> str:
    settings = ", ".join(f"{key}={value!r}" for key, value in record.settings.model_dump().items())
    names = {"by": "method"}
    choices = ", ".join(
        f"{names.get(key, key)}={value!r}"
        for key, value in sorted(circuit.selection.items())
        if (key, value) != ("by", "effect")
    )
    by_hand = "...  # the one named below, with the dictionaries named below spliced in"
    lines = [
        "import saecircuits as sc",
        "",
        f"model = {ModelWords.of(record).call or by_hand}",
        f"task = {task_call(record) or '...  # the prompts, as a Task'}",
        f"graph = sc.attribute(model, task.train, {settings})",
        f"circuit = sc.prune(graph, {choices})",
    ]
    if report is not None:
        lines.append(
            f"report = sc.validate(model, circuit, task.test, ablate={report.ablate!r}, "
            f"baseline={report.baseline!r})"
        )
    again = "```python\n" + "\n".join(lines) + "\n```"
    if record.command is not None:
        again = f"```sh\n{visible(record.command)}\n```\n\nor, from Python:\n\n{again}"
    return f"{again}\n\n{table(('what', 'which'), [*_sources(record), *texts_used])}"


def _sources(record: CircuitRecord) -> list[tuple[str, str]]:
    """Digests and versions, one to a row."""
    known = record.provenance
    origin, stored = known.get("dictionaries_from", {}), known.get("stored_in", {})
    rows = [
        (
            literal(f"dictionary {hook}"),
            code(str(digest))
            + (f", {code(origin[hook])}" if hook in origin else "")
            + (f", stored in {literal(stored[hook])}" if hook in stored else ""),
        )
        for hook, digest in sorted(
            known.get("dictionaries", {}).items(), key=lambda item: make_site(item[0], item[:1])
        )
    ]
    rows += [
        (literal(f"revision of {repository}"), code(commit))
        for repository, commit in known.get("revisions", {}).items()
    ]
    rows += [("insisted on", literal(said)) for said in known.get("insisted", ())]
    rows += [
        (literal(key.replace("_", " ")), code(str(value)))
        for key, value in known.items()
        if key not in _TOLD_APART
    ]
    rows += [
        (literal(f"texts that {hook} was trained on"), code(_pairs(said)))
        for hook, said in known.get("trained_with", {}).items()
    ]
    front = recorded(known)
    if front is not None:
        rows.append(("in front of every prompt", code(visible(str(front)))))
    if record.task is not None:
        rows.append(("task, both halves", code(record.task.digest)))
    rows += [(name.replace("_", " "), code(version)) for name, version in record.versions]
    return rows


def _pairs(said: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in said.items())


def _texts_used(corpus: CorpusRecord | None, licence: str | None) -> list[tuple[str, str]]:
    """What was read beside the task, and under which licences words of it and the run stand."""
    rows = [("licence of this run", literal(licence or NOT_STATED))]
    if corpus is None:
        return rows
    shown = "" if corpus.is_shown else "; its words are not shown"
    return [
        ("text that features were looked at on", f"{literal(corpus.source)}, {corpus.tokens:,} "
         f"tokens{shown}"),
        ("licence of that text", literal(corpus.licence)),
        *rows,
    ]  # fmt: skip


def _signed(label: FeatureLabel) -> str:
    """The text, with its author's name if a person wrote it."""
    return label.text if label.author is None else f"{label.text} ({label.author})"


def _label(node: Row, texts: dict[tuple[str, int], str]) -> str:
    if node["kind"] == "feature":
        return texts.get((node["site"], node["feature"]), "")
    return "" if node["kind"] == METRIC else f"({node['kind']})"


def _short_name(node: Row) -> str:
    """Such as `L2 resid_post f217 at name`."""
    if node["kind"] == METRIC:
        return METRIC
    if node["kind"] == "token":
        return f"{shown_token(node['token'])} at {node['span']}"
    site = make_site(node["site"], (node["site"],)).label
    what = f"f{node['feature']}" if node["kind"] == "feature" else node["kind"]
    return f"{site} {what} at {node['span']}"


def _effect(row: Row) -> tuple[str, str, str]:
    """Effect, interval, and the share of prompts with its sign."""
    low, high, held = row["effect_low"], row["effect_high"], row["sign_stability"]
    return (
        effect_number(row["effect"]),
        "" if math.isnan(low) else f"{effect_number(low)} to {effect_number(high)}",
        "" if math.isnan(held) else f"{held:.0%}",
    )


def _logits(value: Any) -> str:
    return "unknown" if value is None else f"{effect_number(value)} logits"
