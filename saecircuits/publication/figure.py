"""`draw_figure`: the circuit as one static SVG picture, for papers and cards.

The prompt runs from left to right and computation upwards: tokens at the bottom, one row for each
spliced site, the metric on top (`layout` says what is shown and where, `frame` draws what stands
around). Sign is coded twice, by colour and by dash, in two colours that colour-blind readers tell
apart. Groups are single boxes with their strongest members. The picture says what it leaves out and
how faithful the circuit is, and what ablating its parts did (`measured`), so that it is not
mistaken for the model.
"""

import math
from collections.abc import Sequence
from typing import Final

from saecircuits.circuits import Circuit
from saecircuits.features.labels import FeatureLabel
from saecircuits.nodes.names import METRIC
from saecircuits.publication.boxes import (
    LINE_HEIGHT,
    NORMAL,
    SMALL,
    TITLE_HEIGHT,
    Box,
    Layout,
    Link,
)
from saecircuits.publication.collapse import GROUP
from saecircuits.publication.fonts import STACK, font_faces
from saecircuits.publication.frame import (
    AGAINST,
    DARK,
    DASH,
    GREY,
    MARGIN,
    PALE,
    SUPPORTS,
    background,
    box_name,
    description,
    header,
    legend,
)
from saecircuits.publication.grouping import Group
from saecircuits.publication.layout import arrange
from saecircuits.publication.measured import drop_bar, findings, largest_drop, measured_drops
from saecircuits.publication.svg import escape, fitted, tag, text, text_width
from saecircuits.runs.phrases import effect_number
from saecircuits.runs.records import Example
from saecircuits.validation import ValidationReport

_FILLS: Final = {True: "#eaf3fa", False: "#fdf0e6"}
_THINNEST, _WIDEST = 0.8, 6.0
_LANE: Final = 5.0  # distance of a lane from its box
_NARROWEST: Final = 720.0


def draw_figure(
    circuit: Circuit,
    labels: Sequence[FeatureLabel],
    report: ValidationReport | None,
    *,
    title: str,
    example: Example | None = None,
    groups: Sequence[Group] = (),
) -> str:
    """The picture as SVG text, complete in itself. Effects are in logits, means over prompts.

    Its font is inside it, cut down to the characters that occur; text stays text.

    Args:
        labels: of some or all of the circuit's features; the others go by their number.
        report: what ablation found, to draw; None prints that nothing was measured.
        example: a prompt pair to print.
        groups: from `suggest_groups` or `given_groups`; each is drawn as one box.
    """
    layout = arrange(circuit, labels, groups=groups, drops=measured_drops(report))
    width = max(layout.width, _NARROWEST)
    above = header(circuit, layout, report, title=title, example=example, width=width)
    below = legend(circuit, layout, width)
    found = findings(report, width)
    top = above.height + 20
    middle = top + layout.height + 34
    bottom = middle + found.height + 10
    largest = largest_drop(layout.boxes)
    drawing = [
        *background(layout, width),
        *(_link(link, layout) for link in layout.links),
        *(_node(box, circuit, largest) for box in layout.boxes),
        *(_note(f"+{more.count} more", more.x, more.y) for more in layout.more),
    ]
    height = bottom + below.height + MARGIN
    body = [
        tag("rect", width=width, height=height, fill="#fff"),
        *above.elements,
        tag("g", drawing, transform=f"translate(0 {top:.1f})"),
        tag("g", found.elements, transform=f"translate(0 {middle:.1f})"),
        tag("g", below.elements, transform=f"translate(0 {bottom:.1f})"),
    ]
    return tag(
        "svg",
        [
            tag("title", escape(title), id="title"),
            tag("desc", escape(description(circuit, layout, report)), id="desc"),
            tag("style", font_faces("".join(body))),
            *body,
        ],
        xmlns="http://www.w3.org/2000/svg",
        role="img",
        aria_labelledby="title desc",
        viewBox=f"0 0 {width:.1f} {height:.1f}",
        width=width,
        height=height,
        font_family=STACK,
    )  # fmt: skip


