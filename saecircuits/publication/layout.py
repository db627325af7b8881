"""Which nodes and edges of a circuit a picture shows, and where.

Columns are the units of the prompt, rows the sites in the order of computation, tokens below and
the metric above. A cell holds the strongest nodes of its site and unit, in a small grid; a column
is as wide as its fullest cell, so that places where nothing happens take little room. Edges are the
strongest of those whose ends are both shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pandas as pd

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
from saecircuits.publication.tokens import shown_token
from saecircuits.splice.sites import make_site

_COLUMN_GAP: Final = 30.0
_ROW_GAP: Final = 52.0
_MARGIN: Final = 16.0
_WIDE: Final = 1200.0  # cells get narrower grids where the columns together would be wider
_ACROSS, _DEEP = 3, 3  # boxes in a cell, side by side and one below the other
_MOST_IN_CELL: Final = 6
_MOST_NODES: Final = 60
_MOST_EDGES: Final = 60


@dataclass(frozen=True)
class _Grid:
    """The picture before anything has a coordinate: which rows go in which cell."""

    cells: dict[tuple[str, int], pd.DataFrame]
    left_out: dict[tuple[str, int], int]
    sites: tuple[str, ...]
    units: tuple[int, ...]
    across: int


def arrange(circuit: Circuit, labels: Sequence[FeatureLabel]) -> Layout:
    """The circuit's strongest nodes and edges with their coordinates; the origin is top left.

    Args:
        labels: of some or all of its features; the others go by their number.
    """
    for across in range(_ACROSS, 0, -1):
        grid = _choose(circuit.nodes, across)
        columns = _columns(grid, circuit.nodes)
        if max(column.stop for column in columns.values()) <= _WIDE:
            break
    rows = _rows(grid)
    texts = {(label.site, label.feature): label.text for label in labels}
    boxes = [
        box
        for cell, table in grid.cells.items()
        for box in _cell_boxes(table, rows[cell[0]], columns[cell[1]], texts)
    ]
    boxes.append(_metric_box(circuit.nodes, rows[METRIC], columns))
    width = max(column.stop for column in columns.values()) + _MARGIN
    links = _links(circuit.edges, boxes)
    members = circuit.nodes[circuit.nodes["kind"].isin(["feature", "error"])]
    is_shown = members["node"].isin([box.node for box in boxes])
    return Layout(
        boxes=tuple(boxes),
        links=links,
        rows=tuple(rows.values()),
        columns=tuple(columns.values()),
        more=_notes(grid, rows, columns),
        width=width,
        height=max(row.stop for row in rows.values()),
        shown_nodes=(
            int(is_shown.sum()),
            len(members),
            _share(members["effect"], members["effect"][is_shown]),
        ),
        shown_edges=(
            len(links),
            len(circuit.edges),
            _share(circuit.edges["effect"], [link.effect for link in links]),
        ),
    )


def _choose(nodes: pd.DataFrame, across: int) -> _Grid:
    tokens, members = (
        nodes[nodes["kind"].isin(kinds)] for kinds in (["token"], ["feature", "error", "bias"])
    )
    by_strength = members["effect"].abs().sort_values(ascending=False, kind="stable").index
    ranked = members.loc[by_strength]
    room = min(_MOST_IN_CELL, _DEEP * across)
    chosen: dict[tuple[str, int], list[int]] = {}
    total: dict[tuple[str, int], int] = {}
    n_chosen = 0
    for index, site, unit in zip(ranked.index, ranked["site"], ranked["position"], strict=True):
        cell = (site, int(unit))
        total[cell] = total.get(cell, 0) + 1
        mine = chosen.setdefault(cell, [])
        if n_chosen < _MOST_NODES and len(mine) < room:
            mine.append(index)
            n_chosen += 1
    cells = {cell: ranked.loc[rows] for cell, rows in chosen.items() if rows}
    cells |= {
        (site, int(unit)): tokens.loc[[index]]
        for index, site, unit in zip(tokens.index, tokens["site"], tokens["position"], strict=True)
    }
    hooks = set(members["site"])
    return _Grid(
        cells=cells,
        left_out={
            cell: count - len(chosen[cell])
            for cell, count in total.items()
            if len(chosen[cell]) < count
        },
        sites=tuple(sorted(hooks, key=lambda hook: make_site(hook, (hook,)))),
        units=tuple(sorted(set(nodes["position"].astype(int)))),
        across=across,
    )


def _columns(grid: _Grid, nodes: pd.DataFrame) -> dict[int, Band]:
    names = {
        int(unit): shown_token(name)
        for unit, name in zip(nodes["position"], nodes["span"], strict=True)
    }
    columns = {}
    start = LEFT
    for unit in grid.units:
        mine = [table for (_, other), table in grid.cells.items() if other == unit]
        widths = [text_width(names[unit], SMALL), 40.0]
        for table in mine:
            if (table["kind"] == "token").all():
                widths.append(_token_width(table["token"].iloc[0]))
            else:
                n = min(grid.across, len(table))
                widths.append(n * (BOX_WIDTH + GAP_X) - GAP_X)
        columns[unit] = Band(names[unit], start, start + max(widths))
        start += max(widths) + _COLUMN_GAP
    return columns


def _rows(grid: _Grid) -> dict[str, Band]:
    """The metric on top, then the sites from the last to the first, then the tokens."""
    rows = {METRIC: Band("metric", 0.0, BOX_HEIGHT)}
    start = BOX_HEIGHT + _ROW_GAP
    for site in reversed(grid.sites):
        fullest = max(
            (len(table) for (other, _), table in grid.cells.items() if other == site), default=1
        )
        deep = -(-fullest // grid.across)
        stop = start + deep * (BOX_HEIGHT + GAP_Y) - GAP_Y
        rows[site] = Band(make_site(site, (site,)).label, start, stop)
        start = stop + _ROW_GAP
    tokens = [site for site, _ in grid.cells if site not in rows]
    for site in dict.fromkeys(tokens):
        rows[site] = Band("tokens", start, start + BOX_HEIGHT)
    return rows


def _cell_boxes(
    table: pd.DataFrame, row: Band, column: Band, texts: dict[tuple[str, int], str]
) -> list[Box]:
    """A cell's nodes in lines of equal length; the grid is centred in its column."""
    if (table["kind"] == "token").all():
        width = _token_width(table["token"].iloc[0])
        x = (column.start + column.stop - width) / 2
        return [_box(table.iloc[0], x, row.start, width, (row.start, row.stop), {})]
    room = int((column.stop - column.start + GAP_X) // (BOX_WIDTH + GAP_X))
    lines = -(-len(table) // room)
    across = -(-len(table) // lines)
    cell = (row.start, row.start + lines * (BOX_HEIGHT + GAP_Y) - GAP_Y)
    boxes = []
    for number in range(len(table)):
        line, place = divmod(number, across)
        used = across * (BOX_WIDTH + GAP_X) - GAP_X
        x = (column.start + column.stop - used) / 2 + place * (BOX_WIDTH + GAP_X)
        y = row.start + line * (BOX_HEIGHT + GAP_Y)
        boxes.append(_box(table.iloc[number], x, y, BOX_WIDTH, cell, texts))
    return boxes


def _box(
    node: pd.Series,
    x: float,
    y: float,
    width: float,
    cell: tuple[float, float],
    texts: dict[tuple[str, int], str],
) -> Box:
    kind = str(node["kind"])
    name = title = kind
    if kind == "feature":
        name = f"f{int(node['feature'])}"
        title = texts.get((node["site"], int(node["feature"])), name)
    elif kind == "token":
        title = shown_token(node["token"])
    return Box(
        node=node["node"],
        kind=kind,
        title=title,
        name=name,
        effect=float(node["effect"]),
        interval=(float(node["effect_low"]), float(node["effect_high"])),
        x=x,
        y=y,
        width=width,
        cell=cell,
    )


def _metric_box(nodes: pd.DataFrame, row: Band, columns: dict[int, Band]) -> Box:
    metric = nodes[nodes["kind"] == METRIC].iloc[0]
    column = columns[int(metric["position"])]
    width = 2 * BOX_WIDTH
    right = max(LEFT + width, max(band.stop for band in columns.values()))
    x = min((column.start + column.stop - width) / 2, right - width)
    return _box(metric, max(LEFT, x), row.start, width, (row.start, row.stop), {})


def _links(edges: pd.DataFrame, boxes: Sequence[Box]) -> tuple[Link, ...]:
    """The strongest edges between boxes, the weakest first, so that the strongest lie on top."""
    by_node = {box.node: box for box in boxes}
    inside = edges[edges["source"].isin(by_node) & edges["target"].isin(by_node)]
    order = inside["effect"].abs().sort_values(ascending=False, kind="stable").index[:_MOST_EDGES]
    return tuple(
        Link(by_node[edge["source"]], by_node[edge["target"]], float(edge["effect"]))
        for _, edge in inside.loc[order[::-1]].iterrows()
    )


def _notes(grid: _Grid, rows: dict[str, Band], columns: dict[int, Band]) -> tuple[More, ...]:
    return tuple(
        More(count, columns[unit].stop, rows[site].stop + NORMAL)
        for (site, unit), count in grid.left_out.items()
    )


def _token_width(token: str) -> float:
    return max(56.0, text_width(shown_token(token), NORMAL, bold=True) + 20)


def _share(whole: Sequence[float], part: Sequence[float]) -> float:
    total = sum(abs(value) for value in whole)
    return sum(abs(value) for value in part) / total if total > 0 else 1.0
