"""Grouped horizontal bars as SVG text."""

from collections.abc import Mapping

from saecircuits.publication.svg import FONT, tag, text

_COLOURS = ("#0b6aa2", "#c8500a", "#4d7a29", "#7a4d8c", "#888")
_WIDTH, _LEFT, _BAR, _GAP, _TOP = 620.0, 130.0, 13.0, 12.0, 66.0


def draw_bars(groups: Mapping[str, Mapping[str, float]], *, title: str, note: str) -> str:
    """A bar for every entry of every group, with its number; entries of one name share a colour.

    Args:
        groups: label of the group to (name of the bar to value); values may be negative.
        note: one line under the title.
    """
    names = list(dict.fromkeys(name for bars in groups.values() for name in bars))
    values = [value for bars in groups.values() for value in bars.values()]
    low, high = min(0.0, *values), max(0.0, *values)
    unit = (_WIDTH - _LEFT - 120) / (high - low)
    zero = _LEFT + 40 - low * unit
    body, at = [], _TOP + 18.0
    for number, name in enumerate(names):
        across = _LEFT + 100.0 * number
        body.append(tag("rect", x=across, y=50, width=10, height=10, fill=_colour(number)))
        body.append(text(across + 15, 59.0, name, size=11.5, fill="#222"))
    for label, bars in groups.items():
        middle = at + _BAR * len(bars) / 2 + 4
        body.append(text(_LEFT - 8, middle, label, size=12.0, fill="#222", text_anchor="end"))
        for name, value in bars.items():
            left, width = min(zero, zero + value * unit), abs(value) * unit
            colour = _colour(names.index(name))
            body.append(tag("rect", x=left, y=at, width=width, height=_BAR - 2, fill=colour))
            end = zero + value * unit + (4 if value >= 0 else -4)
            anchor = "start" if value >= 0 else "end"
            number = f"{value:.2f}"
            body.append(text(end, at + 9, number, size=10.0, fill="#666", text_anchor=anchor))
            at += _BAR
        at += _GAP
    body.append(tag("line", x1=zero, x2=zero, y1=_TOP + 8, y2=at - _GAP, stroke="#666"))
    head = [
        tag("rect", width=_WIDTH, height=at, fill="white"),
        text(16.0, 22.0, title, size=15.0, fill="#222", font_weight="bold"),
        text(16.0, 40.0, note, size=11.5, fill="#666"),
    ]
    return tag(
        "svg", [*head, *body], xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_WIDTH:g} {at:g}", width=_WIDTH, height=at, font_family=FONT, role="img",
        aria_label=title,
    )  # fmt: skip


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]