def _link(link: Link, layout: Layout) -> str:
    largest = max(abs(other.effect) for other in layout.links)
    is_upwards = link.target.cell[1] <= link.source.cell[0]
    path = (_path if is_upwards else _sideways)(link.source, link.target)
    supports = link.effect >= 0
    dash = {} if supports else {"stroke_dasharray": DASH}
    ends = f"{box_name(link.source)} \u2192 {box_name(link.target)}"
    note = f"{ends}: {effect_number(link.effect)}"
    return tag(
        "path",
        tag("title", escape(note)),
        d=path,
        fill="none",
        stroke=SUPPORTS if supports else AGAINST,
        stroke_width=_edge_width(abs(link.effect) / largest),
        stroke_opacity=0.6,
        **dash,
    )


def _path(source: Box, target: Box) -> str:
    """A curve between two cells; inside a cell, edges keep to the lanes between its boxes.

    A box of the top line is left through its upper side, others by the lane on their right; a box
    of the bottom line is entered through its lower side, others by the lane on their left.
    """
    start, stop = source.cell[0], target.cell[1]
    if source.y <= start:
        x1, leave = source.centre, ""
    else:
        x1, middle = source.x + source.width + _LANE, source.y + source.height / 2
        leave = f"M{x1 - _LANE:.1f} {middle:.1f}Q{x1:.1f} {middle:.1f} {x1:.1f} {middle - 8:.1f}L"
    if target.y + target.height >= stop:
        x2, enter = target.centre, ""
    else:
        x2, middle = target.x - _LANE, target.y + target.height / 2
        enter = f"L{x2:.1f} {middle + 8:.1f}Q{x2:.1f} {middle:.1f} {target.x:.1f} {middle:.1f}"
    bend = max(24.0, 0.45 * abs(start - stop))
    return (
        f"{leave or 'M'}{x1:.1f} {start:.1f}"
        f"C{x1:.1f} {start - bend:.1f} {x2:.1f} {stop + bend:.1f} {x2:.1f} {stop:.1f}{enter}"
    )


def _sideways(source: Box, target: Box) -> str:
    """A curve from side to side, for groups that are not above each other."""
    is_right = target.centre >= source.centre
    x1 = source.x + (source.width if is_right else 0)
    x2 = target.x + (0 if is_right else target.width)
    y1, y2 = (box.y + box.height / 2 for box in (source, target))
    bend = (1 if is_right else -1) * max(24.0, 0.4 * abs(x2 - x1))
    return f"M{x1:.1f} {y1:.1f}C{x1 + bend:.1f} {y1:.1f} {x2 - bend:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"


def _edge_width(share: float) -> float:
    # By the square root: the strongest edge is often a hundred times the weakest shown one.
    return _THINNEST + (_WIDEST - _THINNEST) * math.sqrt(share)


def _node(box: Box, circuit: Circuit, largest: float) -> str:
    low, high = box.interval
    interval = "" if math.isnan(low) else f" [{effect_number(low)}, {effect_number(high)}]"
    note = f"{box_name(box)}: effect {effect_number(box.effect)}{interval}"
    if box.kind == GROUP:
        note += f", the sum of {box.count} nodes: "
        note += ", ".join(
            f"{member.title} {effect_number(member.effect)}" for member in box.members
        )
        note += ", ..." if box.count > len(box.members) else ""
    else:
        note += f"; {box.title}"
    if box.drop is not None:
        spread = "" if math.isnan(box.drop.low) else (
            f" [{box.drop.low:.3f}, {box.drop.high:.3f}]"
        )  # fmt: skip
        note += f"; faithfulness loses {box.drop.value:.3f}{spread} without it"
    words = _group_writing(box) if box.kind == GROUP else _writing(box, circuit)
    parts = [tag("title", escape(note)), _shape(box), *words, *drop_bar(box, largest)]
    return tag("g", parts)


def _group_writing(box: Box) -> list[str]:
    """Its name, its strongest members with their effects, and what they come to together."""
    left, right = box.x + 8, box.x + box.width - 8
    room = box.width - 16
    y = box.y + 13
    found = [
        text(left, y, fitted(box.title, room, NORMAL, bold=True), size=NORMAL, fill=DARK,
             font_weight="bold")
    ]  # fmt: skip
    y = box.y + TITLE_HEIGHT - 2
    for member in box.members:
        y += LINE_HEIGHT
        number = effect_number(member.effect)
        title = fitted(member.title, room - text_width(number, SMALL) - 6, SMALL)
        colour = SUPPORTS if member.effect >= 0 else AGAINST
        found.append(text(left, y, title, size=SMALL, fill="#333"))
        found.append(text(right, y, number, size=SMALL, fill=colour, text_anchor="end"))
    if box.count > len(box.members):
        y += LINE_HEIGHT
        words = f"and {box.count - len(box.members)} more"
        found.append(text(left, y, words, size=SMALL, fill=GREY))
    y += LINE_HEIGHT
    total = effect_number(box.effect)
    found.append(text(left, y, f"{box.count} nodes, together", size=SMALL, fill=GREY))
    colour = SUPPORTS if box.effect >= 0 else AGAINST
    found.append(
        text(right, y, total, size=SMALL, fill=colour, text_anchor="end", font_weight="bold")
    )
    return found


