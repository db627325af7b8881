"""Which nodes and edges of a circuit a picture shows, and where.

Columns are the units of the prompt, rows the sites in the order of computation, tokens below and
the metric above. A cell holds the strongest nodes of its site and unit, in a small grid; a column
is as wide as its fullest cell, so that places where nothing happens take little room. Edges are the
strongest of those whose ends are both shown.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from saecircuits.circuits import Circuit
from saecircuits.edges.graph import METRIC
from saecircuits.publication.boxes import (
    BOX_HEIGHT,
    BOX_WIDTH,
    GAP_X,
    GAP_Y,
    LEFT,
    NORMAL,
    SMALL,
    Band,
    Box,
    Layout,
    Link,
    More,
)
from saecircuits.publication.records import FeatureLabel
from saecircuits.publication.svg import text_width
from saecircuits.publication.tables import Row, rows_of
from saecircuits.publication.tokens import shown_token
from saecircuits.splicing.sites import make_site

_COLUMN_GAP: Final = 30.0
_ROW_GAP: Final = 52.0
_MARGIN: Final = 16.0
_WIDE: Final = 1200.0  # cells get narrower grids where the columns together would be wider
_ACROSS, _DEEP = 3, 3  # boxes in a cell, side by side and one below the other
_MOST_IN_CELL: Final = 6
_MOST_NODES: Final = 60
_WIDEST_NAME: Final = 150.0
_MEMBERS: Final = ("feature", "error", "bias")
_MOST_EDGES: Final = 60


@dataclass(frozen=True)
class _Grid:
    """The picture before anything has a coordinate: which nodes go in which cell."""

    cells: dict[tuple[str, int], list[Row]]
    left_out: dict[tuple[str, int], int]
    sites: tuple[str, ...]
    units: dict[int, str]
    across: int


def arrange(circuit: Circuit, labels: Sequence[FeatureLabel]) -> Layout:
    """The circuit's strongest nodes and edges with their coordinates; the origin is top left.

    Args:
        labels: of some or all of its features; the others go by their number.
    """
    nodes, edges = rows_of(circuit.nodes), rows_of(circuit.edges)
    grid, columns = _fitting(nodes)
    rows = _rows(grid)
    texts = {(label.site, label.feature): label.text for label in labels}
    metric = next(node for node in nodes if node["kind"] == METRIC)
    boxes = [
        _metric_box(metric, rows[METRIC], columns),
        *(
            box
            for cell, members in grid.cells.items()
            for box in _cell_boxes(members, rows[cell[0]], columns[cell[1]], texts)
        ),
    ]
    links = _links(edges, boxes)
    shown = {box.node for box in boxes}
    members = {node["node"]: node["effect"] for node in nodes if node["kind"] in _MEMBERS}
    drawn = [effect for node, effect in members.items() if node in shown]
    return Layout(
        boxes=tuple(boxes),
        links=links,
        rows=tuple(rows.values()),
        columns=tuple(columns.values()),
        more=_notes(grid, rows, columns),
        width=max(box.x + box.width for box in boxes) + _MARGIN,
        height=max(row.stop for row in rows.values()),
        shown_nodes=(
            len(drawn),
            len(members),
            _share(members.values(), drawn),
        ),
        shown_edges=(
            len(links),
            len(edges),
            _share([edge["effect"] for edge in edges], [link.effect for link in links]),
        ),
    )


def _fitting(nodes: Sequence[Row]) -> tuple[_Grid, dict[int, Band]]:
    """The widest grid of each cell with which the picture is not too wide, and its columns."""
    for across in range(_ACROSS, 1, -1):
        grid = _choose(nodes, across)
        columns = _columns(grid)
        if max(column.stop for column in columns.values()) <= _WIDE:
            return grid, columns
    grid = _choose(nodes, 1)
    return grid, _columns(grid)


def _choose(nodes: Sequence[Row], across: int) -> _Grid:
    tokens = [node for node in nodes if node["kind"] == "token"]
    members = [node for node in nodes if node["kind"] in _MEMBERS]
    room = min(_MOST_IN_CELL, _DEEP * across)
    cells: dict[tuple[str, int], list[Row]] = {}
    left_out: dict[tuple[str, int], int] = {}
    n_chosen = 0
    for node in sorted(members, key=lambda node: -abs(node["effect"])):
        cell = (node["site"], node["position"])
        if n_chosen < _MOST_NODES and len(cells.get(cell, ())) < room:
            cells.setdefault(cell, []).append(node)
            n_chosen += 1
        else:
            left_out[cell] = left_out.get(cell, 0) + 1
    cells |= {(node["site"], node["position"]): [node] for node in tokens}
    hooks = {node["site"] for node in members}
    return _Grid(
        cells=cells,
        left_out=left_out,
        sites=tuple(sorted(hooks, key=lambda hook: make_site(hook, (hook,)))),
        units={
            node["position"]: node["span"] for node in sorted(nodes, key=lambda n: n["position"])
        },
        across=across,
    )


def _columns(grid: _Grid) -> dict[int, Band]:
    columns = {}
    start = LEFT
    for unit, name in grid.units.items():
        widths = [min(text_width(name, SMALL), _WIDEST_NAME), 40.0]
        for (_, other), members in grid.cells.items():
            if other != unit:
                continue
            if members[0]["kind"] == "token":
                widths.append(_token_width(members[0]["token"]))
            else:
                widths.append(_grid_width(min(grid.across, len(members))))
        columns[unit] = Band(name, start, start + max(widths))
        start += max(widths) + _COLUMN_GAP
    return columns


def _rows(grid: _Grid) -> dict[str, Band]:
    """The metric on top, then the sites from the last to the first, then the tokens."""
    rows = {METRIC: Band("metric", 0.0, BOX_HEIGHT)}
    start = BOX_HEIGHT + _ROW_GAP
    for site in reversed(grid.sites):
        sizes = [len(members) for (other, _), members in grid.cells.items() if other == site]
        deep = -(-max(sizes, default=1) // grid.across)
        stop = start + _grid_height(deep)
        rows[site] = Band(make_site(site, (site,)).label, start, stop)
        start = stop + _ROW_GAP
    for site in [site for site, _ in grid.cells if site not in rows][:1]:
        rows[site] = Band("tokens", start, start + BOX_HEIGHT)
    return rows


def _cell_boxes(
    members: Sequence[Row], row: Band, column: Band, texts: Mapping[tuple[str, int], str]
) -> list[Box]:
    """A cell's nodes in lines of equal length; the grid is centred in its column."""
    middle = (column.start + column.stop) / 2
    if members[0]["kind"] == "token":
        width = _token_width(members[0]["token"])
        box = _box(members[0], texts)
        return [replace(box, x=middle - width / 2, y=row.start, width=width, cell=row.extent)]
    room = int((column.stop - column.start + GAP_X) // (BOX_WIDTH + GAP_X))
    lines = -(-len(members) // room)
    across = -(-len(members) // lines)
    cell = (row.start, row.start + _grid_height(lines))
    boxes = []
    for number, node in enumerate(members):
        line, place = divmod(number, across)
        x = middle - _grid_width(across) / 2 + place * (BOX_WIDTH + GAP_X)
        y = row.start + line * (BOX_HEIGHT + GAP_Y)
        boxes.append(replace(_box(node, texts), x=x, y=y, cell=cell))
    return boxes


def _metric_box(metric: Row, row: Band, columns: Mapping[int, Band]) -> Box:
    """Above its column, as far as there is room."""
    column = columns[metric["position"]]
    width = 2 * BOX_WIDTH
    right = max(LEFT + width, *(band.stop for band in columns.values()))
    x = max(LEFT, min((column.start + column.stop - width) / 2, right - width))
    return replace(_box(metric, {}), x=x, y=row.start, width=width, cell=row.extent)


def _box(node: Row, texts: Mapping[tuple[str, int], str]) -> Box:
    """A node's box, not yet in its place."""
    kind = node["kind"]
    name = title = kind
    if kind == "feature":
        name = f"f{node['feature']}"
        title = texts.get((node["site"], node["feature"]), name)
    elif kind == "token":
        title = shown_token(node["token"])
    return Box(
        node=node["node"],
        kind=kind,
        title=title,
        name=name,
        effect=node["effect"],
        interval=(node["effect_low"], node["effect_high"]),
    )


def _links(edges: Sequence[Row], boxes: Sequence[Box]) -> tuple[Link, ...]:
    """The strongest edges between boxes, the weakest first, so that the strongest lie on top."""
    by_node = {box.node: box for box in boxes}
    inside = [edge for edge in edges if edge["source"] in by_node and edge["target"] in by_node]
    strongest = sorted(inside, key=lambda edge: -abs(edge["effect"]))[:_MOST_EDGES]
    return tuple(
        Link(by_node[edge["source"]], by_node[edge["target"]], edge["effect"])
        for edge in reversed(strongest)
    )


def _notes(grid: _Grid, rows: Mapping[str, Band], columns: Mapping[int, Band]) -> tuple[More, ...]:
    return tuple(
        More(count, columns[unit].stop, rows[site].stop + NORMAL)
        for (site, unit), count in grid.left_out.items()
    )


def _grid_width(across: int) -> float:
    return across * (BOX_WIDTH + GAP_X) - GAP_X


def _grid_height(lines: int) -> float:
    return lines * (BOX_HEIGHT + GAP_Y) - GAP_Y


def _token_width(token: str) -> float:
    return min(max(56.0, text_width(shown_token(token), NORMAL, bold=True) + 20), _WIDEST_NAME)


def _share(whole: Iterable[float], part: Iterable[float]) -> float:
    total = sum(abs(value) for value in whole)
    return sum(abs(value) for value in part) / total if total > 0 else 1.0
