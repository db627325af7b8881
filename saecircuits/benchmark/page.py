"""A benchmark as a folder: a page, its plots, and all figures as JSON."""

import json
from pathlib import Path
from typing import Final

from saecircuits.benchmark.bars import BAR_SIZE, slope, straight
from saecircuits.benchmark.flops import edge_terms
from saecircuits.benchmark.plot import Axis, Line, draw_plot, ticks
from saecircuits.benchmark.prose import COUNT, HOW, NOTES
from saecircuits.benchmark.report import Sheet, number, points_of, sheets, to_json
from saecircuits.benchmark.results import Benchmark
from saecircuits.benchmark.sizes import SIZES
from saecircuits.errors import RunFolderError
from saecircuits.publication.markdown import table

PAGE: Final = "performance.md"
FIGURES: Final = "performance.json"

_CURVES: Final = {
    "targets": (
        "Time over targets",
        "GPT-2 small's shape, 12 layers, 16 tokens, 60 active features a token",
        "targets, evenly spread over layers and tokens",
    ),
    "layers": (
        "Time over layers",
        "GPT-2 small's width, 16 tokens, every adjacent edge",
        "layers (adjacent pairs)",
    ),
    "tokens": (
        "Time over prompt length",
        "the shipped model's shape, 20 active features a token, 960 targets",
        "tokens",
    ),
}


def write(found: Benchmark, folder: Path) -> None:
    """Writes the page, a plot for every curve and for the engines, and the figures.

    Raises:
        RunFolderError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        plots = _plots(found)
        for name, content in plots.items():
            (folder / name).write_text(content, encoding="utf-8")
        (folder / PAGE).write_text(page(found, list(plots)), encoding="utf-8")
        figures = json.dumps(to_json(found), indent=1, allow_nan=False)
        (folder / FIGURES).write_text(figures + "\n", encoding="utf-8")
    except OSError as error:
        raise RunFolderError(f"{folder} cannot be written ({error}); give another --out") from None


def _plots(found: Benchmark) -> dict[str, str]:
    plots = {}
    for curve, (title, note, label) in _CURVES.items():
        points = points_of(found, curve)
        if len(points) < 2:
            continue
        places = [(float(p.at), p.seconds) for p in points]
        once, each = straight(points)
        law = [(at, max(once + each * at, places[0][1] / 3)) for at, _ in places]
        lines = [
            Line(f"measured; power {slope(points):.2f} at the larger values", places),
            Line(f"{number(once)} s + {number(1e3 * each)} ms x {curve}", law, is_dashed=True),
        ]
        plots[f"performance-{curve}.svg"] = draw_plot(
            lines,
            title=title,
            note=note,
            x=Axis(label, [at for at, _ in places]),
            y=Axis("CPU seconds", ticks([s for _, s in [*places, *law]])),
        )
    return plots


def page(found: Benchmark, plots: list[str]) -> str:
    """The page in Markdown."""
    machine = found.machine
    memory = f"{machine.memory / 2**30:.0f} GiB" if machine.memory else "unknown"
    threads = sorted({one.threads for one in (*found.edges, *found.nodes)})
    parts = [
        "# Performance",
        f"Measured on {machine.cpu}, {machine.cores} cores, {memory} of memory, {machine.system}, "
        f"Python {machine.python}, torch {machine.torch}, float32, with "
        f"{' and '.join(map(str, threads))} thread{'s' * (threads != [1])}. This page, its plots "
        f"and [{FIGURES}]({FIGURES}) are written by one command, on any machine:",
        f"```sh\n{found.command}\n```",
        HOW,
        _sizes(found),
    ]
    for sheet in sheets(found):
        parts += [f"## {sheet.title}", NOTES[sheet.title], _table(sheet)]
        if sheet.title == "Growth":
            parts += [f"![{_CURVES[_curve(name)][0]}]({name})" for name in plots]
    if any(one.size == BAR_SIZE for one in found.edges):
        parts += ["## What the count is made of", COUNT, _table(_terms())]
    return "\n\n".join(parts) + "\n"


def _curve(name: str) -> str:
    return name.removeprefix("performance-").removesuffix(".svg")


def _sizes(found: Benchmark) -> str:
    lines = []
    for name in dict.fromkeys(one.size for one in (*found.nodes, *found.edges)):
        if name not in SIZES:
            lines.append(
                f"- `{name}`: the shipped model on the training prompts of `pronoun` with the "
                "default settings: spans, corrupted baseline, edges among 300 nodes."
            )
            continue
        size = SIZES[name]
        lines.append(
            f"- `{name}`: {size.source}. {size.n_tokens} tokens and BOS, which is in no unit; "
            f"random weights, TopK dictionaries with random unit rows and `W_enc = W_dec^T`. "
            f"{size.n_sources:,} nodes, {size.n_targets:,} targets, {size.n_edges:,} edges: "
            f"{size.active} x {size.active} features for each of the "
            f"{size.n_tokens * (size.n_tokens + 1) // 2} pairs of tokens of which the source's is "
            f"not later, {size.n_layers - 1} times."
        )
    return "\n".join(lines)


def _terms() -> Sheet:
    named = {name: edge_terms(size) for name, size in SIZES.items()}
    terms = {name: {**counts, "all": sum(counts.values())} for name, counts in named.items()}
    rows = [
        (term, *(f"{counts[term] / 1e9:.1f}" for counts in terms.values()))
        for term in next(iter(terms.values()))
    ]
    return Sheet("", ("GFLOP", *terms), tuple(rows), 1)


def _table(sheet: Sheet) -> str:
    return table(sheet.header, sheet.rows, numbers=len(sheet.header) - sheet.words)
