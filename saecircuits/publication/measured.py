"""What interventions found, drawn: how much the circuit does by itself, and what parts are worth.

Marks differ by shape as well as colour: node ablation is a filled circle, edge ablation an open
diamond; a part without which faithfulness falls has a filled bar, one without which it rises an
open, dashed one.
"""

import math
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from saecircuits.publication.boxes import BAR_HEIGHT, NORMAL, SMALL, Box, Drop
from saecircuits.publication.frame import AGAINST, DARK, DASH, GREY, MARGIN, SUPPORTS, Part
from saecircuits.publication.svg import fitted, tag, text, text_width
from saecircuits.validation import ValidationReport

_LINE: Final = 17.0
_NAMES: Final = 190.0  # room for what a row is about
_WIDEST: Final = 640.0  # of the scale
_GREEN: Final = "#007a5a"
Scale: TypeAlias = Callable[[float], float]


class _Mark(NamedTuple):
    """A value on the scale."""

    kind: str
    value: float
    low: float
    high: float


def measured_drops(report: ValidationReport | None) -> dict[frozenset[str], Drop]:
    """What faithfulness loses, by the ids of the nodes that were ablated together.

    Nodes one by one where the report has them (`minimality`), and groups (`groups`).
    """
    found: dict[frozenset[str], Drop] = {}
    if report is not None and report.minimality is not None:
        for row in report.minimality["drops"]:
            found[frozenset([row["node"]])] = Drop(row["drop"])
    for row in () if report is None or report.groups is None else report.groups:
        found[frozenset(row["nodes"])] = Drop(row["drop"], row["low"], row["high"])
    return {nodes: drop for nodes, drop in found.items() if not math.isnan(drop.value)}


def drop_bar(box: Box, largest: float) -> list[str]:
    """The measured change of faithfulness without the box's nodes, along its lower side."""
    if box.drop is None:
        return []
    change = -box.drop.value
    words = _signed(change)
    falls = change <= 0
    inset = 18.0 if box.kind == "error" else 7.0  # corners are cut off
    room = box.width - 2 * inset - 6 - text_width("\u22120.00", SMALL)
    y = box.y + box.height - BAR_HEIGHT
    length = max(1.0, room * min(1.0, abs(change) / largest)) if largest > 0 else 1.0
    shape = {"x": box.x + inset, "y": y + 1.5, "width": length, "height": 6}
    colour = SUPPORTS if falls else AGAINST
    style = (
        {"fill": colour}
        if falls
        else {"fill": "#fff", "stroke": colour, "stroke_width": 1, "stroke_dasharray": "3 1.5"}
    )
    return [
        tag("rect", **shape, **style),
        text(box.x + box.width - inset, y + 8, words, size=SMALL, fill=colour, text_anchor="end"),
    ]


def findings(report: ValidationReport | None, width: float) -> Part:
    """Faithfulness by node and by edge ablation, on one scale; nothing without a report."""
    if report is None:
        return Part([], 0.0)
    rows = _rows(report)
    values = [
        end
        for _, marks in rows
        for mark in marks
        for end in (mark.value, mark.low, mark.high)
        if not math.isnan(end)
    ]
    least, most = min(0.0, *values), max(1.0, *values)
    left = MARGIN + _NAMES
    figures = ["; ".join(_words(mark) for mark in marks) for _, marks in rows]
    room = max(text_width(words, SMALL) for words in figures) + 14 + MARGIN
    right = left + min(_WIDEST, width - left - room)

    def at(value: float) -> float:
        return left + (right - left) * (value - least) / (most - least)

    y = 14.0
    title = f"Faithfulness, measured on {report.prompts} held-out prompts"
    about = "0: nothing kept, 1: the whole model; 95% intervals"
    elements = [
        text(MARGIN, y, title, size=NORMAL + 1, fill=DARK, font_weight="bold"),
        text(width - MARGIN, y, about, size=NORMAL, fill=GREY, text_anchor="end"),
    ]
    top = y + 8
    for (name, marks), words in zip(rows, figures, strict=True):
        y += _LINE
        shown = fitted(name, _NAMES - 10, NORMAL)
        elements.append(text(MARGIN, y + 3.5, shown, size=NORMAL, fill="#333"))
        elements.append(_line(left, right, y, y, "#dcdcd8"))
        shift = 3.0 if len(marks) > 1 else 0.0
        for number, mark in enumerate(marks):
            elements += _mark(mark, at, y + (2 * number - 1) * shift)
        elements.append(text(right + 14, y + 3.5, words, size=SMALL, fill="#333"))
    y += 12
    for value in (0.0, 1.0):
        elements.insert(1, _line(at(value), at(value), top, y - 2, "#9a9a95"))
        elements.append(
            text(at(value), y + 7, f"{value:.0f}", size=SMALL, fill=GREY, text_anchor="middle")
        )
    return Part(elements, y + 12)


