"""Which nodes and edges of a circuit a picture shows, and where.

Columns are the units of the prompt, rows the sites in the order of computation, tokens below and
the metric above. A cell holds the strongest nodes of its site and unit, in a small grid; a column
is as wide as its fullest cell, so that places where nothing happens take little room. Edges are the
strongest of those whose ends are both shown. A group stands where its strongest member does.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from saecircuits.circuits import Circuit
from saecircuits.edges.columns import Row, rows_of
from saecircuits.features.labels import FeatureLabel
from saecircuits.nodes.names import METRIC
from saecircuits.publication.boxes import (
    BAR_HEIGHT,
    BOX_HEIGHT,
    BOX_WIDTH,
    FOOT,
    GAP_X,
    GAP_Y,
    GROUP_WIDTH,
    LEFT,
    LINE_HEIGHT,
    NORMAL,
    SMALL,
    TITLE_HEIGHT,
    Band,
    Box,
    Drop,
    Layout,
    Link,
    Member,
    More,
)
from saecircuits.publication.collapse import GROUP, Collapsed, collapse
from saecircuits.publication.grouping import Group
from saecircuits.publication.svg import text_width
from saecircuits.shown_text import shown_token
from saecircuits.splicing.sites import make_site

_COLUMN_GAP: Final = 30.0
_ROW_GAP: Final = 48.0
_MARGIN: Final = 16.0
# Cells get narrower grids where the columns together would be wider. A picture with groups is to be
# read in a paper's column, and a wider one would be made smaller there.
_WIDE, _WIDE_WITH_GROUPS = 1200.0, 820.0
_ACROSS, _DEEP = 3, 3  # boxes in a cell, side by side and one below the other
_MOST_IN_CELL: Final = 6
_MOST_NODES: Final = 60
_WIDEST_NAME: Final = 150.0
_MEMBERS: Final = ("feature", "error", "bias", GROUP)
_MOST_EDGES: Final = 60  # with groups, at most twice as many as there are boxes
_SINGLES, _FEWEST_SINGLES = 12, 4  # nodes by themselves beside groups: two fewer for each group
_LINES: Final = 3  # of a group's box that name members


@dataclass(frozen=True)
class _Grid:
    """The picture before anything has a coordinate: which boxes go in which cell."""

    cells: dict[tuple[str, int], list[Box]]
    left_out: dict[tuple[str, int], int]
    sites: tuple[str, ...]
    units: dict[int, str]
    across: int
    width: float


def arrange(
    circuit: Circuit,
    labels: Sequence[FeatureLabel],
    *,
    groups: Sequence[Group] = (),
    drops: Mapping[frozenset[str], Drop] | None = None,
) -> Layout:
    """The circuit's strongest nodes and edges with their coordinates; the origin is top left.

    Args:
        labels: of some or all of its features; the others go by their number.
        groups: nodes that are drawn as one, with the edges between them summed.
        drops: measured, by the ids of the nodes that were ablated together.
    """
    nodes, edges = rows_of(circuit.nodes), rows_of(circuit.edges)
    drawn = collapse(nodes, edges, groups)
    maker = _Maker({(one.site, one.feature): one.text for one in labels}, drawn, drops or {})
    grid, columns = _fitting(drawn.nodes, maker, len(groups))
    blocks = {
        cell: _lines(boxes, columns[cell[1]], grid.width) for cell, boxes in grid.cells.items()
    }
    rows = _rows(grid, blocks)
    metric = next(node for node in nodes if node["kind"] == METRIC)
    boxes = [
        _metric_box(maker.box(metric), rows[METRIC], columns[metric["position"]], columns),
        *(
            box
            for cell, lines in blocks.items()
            for box in _placed(lines, rows[cell[0]].start, columns[cell[1]])
        ),
    ]
    most = min(_MOST_EDGES, 2 * len(boxes)) if groups else _MOST_EDGES
    links = _links(drawn.edges, boxes, most)
    return Layout(
        boxes=tuple(boxes),
        links=links,
        rows=tuple(rows.values()),
        columns=tuple(columns.values()),
        more=_notes(grid, rows, columns),
        width=max(box.x + box.width for box in boxes) + _MARGIN,
        height=max(row.stop for row in rows.values()),
        shown_nodes=_shown_nodes(nodes, drawn, boxes),
        shown_edges=_shown_edges(edges, drawn, links),
        groups=(len(groups), sum(len(group.nodes) for group in groups)),
    )


@dataclass(frozen=True)
class _Maker:
    """Makes boxes, not yet in their places."""

    texts: Mapping[tuple[str, int], str]
    drawn: Collapsed
    drops: Mapping[frozenset[str], Drop]

    def box(self, node: Row) -> Box:
        kind = node["kind"]
        members = self.drawn.members[node["node"]] if kind == GROUP else ()
        drop = self.drops.get(frozenset(row["node"] for row in members or (node,)))
        lines = min(len(members), _LINES) + (len(members) > _LINES)
        height = TITLE_HEIGHT + (lines + 1) * LINE_HEIGHT + FOOT if members else BOX_HEIGHT
        if kind == "token":
            title = shown_token(node["token"])
        elif kind == GROUP:
            title = self.drawn.names[node["node"]]
        else:
            title = self._title(node)
        return Box(
            node=node["node"],
            kind=kind,
            title=title,
            name=f"f{node['feature']}" if kind == "feature" else kind,
            effect=node["effect"],
            interval=(node["effect_low"], node["effect_high"]),
            members=tuple(Member(self._title(row), row["effect"]) for row in members[:_LINES]),
            count=len(members) or 1,
            drop=drop,
            width=_token_width(node["token"]) if kind == "token" else BOX_WIDTH,
            height=height + (0.0 if drop is None else BAR_HEIGHT),
        )

    def _title(self, node: Row) -> str:
        if node["kind"] != "feature":
            return node["kind"]
        return self.texts.get((node["site"], node["feature"]), f"f{node['feature']}")


def _fitting(nodes: Sequence[Row], maker: _Maker, groups: int) -> tuple[_Grid, dict[int, Band]]:
    """The widest grid of each cell with which the picture is not too wide, and its columns."""
    width, wide = (GROUP_WIDTH, _WIDE_WITH_GROUPS) if groups else (BOX_WIDTH, _WIDE)
    singles = max(_FEWEST_SINGLES, _SINGLES - 2 * groups) if groups else _MOST_NODES
    for across in range(_ACROSS, 1, -1):
        grid = _choose(nodes, maker, across, width, singles)
        columns = _columns(grid)
        if max(column.stop for column in columns.values()) <= wide:
            return grid, columns
    grid = _choose(nodes, maker, 1, width, singles)
    return grid, _columns(grid)


def _choose(nodes: Sequence[Row], maker: _Maker, across: int, width: float, singles: int) -> _Grid:
    """The groups, and the strongest of the other nodes."""
    tokens = [node for node in nodes if node["kind"] == "token"]
    members = [node for node in nodes if node["kind"] in _MEMBERS]
    room = min(_MOST_IN_CELL, _DEEP * across)
    cells: dict[tuple[str, int], list[Box]] = {}
    left_out: dict[tuple[str, int], int] = {}
    n_chosen = 0
    # Groups first, and all of them: whoever asks for one wants to see it.
    for node in sorted(members, key=lambda node: (node["kind"] != GROUP, -abs(node["effect"]))):
        cell = (node["site"], node["position"])
        is_group = node["kind"] == GROUP
        if is_group or (n_chosen < singles and len(cells.get(cell, ())) < room):
            cells.setdefault(cell, []).append(replace(maker.box(node), width=width))
            n_chosen += not is_group
        else:
            left_out[cell] = left_out.get(cell, 0) + 1
    cells |= {(node["site"], node["position"]): [maker.box(node)] for node in tokens}
    hooks = {node["site"] for node in members}
    return _Grid(
        cells=cells,
        left_out=left_out,
        sites=tuple(sorted(hooks, key=lambda hook: make_site(hook, (hook,)))),
        units={
            node["position"]: node["span"] for node in sorted(nodes, key=lambda n: n["position"])
        },
        across=across,
        width=width,
    )


def _columns(grid: _Grid) -> dict[int, Band]:
    columns = {}
    start = LEFT
    for unit, name in grid.units.items():
        widths = [min(text_width(name, SMALL), _WIDEST_NAME), 40.0]
        for (_, other), boxes in grid.cells.items():
            if other == unit:
                is_token = boxes[0].kind == "token"
                across = min(grid.across, len(boxes))
                widths.append(boxes[0].width if is_token else _grid_width(across, grid.width))
        columns[unit] = Band(name, start, start + max(widths))
        start += max(widths) + _COLUMN_GAP
    return columns


def _lines(boxes: Sequence[Box], column: Band, width: float) -> list[list[Box]]:
    """A cell's boxes in lines of equal length, as many side by side as the column has room for."""
    room = max(1, int((column.stop - column.start + GAP_X) // (width + GAP_X)))
    count = -(-len(boxes) // room)
    across = -(-len(boxes) // count)
    return [list(boxes[start : start + across]) for start in range(0, len(boxes), across)]


def _rows(grid: _Grid, blocks: Mapping[tuple[str, int], list[list[Box]]]) -> dict[str, Band]:
    """The metric on top, then the sites from the last to the first, then the tokens."""
    rows = {METRIC: Band("metric", 0.0, BOX_HEIGHT)}
    start = BOX_HEIGHT + _ROW_GAP
    for site in reversed(grid.sites):
        heights = [_height(lines) for (other, _), lines in blocks.items() if other == site]
        stop = start + max(heights, default=BOX_HEIGHT)
        rows[site] = Band(make_site(site, (site,)).label, start, stop)
        start = stop + _ROW_GAP
    for site in [site for site, _ in grid.cells if site not in rows][:1]:
        rows[site] = Band("tokens", start, start + BOX_HEIGHT)
    return rows


def _placed(lines: Sequence[Sequence[Box]], top: float, column: Band) -> list[Box]:
    """The lines one below the other from `top` down, centred in their column."""
    middle = (column.start + column.stop) / 2
    width = lines[0][0].width
    left = middle - _grid_width(len(lines[0]), width) / 2
    cell = (top, top + _height(lines))
    boxes = []
    y = top
    for line in lines:
        for place, box in enumerate(line):
            boxes.append(replace(box, x=left + place * (width + GAP_X), y=y, cell=cell))
        y += max(box.height for box in line) + GAP_Y
    return boxes


def _metric_box(box: Box, row: Band, column: Band, columns: Mapping[int, Band]) -> Box:
    """Above its column, as far as there is room."""
    width = 2 * BOX_WIDTH
    right = max(LEFT + width, *(band.stop for band in columns.values()))
    x = max(LEFT, min((column.start + column.stop - width) / 2, right - width))
    return replace(box, x=x, y=row.start, width=width, cell=row.extent)


def _links(edges: Sequence[Row], boxes: Sequence[Box], most: int) -> tuple[Link, ...]:
    """The strongest edges between boxes, the weakest first, so that the strongest lie on top."""
    by_node = {box.node: box for box in boxes}
    inside = [edge for edge in edges if edge["source"] in by_node and edge["target"] in by_node]
    strongest = sorted(inside, key=lambda edge: -abs(edge["effect"]))[:most]
    return tuple(
        Link(by_node[edge["source"]], by_node[edge["target"]], edge["effect"])
        for edge in reversed(strongest)
    )


def _shown_nodes(
    nodes: Sequence[Row], drawn: Collapsed, boxes: Sequence[Box]
) -> tuple[int, int, float]:
    shown = {box.node for box in boxes}
    shown |= {row["node"] for name in shown for row in drawn.members.get(name, ())}
    members = {node["node"]: node["effect"] for node in nodes if node["kind"] in _MEMBERS}
    effects = [effect for node, effect in members.items() if node in shown]
    return len(effects), len(members), _share(members.values(), effects)


def _shown_edges(
    edges: Sequence[Row], drawn: Collapsed, links: Sequence[Link]
) -> tuple[int, int, float]:
    by_ends = {(edge["source"], edge["target"]): edge for edge in drawn.edges}
    summed = [by_ends[link.source.node, link.target.node] for link in links]
    count = sum(edge["count"] for edge in summed)
    sizes = [edge["size"] for edge in summed]
    return count, len(edges), _share([edge["effect"] for edge in edges], sizes)


def _notes(grid: _Grid, rows: Mapping[str, Band], columns: Mapping[int, Band]) -> tuple[More, ...]:
    return tuple(
        More(count, columns[unit].stop, rows[site].stop + NORMAL)
        for (site, unit), count in grid.left_out.items()
    )


def _grid_width(across: int, width: float) -> float:
    return across * (width + GAP_X) - GAP_X


def _height(lines: Sequence[Sequence[Box]]) -> float:
    return sum(max(box.height for box in line) + GAP_Y for line in lines) - GAP_Y


def _token_width(token: str) -> float:
    return min(max(56.0, text_width(shown_token(token), NORMAL, bold=True) + 20), _WIDEST_NAME)


def _share(whole: Iterable[float], part: Iterable[float]) -> float:
    total = sum(abs(value) for value in whole)
    return sum(abs(value) for value in part) / total if total > 0 else 1.0
