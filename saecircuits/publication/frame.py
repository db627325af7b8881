"""What stands around the graph of a picture: header, rows and columns, legend, and its words."""

from typing import Final, NamedTuple

from saecircuits.choices import name_of
from saecircuits.circuits import Circuit
from saecircuits.publication.boxes import LEFT, NORMAL, SMALL, Box, Layout
from saecircuits.publication.collapse import GROUP
from saecircuits.publication.svg import fitted, tag, text, text_width, wrapped
from saecircuits.runs.phrases import effect_number, faithfulness_phrase, pair_phrase
from saecircuits.runs.records import Example
from saecircuits.shown_text import visible
from saecircuits.validation import ValidationReport

SUPPORTS: Final = "#0072b2"
AGAINST: Final = "#c64f00"
DARK, GREY, PALE = "#222", "#5f5f5f", "#f5f5f3"
DASH: Final = "5 3"
MARGIN: Final = 18.0
_LINE: Final = 15.0
_TITLE: Final = 17.0  # font size
_PROMPT: Final = 160  # characters of an example


class Part(NamedTuple):
    """Elements from y = 0 downwards, and how high they are together."""

    elements: list[str]
    height: float


def header(
    circuit: Circuit,
    layout: Layout,
    report: ValidationReport | None,
    *,
    title: str,
    example: Example | None,
    width: float,
) -> Part:
    """Title, example, faithfulness, and what is left out."""
    room = width - 2 * MARGIN
    shown = fitted(title, room, _TITLE, bold=True)
    elements = [text(MARGIN, 30.0, shown, size=_TITLE, font_weight="bold")]
    y = 36.0
    paragraphs = [] if example is None else [pair_phrase(example, longest=_PROMPT)]
    paragraphs += [faithfulness_phrase(report), shown_phrase(layout)]
    for paragraph in paragraphs:
        for line in wrapped(paragraph, room, NORMAL + 1):
            y += _LINE
            elements.append(text(MARGIN, y, line, size=NORMAL + 1, fill="#333"))
    return Part(elements, y)


def background(layout: Layout, width: float) -> list[str]:
    """A pale band for every row with its name, and the columns' names below."""
    elements = []
    for row in layout.rows:
        elements.append(
            tag(
                "rect",
                x=8.0,
                y=row.start - 8,
                width=width - 16,
                height=row.stop - row.start + 16,
                rx=6,
                fill=PALE,
            )
        )
        middle = (row.start + row.stop) / 2 + 3.5
        name = fitted(row.name, LEFT - 26, NORMAL)
        elements.append(text(16.0, middle, name, size=NORMAL, fill=GREY))
    y = layout.height + 22
    for column in layout.columns:
        name = fitted(visible(column.name), column.stop - column.start + 20, SMALL + 0.5)
        middle = (column.start + column.stop) / 2
        elements.append(text(middle, y, name, size=SMALL + 0.5, fill=GREY, text_anchor="middle"))
    return elements


