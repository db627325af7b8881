"""What the commands show: progress while they run, then tables for people or JSON for programs."""

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from saecircuits.errors import inert
from saecircuits.progress import Progress
from saecircuits.progress import shown_progress as bar_of_stages


class _Plain(Console):
    """Shows text as it is: what is printed holds names of files, tokens and labels of others.

    Neither `[brackets]` nor `:names:` are read as markup, and what a terminal would act on is
    written as an escape. Every text that is printed, in a table too, passes `render_str`.
    """

    def __init__(self, **choices: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **choices)

    def render_str(self, text: str, **choices: Any) -> Text:
        return super().render_str(inert(text, keep="\n"), **choices)


OUT = _Plain()
NOTES = _Plain(stderr=True)


def complain(message: str) -> None:
    """One line on the error stream."""
    NOTES.print(inert(f"saecircuits: {message}"), soft_wrap=True)


def say(line: str) -> None:
    """A line of output, however long."""
    OUT.print(line, soft_wrap=True)


def shown_progress(is_quiet: bool) -> AbstractContextManager[Progress]:
    """A bar on the error stream that shows the current stage; nothing where a program reads."""
    return bar_of_stages(NOTES, is_quiet=is_quiet)


def print_json(value: Any) -> None:
    from saecircuits.runs.storage import plain

    sys.stdout.write(json.dumps(plain(value), allow_nan=False) + "\n")


def print_front(about: Any) -> None:
    """What stood in front of every prompt, and whether the dictionaries were trained otherwise."""
    from saecircuits.tasks.prepending import recorded

    front, differs = recorded(about.provenance), about.provenance.get("prepended_differs")
    if front is not None:
        say(f"In front of every prompt: {front}" + (f"; {differs}" if differs else ""))


def print_report(report: Any, *, title: str, about: Any) -> None:
    from saecircuits.runs.phrases import SCORES_NOTE, score_rows

    table = Table(title=title, show_header=False)
    interval = f"[{report.faithfulness_low:.3f}, {report.faithfulness_high:.3f}]"
    rows = [
        ("nodes (of which error nodes)", f"{report.nodes} ({report.errors})"),
        *([] if report.edges is None else [("edges", f"{report.edges:,}")]),
        ("held-out prompts", str(report.prompts)),
        ("faithfulness, 95% interval", f"{report.faithfulness:.3f} {interval}"),
        ("the same, all error nodes at baseline", f"{report.faithfulness_without_errors:.3f}"),
        ("all features, all error nodes at baseline", f"{report.all_features_without_errors:.3f}"),
        (
            "share carried by error nodes",
            "not defined" if report.error_share is None else f"{report.error_share:.1%}",
        ),
        *(scores := score_rows(about.summary)),
        ("completeness: faithfulness of the rest", f"{report.completeness:.3f}"),
        (f"{report.random['count']} random circuits, median", f"{report.random['median']:.3f}"),
    ]
    for row in [] if report.ablations is None else report.ablations.to_dict("records"):
        rows.append(
            (f"{row['baseline']} baseline, by {row['ablate']}", f"{row['faithfulness']:.3f}")
        )
    if report.areas is not None:
        rows.append(("CPR, CMD", f"{report.areas['cpr']:.3f}, {report.areas['cmd']:.3f}"))
    if report.minimality is not None and report.minimality["least"] is not None:
        rows.append(("least drop without one node", f"{report.minimality['least']:.4f}"))
    if report.calibration is not None:
        for what in ("nodes", "edges"):
            figures = report.calibration[what]
            spearman = "unknown" if figures["spearman"] is None else f"{figures['spearman']:.3f}"
            rows.append((f"calibration of {what}, Spearman", spearman))
    for name, value in rows:
        table.add_row(name, value)
    OUT.print(table)
    if scores:
        OUT.print(SCORES_NOTE)
    for warning in (report.calibration or {}).get("warnings", ()):
        OUT.print(warning["text"])
    print_front(about)


def run_as_json(run: Any) -> dict[str, Any]:
    """A run's folder, the figures of its validation, and the scores of its graph."""
    return {
        "folder": str(run.folder),
        **run.report.to_json(),
        "scores": run.graph.summary.get("scores"),
    }


