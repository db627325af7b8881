"""What the commands show: progress while they run, then tables for people or JSON for programs."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

OUT = Console(highlight=False)
NOTES = Console(stderr=True, highlight=False)


@contextmanager
def shown_progress(is_quiet: bool) -> Iterator[Callable[[str, float], None]]:
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


def print_json(value: Any) -> None:
    from saecircuits.publication import plain

    sys.stdout.write(json.dumps(plain(value), allow_nan=False) + "\n")


def print_report(report: Any, *, title: str) -> None:
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


def print_sheet(sheet: Any) -> None:
    columns = [
        Column(name, justify="left" if number < sheet.words else "right")
        for number, name in enumerate(sheet.header)
    ]
    table = Table(*columns, title=sheet.title)
    for row in sheet.rows:
        table.add_row(*row)
    OUT.print(table)


def print_table(title: str, frame: Any, columns: list[str]) -> None:
    table = Table(*columns, title=title)
    for row in frame[columns].itertuples(index=False):
        table.add_row(*(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row))
    OUT.print(table)