def _note(words: str, x: float, y: float) -> str:
    """Small text that ends at x, on a ground of its own where edges pass."""
    wide = text_width(words, SMALL)
    ground = tag("rect", x=x - wide - 2, y=y - 8, width=wide + 4, height=11, fill=PALE)
    return ground + text(x, y, words, size=SMALL, fill=GREY, text_anchor="end")


def _shape(box: Box) -> str:
    supports = box.effect >= 0
    signed = {"stroke": SUPPORTS if supports else AGAINST}
    dash = {} if supports else {"stroke_dasharray": DASH}
    place = {"x": box.x, "y": box.y, "width": box.width, "height": box.height}
    match box.kind:
        case "group":
            return tag("rect", **place, rx=9, fill="#fff", **signed, stroke_width=2, **dash)
        case "feature":
            fill = _FILLS[supports]
            return tag("rect", **place, rx=4, fill=fill, **signed, stroke_width=1, **dash)
        case "token" | "metric":
            width = 1 if box.kind == "token" else 1.8
            style = {"fill": "#fff", "stroke": DARK, "stroke_width": width}
            return tag("rect", **place, rx=box.height / 2, **style)
        case _:
            return tag(
                "polygon", points=_corners(box), fill="#ececec", **signed, stroke_width=1, **dash
            )


def _corners(box: Box) -> str:
    """A box with pointed ends, as error nodes have."""
    left, right, cut = box.x, box.x + box.width, 10.0
    top, bottom, middle = box.y, box.y + box.height, box.y + box.height / 2
    corners = (
        (left, middle), (left + cut, top), (right - cut, top),
        (right, middle), (right - cut, bottom), (left + cut, bottom),
    )  # fmt: skip
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)


def _writing(box: Box, circuit: Circuit) -> list[str]:
    """Two lines: what it is, and its effect."""
    room = box.width - (26 if box.kind == "error" else 12)
    above, below = box.y + 13, box.y + 25
    colour = SUPPORTS if box.effect >= 0 else AGAINST
    if box.kind == "feature":
        name = box.name if box.name != box.title else ""  # without a label, the title is the name
        return [
            text(
                box.x + 6, above, _fitted_label(box.title, room), size=NORMAL, fill=DARK,
                font_weight="bold",
            ),
            text(box.x + 6, below, name, size=SMALL, fill=GREY),
            text(
                box.x + box.width - 6, below, effect_number(box.effect), size=SMALL, fill=colour,
                text_anchor="end",
            ),
        ]  # fmt: skip
    title, value = box.title, effect_number(box.effect)
    if box.kind == METRIC:
        title, colour = "logit difference", DARK
        clean, base = (circuit.summary.get(key) for key in ("metric_clean", "metric_baseline"))
        if clean is not None and base is not None:
            value = f"clean {effect_number(clean)}, baseline {effect_number(base)}"
    return [
        text(
            box.centre, y, fitted(line, room, size, bold=bold), size=size, fill=fill,
            text_anchor="middle", font_weight="bold" if bold else "normal",
        )
        for line, y, size, fill, bold in (
            (title, above, NORMAL, DARK, True),
            (value, below, SMALL, colour, False),
        )
    ]  # fmt: skip


def _fitted_label(label: str, room: float) -> str:
    """The label as it is, or with its first token alone, or with both of its parts cut."""
    fires, _, promotes = label.partition(" | ")
    shorter = f"{fires.partition(', ')[0]} | {promotes}" if promotes else label
    for candidate in (label, shorter):
        if text_width(candidate, NORMAL, bold=True) <= room:
            return candidate
    if not promotes:
        return fitted(label, room, NORMAL, bold=True)
    fires = fitted(fires.partition(", ")[0], 0.5 * room, NORMAL, bold=True)
    rest = room - text_width(f"{fires} | ", NORMAL, bold=True)
    return f"{fires} | {fitted(promotes, rest, NORMAL, bold=True)}"
