"""A plot of lines over two logarithmic axes, as SVG text."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from saecircuits.publication.svg import FONT, tag, text

WIDTH: Final = 560.0
HEIGHT: Final = 360.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 74.0, 28.0, 58.0, 54.0
_INK, _FAINT, _GRID = "#222", "#666", "#e3e3e3"
_COLOURS: Final = ("#0b6aa2", "#c8500a", "#4d7a29", "#7a4d8c")


@dataclass(frozen=True)
class Line:
    """Points joined in order, or, dashed, a law that they are compared with."""

    label: str
    points: Sequence[tuple[float, float]]
    is_dashed: bool = False


@dataclass(frozen=True)
class Axis:
    """What an axis shows, with its unit, and where it has numbers."""

    label: str
    ticks: Sequence[float]

    def share(self, value: float) -> float:
        """How far along the axis a value stands, from 0 to 1."""
        low, high = math.log(self.ticks[0]), math.log(self.ticks[-1])
        return (math.log(value) - low) / (high - low)


def draw_plot(lines: Sequence[Line], *, title: str, note: str, x: Axis, y: Axis) -> str:
    """The plot, complete in itself; every point must lie between the first and last ticks.

    Args:
        note: one line under the title.
    """
    body = [
        tag("rect", width=WIDTH, height=HEIGHT, fill="white"),
        text(_LEFT, 24.0, title, size=15.0, fill=_INK, font_weight="bold"),
        text(_LEFT, 42.0, note, size=11.5, fill=_FAINT),
        *_grid(x, y),
        *(mark for number, line in enumerate(lines) for mark in _line(line, number, x, y)),
        *_legend(lines),
    ]
    return tag(
        "svg", body, xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
        width=WIDTH, height=HEIGHT, font_family=FONT, role="img", aria_label=title,
    )  # fmt: skip


def ticks(values: Sequence[float]) -> list[float]:
    """Numbers of the kind 1, 2, 5, 10 from below the smallest value to above the largest."""
    first, last = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    steps = [mantissa * 10.0**power for power in range(first, last + 1) for mantissa in (1, 2, 5)]
    low = max(step for step in steps if step <= min(values))
    high = min(step for step in steps if step >= max(values))
    return [step for step in steps if low <= step <= high]


def _place(x: Axis, y: Axis, point: tuple[float, float]) -> tuple[float, float]:
    wide, high = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
    return _LEFT + x.share(point[0]) * wide, HEIGHT - _BOTTOM - y.share(point[1]) * high


def _grid(x: Axis, y: Axis) -> Iterator[str]:
    left, top, right, bottom = _LEFT, _TOP, WIDTH - _RIGHT, HEIGHT - _BOTTOM
    for value in x.ticks:
        at = _place(x, y, (value, y.ticks[0]))[0]
        yield tag("line", x1=at, x2=at, y1=top, y2=bottom, stroke=_GRID)
        yield text(at, bottom + 17, f"{value:,g}", size=11.0, fill=_FAINT, text_anchor="middle")
    for value in y.ticks:
        at = _place(x, y, (x.ticks[0], value))[1]
        yield tag("line", x1=left, x2=right, y1=at, y2=at, stroke=_GRID)
        yield text(left - 7, at + 4, f"{value:g}", size=11.0, fill=_FAINT, text_anchor="end")
    yield tag("line", x1=left, x2=right, y1=bottom, y2=bottom, stroke=_FAINT)
    yield tag("line", x1=left, x2=left, y1=top, y2=bottom, stroke=_FAINT)
    middle = (left + right) / 2
    yield text(middle, HEIGHT - 14, x.label, size=12.0, fill=_INK, text_anchor="middle")
    up = (top + bottom) / 2
    yield text(
        20.0, up, y.label, size=12.0, fill=_INK, text_anchor="middle",
        transform=f"rotate(-90 20 {up:g})",
    )  # fmt: skip


def _line(line: Line, number: int, x: Axis, y: Axis) -> Iterator[str]:
    colour = _colour(line, number)
    places = [_place(x, y, point) for point in line.points]
    joined = " ".join(f"{across:.1f},{up:.1f}" for across, up in places)
    style = {"stroke_dasharray": "5 4"} if line.is_dashed else {}
    width = 1.2 if line.is_dashed else 2
    yield tag("polyline", points=joined, fill="none", stroke=colour, stroke_width=width, **style)
    if not line.is_dashed:
        for across, up in places:
            yield tag("circle", cx=across, cy=up, r=3.5, fill=colour)


def _legend(lines: Sequence[Line]) -> Iterator[str]:
    for number, line in enumerate(lines):
        at = _TOP + 16 + 18 * number
        style = {"stroke_dasharray": "5 4"} if line.is_dashed else {}
        yield tag(
            "line", x1=_LEFT + 14, x2=_LEFT + 40, y1=at, y2=at, stroke=_colour(line, number),
            stroke_width=1.2 if line.is_dashed else 2, **style,
        )  # fmt: skip
        yield text(_LEFT + 47, at + 4, line.label, size=11.5, fill=_INK)


def _colour(line: Line, number: int) -> str:
    return _FAINT if line.is_dashed else _COLOURS[number % len(_COLOURS)]
