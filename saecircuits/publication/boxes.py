"""The parts of a picture with their places; coordinates in pixels, the origin top left."""

from dataclasses import dataclass
from typing import Final

BOX_WIDTH: Final = 116.0
BOX_HEIGHT: Final = 31.0
SMALL: Final = 9.0  # font sizes
NORMAL: Final = 10.0
LEFT: Final = 112.0  # room for the names of the rows
GAP_X, GAP_Y = 18.0, 10.0
GROUP_WIDTH: Final = 158.0  # of every box in a picture with groups
TITLE_HEIGHT, LINE_HEIGHT, FOOT = 17.0, 12.0, 5.0  # of a group's box
BAR_HEIGHT: Final = 12.0  # more where a measured drop is drawn


@dataclass(frozen=True)
class Drop:
    """What faithfulness loses when a node or group is ablated, with its interval or NaN."""

    value: float
    low: float = float("nan")
    high: float = float("nan")


@dataclass(frozen=True)
class Member:
    """A line in a group's box."""

    title: str
    effect: float


@dataclass(frozen=True)
class Box:
    """A node with its place.

    Attributes:
        title: first line: label of a feature, text of a token.
        name: short name below it, such as `f217`.
        x, y: the upper left corner.
        members: of a group: its strongest, strongest first; `count` are all.
        drop: None where it was not measured.
        cell: top and bottom of the grid of boxes that it stands in; what lies between and beside
            it in its column is free for edges.
    """

    node: str
    kind: str
    title: str
    name: str
    effect: float
    interval: tuple[float, float]
    members: tuple[Member, ...] = ()
    count: int = 1
    drop: Drop | None = None
    x: float = 0.0
    y: float = 0.0
    width: float = BOX_WIDTH
    height: float = BOX_HEIGHT
    cell: tuple[float, float] = (0.0, BOX_HEIGHT)

    @property
    def centre(self) -> float:
        """Where edges meet it, horizontally."""
        return self.x + self.width / 2


@dataclass(frozen=True)
class Band:
    """A row: its name and vertical extent. Or a column: its name and horizontal extent."""

    name: str
    start: float
    stop: float

    @property
    def extent(self) -> tuple[float, float]:
        """From where to where."""
        return self.start, self.stop


@dataclass(frozen=True)
class Link:
    """A shown edge, or the sum of all edges between two boxes."""

    source: Box
    target: Box
    effect: float


@dataclass(frozen=True)
class More:
    """A note in a cell that shows only some of its nodes."""

    count: int
    x: float
    y: float


@dataclass(frozen=True)
class Layout:
    """A circuit, arranged.

    Attributes:
        shown_nodes, shown_edges: (shown, in the circuit, share of the circuit's |effect|); tokens
            and the metric are not counted as nodes, and of an edge between groups all are that it
            sums.
        groups: how many are drawn, and how many nodes are in them.
    """

    boxes: tuple[Box, ...]
    links: tuple[Link, ...]
    rows: tuple[Band, ...]
    columns: tuple[Band, ...]
    more: tuple[More, ...]
    width: float
    height: float
    shown_nodes: tuple[int, int, float]
    shown_edges: tuple[int, int, float]
    groups: tuple[int, int] = (0, 0)
