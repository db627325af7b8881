"""Charts for pages, drawn by matplotlib as SVG text: bars in groups, and lines.

One and the same input and version of matplotlib give one and the same text: ids are salted with a
constant and no date is written. Words stay words, so that they can be searched. matplotlib comes
with the extra `dev`.
"""

import io
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

COLOURS: Final = (
    "#0b6aa2", "#c8500a", "#4d7a29", "#7a4d8c", "#888888", "#b8860b", "#1f9e89", "#b0396b"
)  # fmt: skip
FAINT, GRID = "#666666", "#e3e3e3"
SIZE: Final = (7.5, 3.7)  # inches: 720 pixels wide on a page
_STYLE: Final[dict[Any, Any]] = {
    "svg.hashsalt": "saecircuits",
    "svg.fonttype": "none",
    # The first is matplotlib's own, so that the layout is the same on every machine; the others
    # stand in where a page is read without it.
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Helvetica", "Arial"],
    "font.size": 8.0,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.labelcolor": FAINT,
    "grid.color": GRID,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": "#222222",
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "legend.columnspacing": 1.4,
}


def bars(
    groups: Sequence[str],
    series: Mapping[str, Sequence[float]],
    *,
    title: str,
    note: str,
    below: str = "",
) -> str:
    """One group of bars per label, one bar per series; a value that is not finite has no bar.

    Args:
        groups: labels; a line break in one begins a second line.
        note: one line under the title.
        below: what the groups are, under their labels.
    """
    with matplotlib.rc_context(_STYLE):
        figure, axes = _begun(below)
        each = 0.8 / len(series)
        for number, (name, values) in enumerate(series.items()):
            places = [at - 0.4 + (number + 0.5) * each for at in range(len(groups))]
            heights = [value if math.isfinite(value) else 0.0 for value in values]
            axes.bar(places, heights, 0.92 * each, color=COLOURS[number], label=name)
        axes.axhline(0.0, color=FAINT, linewidth=0.8)
        axes.set_xlim(-0.5, len(groups) - 0.5)
        axes.set_xticks(range(len(groups)), groups)
        axes.tick_params(axis="x", length=0)
        axes.grid(axis="y")
        return _ended(figure, axes, title, note)


def lines(
    across: Sequence[float],
    series: Mapping[str, Sequence[float]],
    *,
    title: str,
    note: str,
    below: str = "",
    beside: str = "",
    is_log: bool = False,
    is_log_across: bool = False,
    dashed: Collection[str] = (),
) -> str:
    """One line per series, over shared points; a value that is not finite has no place.

    Args:
        note: one line under the title.
        below: what the points are.
        beside: what the values are.
        is_log: the upright axis is logarithmic; values must be positive.
        is_log_across: the axis of the points is; every point then has its number, and a mark.
        dashed: names of series that are laws, which the others are compared with.
    """
    with matplotlib.rc_context(_STYLE):
        figure, axes = _begun(below)
        axes.set_ylabel(beside)
        for number, (name, values) in enumerate(series.items()):
            style = {"color": COLOURS[number], "linewidth": 1.6}
            if name in dashed:
                style = {"color": FAINT, "linewidth": 1.0, "linestyle": (0, (5, 4))}
            elif is_log_across:
                style |= {"marker": "o", "markersize": 4.0}
            axes.plot(across, values, label=name, **style)
        plain = FuncFormatter(lambda value, _: f"{value:,g}")
        if is_log:
            known = [value for values in series.values() for value in values if value < math.inf]
            marks = ticks(known)
            axes.set_yscale("log")
            axes.set_yticks(marks, [f"{mark:.3g}" for mark in marks])
            axes.yaxis.set_minor_locator(NullLocator())
            axes.set_ylim(marks[0], marks[-1])
        if is_log_across:
            axes.set_xscale("log")
            axes.set_xticks(list(across))
            axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(plain)
        axes.grid()
        return _ended(figure, axes, title, note)


def ticks(values: Sequence[float]) -> list[float]:
    """Numbers from at or below the smallest positive value to at or above the largest.

    They are of the kind 1, 2, 5, 10, or, over four powers of ten and more, of the kind 1, 10.
    """
    first, last = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    kinds = (1, 2, 5) if last - first < 4 else (1,)
    steps = [kind * 10.0**power for power in range(first, last + 1) for kind in kinds]
    low = max(step for step in steps if step <= min(values))
    high = min(step for step in steps if step >= max(values))
    return [step for step in steps if low <= step <= high]


def _begun(below: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(below)
    return figure, axes


def _ended(figure: Figure, axes: Axes, title: str, note: str) -> str:
    """The chart as SVG text: title, note and legend above it, all from its left edge."""
    names = axes.get_legend_handles_labels()[1]
    legend = axes.legend(
        loc="lower left", bbox_to_anchor=(0.0, 1.02), ncols=_columns(names), title=note,
        alignment="left", borderaxespad=0.0, borderpad=0.0,
    )  # fmt: skip
    legend.get_title().set(fontsize=8.5, color=FAINT)
    heading = figure.suptitle(title, fontsize=11.0, fontweight="bold", horizontalalignment="left")
    figure.draw_without_rendering()  # where the axes begin is known after this
    heading.set_x(axes.get_position().x0)
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    return drawn.getvalue()


def _columns(names: Sequence[str]) -> int:
    """As many names side by side as there is room for: 5 points a letter and 40 a mark."""
    widest = max(map(len, names))
    return max(1, min(len(names), int(72 * SIZE[0] // (5 * widest + 40))))