def legend(circuit: Circuit, layout: Layout, width: float) -> Part:
    """What lines, shapes and numbers mean."""
    entries: list[tuple[str, str]] = [
        (_sample_line(SUPPORTS, ""), "supports the answer"),
        (_sample_line(AGAINST, DASH), "works against it"),
    ]
    if layout.links:
        largest = max(abs(link.effect) for link in layout.links)
        entries.append(
            (
                tag("path", d="M0 -4 L30 -1 L30 -7 Z", fill=GREY),
                f"width: |effect|, widest {effect_number(largest)[1:]}",
            )
        )
    outline = {"stroke": DARK, "stroke_width": 1}
    entries += [
        (tag("rect", x=6, y=-9, width=20, height=11, rx=2, fill="#fff", **outline), "feature"),
        (
            tag("polygon", points="4,-3.5 9,-9 23,-9 28,-3.5 23,2 9,2", fill="#ececec", **outline),
            "error node (what the dictionary leaves out)",
        ),
        (tag("rect", x=5, y=-9, width=22, height=11, rx=5.5, fill="#fff", **outline), "token"),
    ]
    if layout.groups[0]:
        heavy = {"stroke": DARK, "stroke_width": 2}
        sample = tag("rect", x=6, y=-9, width=20, height=11, rx=4, fill="#fff", **heavy)
        entries.append((sample, "group: its nodes as one, edges summed"))
    if any(box.drop is not None for box in layout.boxes):
        falls = tag("rect", x=2, y=-7, width=13, height=6, fill=SUPPORTS)
        rises = tag("rect", x=18, y=-7, width=12, height=6, fill="#fff", stroke=AGAINST,
                    stroke_width=1, stroke_dasharray="3 1.5")  # fmt: skip
        words = "measured: change of faithfulness when it is ablated (filled: falls, open: rises)"
        entries.append((falls + rises, words))
    elements, x, y = [], MARGIN, 10.0
    for sample, words in entries:
        used = 38 + text_width(words, NORMAL) + 14
        if x + used > width and x > MARGIN:
            x, y = MARGIN, y + _LINE + 3
        elements.append(tag("g", sample, transform=f"translate({x:.1f} {y:.1f})"))
        elements.append(text(x + 36, y, words, size=NORMAL, fill="#333"))
        x += used
    note = (
        "Numbers are effects in logits: the metric with the node clean minus the metric with it at "
        f"its {name_of(circuit.settings.baseline)} baseline, as estimated; mean over the training "
        "prompts. "
        "Tokens are the commonest ones in their place; f-numbers are indices of features."
    )
    for line in wrapped(note, width - 2 * MARGIN, NORMAL):
        y += _LINE
        elements.append(text(MARGIN, y + 3, line, size=NORMAL, fill=GREY))
    return Part(elements, y)


def description(circuit: Circuit, layout: Layout, report: ValidationReport | None) -> str:
    """The picture in words, for readers who do not see it."""
    boxes = sorted(layout.boxes, key=lambda box: -abs(box.effect))
    strongest = [box for box in boxes if box.kind in ("feature", "error", GROUP)][:5]
    nodes = "; ".join(map(_described, strongest))
    edges = "; ".join(
        f"{box_name(link.source)} to {box_name(link.target)} {effect_number(link.effect)}"
        for link in layout.links[:-6:-1]
    )
    return (
        f"A graph of {circuit.size} nodes over {len(layout.columns)} places of the prompt and "
        f"{len(layout.rows)} rows from the tokens up to the metric. {shown_phrase(layout)} "
        f"{faithfulness_phrase(report)} Strongest nodes: {nodes}. Strongest edges: {edges}."
    )


def box_name(box: Box) -> str:
    """What a box is called in words: the id of a node, the name of a group."""
    return box.title if box.kind == GROUP else box.node


def _described(box: Box) -> str:
    what = f"group of {box.count}" if box.kind == GROUP else box.title
    drop = ""
    if box.drop is not None:
        drop = f", faithfulness {effect_number(-box.drop.value)} when it is ablated"
    return f"{box_name(box)} ({what}) {effect_number(box.effect)}{drop}"


def shown_phrase(layout: Layout) -> str:
    """What of the circuit is shown, in one line."""
    nodes, edges = layout.shown_nodes, layout.shown_edges
    groups, grouped = layout.groups
    inside = f", {grouped:,} of them in {groups:,} groups," if groups else ""
    return (
        f"Showing {nodes[0]:,} of {nodes[1]:,} nodes ({nodes[2]:.0%} of their summed |effect|)"
        f"{inside} and {edges[0]:,} of {edges[1]:,} edges ({edges[2]:.0%})."
    )


def _sample_line(colour: str, dash: str) -> str:
    dashed = {"stroke_dasharray": dash} if dash else {}
    return tag("path", d="M0 -4H30", stroke=colour, stroke_width=2.5, stroke_opacity=0.7, **dashed)
