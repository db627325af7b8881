"""A benchmark as a folder: a page, its plots, and all figures as JSON."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Final

from experiments.bench.distant import DISTANT
from experiments.bench.prose import COUNT, HOW, NOTES
from experiments.bench.results import Benchmark, slope, straight
from experiments.bench.sizes import SIZES
from experiments.bench.tables import number, sheets, terms
from experiments.bench.wanted import BAR_SIZE, wishes
from experiments.charts import lines

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
    """Writes the page, a plot for every curve, and the figures."""
    folder.mkdir(parents=True, exist_ok=True)
    for curve, drawn in plots(found).items():
        (folder / plot_name(curve)).write_text(drawn, encoding="utf-8")
    (folder / PAGE).write_text(page(found), encoding="utf-8")
    value = found.to_json() | {"wanted": [asdict(wish) for wish in wishes(found)]}
    figures = json.dumps(value, indent=1, allow_nan=False)
    (folder / FIGURES).write_text(figures + "\n", encoding="utf-8")


def plot_name(curve: str) -> str:
    """The file's."""
    return f"performance-{curve}.svg"


def plots(found: Benchmark) -> dict[str, str]:
    """Curve to its plot as SVG text, for every curve of more than one point."""
    drawn = {}
    for curve, (title, note, label) in _CURVES.items():
        points = found.curve(curve)
        if len(points) < 2:
            continue
        once, each = straight(points)
        measured = f"measured; power {slope(points):.2f} at the larger values"
        law = f"{number(once)} s + {number(1e3 * each)} ms x {curve}"
        drawn[curve] = lines(
            [point.at for point in points],
            {
                measured: [point.seconds for point in points],
                law: [max(once + each * p.at, points[0].seconds / 3) for p in points],
            },
            title=title,
            note=note,
            below=label,
            beside="CPU seconds",
            is_log=True,
            is_log_across=True,
            dashed=(law,),
        )
    return drawn


def page(found: Benchmark) -> str:
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
        parts += [f"## {sheet.title}", NOTES[sheet.title], sheet.markdown()]
        if sheet.title == "Growth":
            drawn = [name for name in _CURVES if len(found.curve(name)) > 1]
            parts += [f"![{_CURVES[name][0]}]({plot_name(name)})" for name in drawn]
    if any(one.size == BAR_SIZE for one in found.edges):
        parts += ["## What the count is made of", COUNT, terms().markdown()]
    return "\n\n".join(parts) + "\n"


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
    for name in dict.fromkeys(one.size for one in found.distant):
        distant = DISTANT[name]
        lines.append(
            f"- `{name}`: {distant.source}; {distant.dictionaries}; edges among "
            f"{distant.max_nodes} nodes against the corrupted prompt, by "
            f"{'spans' if distant.kind == 'shipped' else 'tokens'}."
        )
    return "\n".join(lines)