def largest_drop(boxes: tuple[Box, ...]) -> float:
    """The largest |drop| that a picture shows; 0 where none was measured."""
    return max((abs(box.drop.value) for box in boxes if box.drop is not None), default=0.0)


def _rows(report: ValidationReport) -> list[tuple[str, list[_Mark]]]:
    nan = float("nan")
    rows: list[tuple[str, list[_Mark]]] = []
    table = report.ablations
    if table is None:
        own = _Mark(report.ablate, report.faithfulness, report.faithfulness_low,
                    report.faithfulness_high)  # fmt: skip
        rows.append((f"the circuit, {report.baseline} baseline", [own]))
    else:
        for baseline in dict.fromkeys(table["baseline"]):
            marks = [
                _Mark(
                    row["ablate"],
                    row["faithfulness"],
                    row["faithfulness_low"],
                    row["faithfulness_high"],
                )
                for row in table[table["baseline"] == baseline].to_dict("records")
            ]
            rows.append((f"the circuit, {baseline} baseline", marks))
    for name, value in (
        ("\u2026 its error nodes at baseline", report.faithfulness_without_errors),
        ("everything but the circuit", report.completeness),
    ):
        rows.append((name, [_Mark("", value, nan, nan)]))
    random = report.random
    if random["median"] is not None:
        name = f"{random['count']} random circuits"
        ends = (_or_nan(random["low"]), _or_nan(random["high"]))
        rows.append((name, [_Mark("random", random["median"], *ends)]))
    return rows


def _mark(mark: _Mark, at: Scale, y: float) -> list[str]:
    x = at(mark.value)
    colour = {"nodes": SUPPORTS, "edges": _GREEN}.get(mark.kind, GREY)
    found = []
    if not (math.isnan(mark.low) or math.isnan(mark.high)):
        dash = {"stroke_dasharray": DASH} if mark.kind == "random" else {}
        found.append(_line(at(mark.low), at(mark.high), y, y, colour, stroke_width=1.8, **dash))
    if mark.kind == "edges":
        points = f"{x - 4.5:.1f},{y:.1f} {x:.1f},{y - 4.5:.1f} {x + 4.5:.1f},{y:.1f} "
        points += f"{x:.1f},{y + 4.5:.1f}"
        found.append(tag("polygon", points=points, fill="#fff", stroke=colour, stroke_width=1.4))
    elif mark.kind == "nodes":
        found.append(tag("rect", x=x - 3.5, y=y - 3.5, width=7.0, height=7.0, rx=3.5, fill=colour))
    else:
        found.append(_line(x, x, y - 4, y + 4, colour, stroke_width=2))
    return found


def _words(mark: _Mark) -> str:
    name = {"nodes": "\u25cf nodes ", "edges": "\u25c7 edges ", "random": "median "}
    has_ends = not (math.isnan(mark.low) or math.isnan(mark.high))
    ends = f" [{_plain(mark.low)}, {_plain(mark.high)}]" if has_ends else ""
    return f"{name.get(mark.kind, '')}{_plain(mark.value)}{ends}"


def _line(x1: float, x2: float, y1: float, y2: float, stroke: str, **style: object) -> str:
    given = {"stroke_width": 1, **style}
    return tag("path", d=f"M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}", stroke=stroke, **given)


def _plain(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "\u2212")  # + 0.0: no negative zero


def _signed(value: float) -> str:
    if abs(value) < 0.005:
        return "0.00"
    sign = "+" if value > 0 else "\u2212"  # no backslash inside a field before Python 3.12
    return f"{sign}{abs(value):.2f}"


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else float(value)