def print_run(run: Any, *, title: str) -> None:
    """How well the dictionaries fit, and the figures of the validation."""
    print_fit(run.graph.summary.get("fit", ()))
    print_report(run.report, title=title, about=run.graph)


def print_fit(fits: Sequence[Mapping[str, Any]]) -> None:
    """How well dictionaries describe the model on the task's prompts, and what is said of them."""
    tokens = fits[0]["tokens"] if fits else 0
    table = Table(
        "dictionary",
        "variance explained",
        "as stated",
        "L0",
        "as stated",
        title=f"Dictionaries on {tokens} tokens of the task",
    )
    for fit in fits:
        stated = (fit["stated_variance_explained"], fit["stated_l0"])
        variance, l0 = (
            "" if value is None else f"{value:.{digits}f}"
            for value, digits in zip(stated, (3, 1), strict=True)
        )
        explained = f"{fit['variance_explained']:.3f}"
        table.add_row(fit["site"], explained, variance, f"{fit['l0']:.1f}", l0)
    OUT.print(table)


def print_expansion(expansion: Any, paths: Any, *, n_rows: int = 12) -> None:
    """Four tables: degrees, components, the remainder, and paths one at a time."""
    left, metric = expansion.remainder, expansion.metric.name
    # Six columns of figures, then one for each of the likeliest tokens that there is room for.
    room = max(1, min(5, (OUT.width - 68) // 10))
    degrees = expansion.table(room).rename(
        columns={"error": "exact error", "naive_error": "naive error"}
    )
    degrees["paths"] = degrees["paths"].map(lambda count: "" if count != count else f"{count:,.0f}")
    _print_frame(
        degrees,
        title=f"Degrees of {''.join(expansion.tokens)!r}, {expansion.operator} operator",
        caption=f"metric: {metric}. Tokens: logits less their mean over the vocabulary. Errors: "
        "|T - sum up to this degree| / |T - x|. The naive sum is not a decomposition; "
        f"{expansion.naive.stopped}.",
    )
    parts, constant = expansion.components.iloc[:-1], expansion.components.index[-1]
    strongest = parts["through"].abs().nlargest(n_rows).index
    _print_frame(
        expansion.components.loc[[*strongest.sort_values(), constant]].drop(columns="step"),
        title=f"Components (the {len(strongest)} that most goes through, of {len(parts)})",
        caption="share: of the last stream, |T|^2. direct: what it writes gives to the metric. "
        "through: all paths through it.",
    )
    _print_frame(
        left.table.rename(columns=lambda name: name.replace("_", " ")),
        title="What the tangent operator leaves out",
        caption=f"Baseline: {left.baseline}. From it to the prompt the metric changes by "
        f"{left.metric_change:.3f}, the tangent operator's by {left.metric_tangent:.3f}. stream: "
        "norms relative to the model's change.",
    )
    total = paths.total
    _print_frame(
        paths.table.head(n_rows),
        title="Paths one at a time, by intervention",
        caption=f"Total effect {total:.3f} = {len(paths.table)} paths "
        f"{total - paths.interaction:.3f} + interaction {paths.interaction:.3f}; {paths.stopped}.",
    )


def _print_frame(frame: Any, *, title: str, caption: str) -> None:
    columns = [
        # Headings may take two lines, figures never.
        Column(str(name), justify="left" if number == 0 else "right", min_width=_width(frame[name]))
        for number, name in enumerate(frame.columns)
    ]
    table = Table(*columns, title=title, caption=caption, caption_justify="left")
    for row in frame.itertuples(index=False):
        table.add_row(*map(_cell, row))
    OUT.print(table)
    OUT.print()


def _width(column: Any) -> int:
    return max((len(_cell(value)) for value in column), default=0)


def _cell(value: Any) -> str:
    import pandas as pd  # late: commands without tables need not wait for it

    if value is None or value is pd.NA:
        return ""
    if isinstance(value, float):
        if value != value:
            return ""
        return f"{value:.1e}" if 0 < abs(value) < 5e-4 else f"{value:.3f}"
    return str(value)


def print_table(title: str, frame: Any, columns: list[str]) -> None:
    table = Table(*columns, title=title)
    for row in frame[columns].itertuples(index=False):
        table.add_row(*map(_cell, row))
    OUT.print(table)
