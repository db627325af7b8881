"""Plots for pages, as SVG: bars in groups, and lines; axes are linear unless asked otherwise."""

import math
from collections.abc import Iterator, Mapping, Sequence

from saecircuits.publication.svg import FONT, tag, text

WIDTH, HEIGHT = 720.0, 352.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 16.0, 78.0, 56.0
COLOURS = (
    "#0b6aa2", "#c8500a", "#4d7a29", "#7a4d8c", "#888888", "#b8860b", "#1f9e89", "#b0396b"
)  # fmt: skip


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
    known = [value for values in series.values() for value in values if math.isfinite(value)]
    low, high, step = _range([0.0, *known])
    wide = (WIDTH - LEFT - RIGHT) / len(groups)
    each = 0.8 * wide / len(series)
    body = list(_frame(title, note, list(series), low, high, step))
    for at, label in enumerate(groups):
        start = LEFT + (at + 0.1) * wide
        for number, values in enumerate(series.values()):
            if math.isfinite(values[at]):
                ends = sorted(_height(end, low, high) for end in (0.0, values[at]))
                body.append(
                    tag("rect", x=start + number * each, y=ends[0], width=each * 0.92,
                        height=max(0.5, ends[1] - ends[0]), fill=COLOURS[number])
                )  # fmt: skip
        body += _labels(LEFT + (at + 0.5) * wide, label)
    return _whole([*body, _below(below)], title)


def lines(
    across: Sequence[float],
    series: Mapping[str, Sequence[float]],
    *,
    title: str,
    note: str,
    below: str = "",
    is_log: bool = False,
) -> str:
    """One line per series, over shared points; a value that is not finite has no place.

    Args:
        note: one line under the title.
        below: what the points are.
        is_log: the upright axis is logarithmic; values must be positive.
    """
    change = math.log10 if is_log else float
    shown = {
        name: [(x, change(y)) for x, y in zip(across, values, strict=True) if math.isfinite(y)]
        for name, values in series.items()
    }
    low, high, step = _range([y for points in shown.values() for _, y in points], is_log=is_log)
    body = list(_frame(title, note, list(series), low, high, step, is_log=is_log))

    def place(value: float) -> float:
        return LEFT + (value - across[0]) / (across[-1] - across[0]) * (WIDTH - LEFT - RIGHT)

    for number, points in enumerate(shown.values()):
        path = " ".join(f"{place(x):.1f},{_height(y, low, high):.1f}" for x, y in points)
        body.append(
            tag("polyline", points=path, fill="none", stroke=COLOURS[number], stroke_width=2)
        )
    for x in across[:: max(1, (len(across) - 1) // 5)]:
        body += _labels(place(x), f"{x:g}")
    return _whole([*body, _below(below)], title)


def _range(values: Sequence[float], *, is_log: bool = False) -> tuple[float, float, float]:
    low, high = min(values), max(values)
    if is_log:
        return math.floor(low), math.ceil(high), 1.0
    size = 10 ** math.floor(math.log10(max(high - low, 1e-9)))
    step = next(s * size for s in (0.2, 0.5, 1, 2) if (high - low) / (s * size) <= 6)
    return math.floor(low / step) * step, math.ceil(high / step) * step, step


def _height(value: float, low: float, high: float) -> float:
    return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)


def _labels(x: float, label: str) -> Iterator[str]:
    for number, line in enumerate(label.split("\n")):
        y = HEIGHT - BOTTOM + 16 + 13 * number
        yield text(x, y, line, size=10.5, text_anchor="middle")


def _below(label: str) -> str:
    if not label:
        return ""
    middle = (LEFT + WIDTH - RIGHT) / 2
    return text(middle, HEIGHT - 8, label, size=11.5, fill="#666", text_anchor="middle")


def _frame(
    title: str,
    note: str,
    names: Sequence[str],
    low: float,
    high: float,
    step: float,
    *,
    is_log: bool = False,
) -> Iterator[str]:
    yield tag("rect", width=WIDTH, height=HEIGHT, fill="white")
    yield text(LEFT, 22.0, title, size=15.0, font_weight="bold")
    yield text(LEFT, 40.0, note, size=11.5, fill="#666")
    at = LEFT
    for number, name in enumerate(names):
        yield tag("rect", x=at, y=51.0, width=11.0, height=11.0, fill=COLOURS[number])
        yield text(at + 16, 61.0, name, size=11.5)
        at += 34 + 7.0 * len(name)
    for count in range(round((high - low) / step) + 1):
        value = low + count * step
        y = _height(value, low, high)
        colour = "#666" if abs(value) < step / 2 and not is_log else "#e3e3e3"
        number = f"{10**value if is_log else value:.3g}"
        yield tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, stroke=colour)
        yield text(LEFT - 6, y + 4, number, size=11.0, fill="#666", text_anchor="end")


def _whole(body: Sequence[str], title: str) -> str:
    return tag(
        "svg", body, xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
        width=WIDTH, height=HEIGHT, font_family=FONT, role="img", aria_label=title,
    )  # fmt: skip
