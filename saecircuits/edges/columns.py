"""The columns of nodes, edges and parts: their names, types and meaning, told once.

`AttributionGraph`, the Parquet files, exports, the page's tables and docs/columns.md are made from
these rows. A new column is a row here, not `is_needed`, and the line that computes it: folders of
earlier versions, which lack it, are then read with missing values there. To take away a column that
every version wrote, or to change what one means, moves the number of the format (`schema.FORMAT`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import pandas as pd
import pyarrow as pa

# One row of a table, by column.
Row: TypeAlias = dict[str, Any]
Kind: TypeAlias = Literal["text", "count", "count or none", "number", "flag"]
_ARROW: Final[Mapping[Kind, pa.DataType]] = {
    "text": pa.string(),
    "count": pa.int64(),
    "count or none": pa.int64(),
    "number": pa.float64(),
    "flag": pa.bool_(),
}
_FILLED: Final[Mapping[Kind, Callable[[list[Any]], pd.Series]]] = {
    # An empty text is left out by some formats.
    "text": lambda cells: pd.Series(["" if x is None else x for x in cells], dtype="str"),
    "count": lambda cells: pd.Series([int(x) for x in cells], dtype="int64"),
    "count or none": lambda cells: pd.Series(pd.array(cells, dtype="Int64")),
    "number": lambda cells: pd.Series(
        [math.nan if x is None else float(x) for x in cells], dtype="float64"
    ),
    "flag": lambda cells: pd.Series(cells, dtype="bool"),
}
_MISSING: Final[Mapping[Kind, tuple[Any, str]]] = {
    "text": (math.nan, "str"),
    "count": (pd.NA, "Int64"),
    "count or none": (pd.NA, "Int64"),
    "number": (math.nan, "float64"),
    "flag": (pd.NA, "boolean"),
}


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        kind: numbers that do not exist are null in files and NaN in tables.
        meaning: in a line.
        page: the name under which `report.html` has it, a list of numbers; None for columns that
            it has in another form, or not at all.
        is_needed: every version wrote it.
    """

    name: str
    kind: Kind
    meaning: str
    page: str | None = None
    is_needed: bool = True

    def filled(self, cells: list[Any]) -> pd.Series:
        """The column from plain values, None for what does not exist.

        Raises:
            TypeError, ValueError: cells of another kind.
        """
        return _FILLED[self.kind](cells)

    def missing(self, length: int) -> pd.Series:
        """The column of a table that was written before there was one."""
        value, dtype = _MISSING[self.kind]
        return pd.Series([value] * length, dtype=dtype)  # pyright: ignore[reportCallIssue, reportArgumentType]


Columns: TypeAlias = tuple[Column, ...]
_EFFECT: Final = Column(
    "effect",
    "number",
    "metric with the node clean minus metric with it at its baseline, as estimated, in logits: "
    "signed, mean over prompts",
    page="effect",
)
_INTERVAL: Final = (
    Column("effect_low", "number", "lower end of the 95% bootstrap interval over prompts; empty "
           "for a single prompt", page="low", is_needed=False),
    Column("effect_high", "number", "upper end of it", page="high", is_needed=False),
)  # fmt: skip
_STABILITY: Final = Column(
    "sign_stability",
    "number",
    "share of prompts with the mean's sign, of those where the effect is not zero; empty where it "
    "is zero on all",
    is_needed=False,
)
_ENDS: Final = (
    Column("source", "text", "id of the node that the edge begins at"),
    Column("target", "text", "id of the node that it ends in"),
)
NODE_TABLE: Final[Columns] = (
    Column("node", "text", "the id, such as `blocks.1.hook_resid_post.f217@name`"),
    Column("site", "text", "hook name of the site; empty for the metric"),
    Column("layer", "count", "the block; -1 for tokens"),
    Column("kind", "text", "`feature`, `error`, `token` or `metric`"),
    Column("feature", "count or none", "index in the dictionary; empty for other kinds"),
    Column("position", "count", "number of the unit (span or position of the prompt)"),
    Column("span", "text", "name of the unit"),
    Column("token", "text", "the commonest token in it"),
    Column("activation", "number", "on clean prompts, mean over prompts and over the unit's tokens "
           "(of error and token nodes: the norm)", page="activation"),
    Column("baseline", "number", "what ablation sets it to, the same mean", page="baseline"),
    _EFFECT,
    *_INTERVAL,
    _STABILITY,
    Column("left_out", "number", "effect less the sum of the node's out-edges: for the estimator "
           "`gradient` exactly what it does through nodes that edges were not computed into; empty "
           "for nodes that edges were not computed from", page="left_out", is_needed=False),
)  # fmt: skip
EDGE_TABLE: Final[Columns] = (
    *_ENDS,
    Column("effect", "number", "what of the source's effect passes by this edge directly, in "
           "logits: signed, mean over prompts", page="effect"),
    Column("direct", "number", "the linear weight `da_target/da_source`, mean over prompts; empty "
           "where an end is no feature", page="direct", is_needed=False),
    *_INTERVAL,
    _STABILITY,
)  # fmt: skip
PART_TABLE: Final[Columns] = (
    *_ENDS,
    Column("part", "text", "the component, or components passed in turn, such as `L0.H1>L0.MLP`"),
    Column("degree", "count or none", "how many components are passed; empty where not all are "
           "told apart", is_needed=False),
    Column("effect", "number", "of the edge by this way; over its parts it adds up to the edge's",
           page="effect"),
    Column("value", "number", "share in `effect` of what heads read as values; empty without a "
           "head", page="value", is_needed=False),
    Column("key", "number", "of what moves their patterns as keys", page="key", is_needed=False),
    Column("query", "number", "of what moves them as queries", page="query", is_needed=False),
)  # fmt: skip
IN_CIRCUIT: Final = "in_circuit"
_MARK: Final = Column(IN_CIRCUIT, "flag", "the circuit keeps it")
# What a run's files hold.
STORED_NODES: Final[Columns] = (*NODE_TABLE, _MARK)
STORED_EDGES: Final[Columns] = (*EDGE_TABLE, _MARK)


def names_of(columns: Columns) -> tuple[str, ...]:
    """Their names, in order."""
    return tuple(column.name for column in columns)


def of_kind(columns: Columns, *kinds: Kind) -> tuple[str, ...]:
    """The names of those of some kinds."""
    return tuple(column.name for column in columns if column.kind in kinds)


def schema_of(columns: Columns) -> pa.Schema:
    """The schema of a Parquet file with these columns."""
    return pa.schema([(column.name, _ARROW[column.kind]) for column in columns])


def table_of(rows: Sequence[Mapping[str, Any]], columns: Columns) -> pd.DataFrame:
    """A table from rows of plain values; what a row lacks does not exist.

    Raises:
        ValueError: naming a column that cannot be made of what the rows have there.
    """
    found = {}
    for column in columns:
        try:
            found[column.name] = column.filled([row.get(column.name) for row in rows])
        except (TypeError, ValueError) as error:
            raise ValueError(f"column {column.name!r} cannot be read: {error}") from None
    return pd.DataFrame(found)


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """The rows as plain values."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]
