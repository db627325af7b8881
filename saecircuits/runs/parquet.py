"""Nodes, edges and their parts as Parquet, and back.

Types are stated (`edges.columns`) rather than taken from pandas, so that a file depends on its rows
alone and reads alike from R, DuckDB or polars. A number that does not exist (the interval of one
prompt, the linear weight of an edge at an error node) is null in the file and NaN in the frame.

Columns of text are dictionary-encoded and numbers stored byte by byte (BYTE_STREAM_SPLIT), which
zstd then makes a third smaller than numbers as they are.
"""

import io
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from saecircuits.edges import columns as tables
from saecircuits.edges.columns import Column, Columns, names_of, of_kind, schema_of
from saecircuits.errors import RunFolderError
from saecircuits.runs.folder import EDGES, NODES, PARTS

# The columns of a run's tables, by the names of their files.
STORED: Final = {
    NODES: tables.STORED_NODES,
    EDGES: tables.STORED_EDGES,
    PARTS: tables.PART_TABLE,
}


def to_parquet(frame: pd.DataFrame, columns: Columns) -> bytes:
    """The frame's rows in their order; equal frames give equal bytes."""
    schema = schema_of(columns)
    assert list(frame.columns) == schema.names, f"columns {list(frame.columns)} do not fit"
    arrays = [
        # `from_pandas` turns NaN and NA into null.
        pa.array(frame[field.name], type=field.type, from_pandas=True)
        for field in schema
    ]
    buffer = io.BytesIO()
    numbers = of_kind(columns, "number")
    pq.write_table(
        pa.Table.from_arrays(arrays, schema=schema),
        buffer,
        compression="zstd",
        use_dictionary=[name for name in schema.names if name not in numbers],  # pyright: ignore[reportArgumentType]
        use_byte_stream_split=list(numbers),  # pyright: ignore[reportArgumentType]
    )
    return buffer.getvalue()


def from_parquet(data: bytes, columns: Columns, *, name: str) -> pd.DataFrame:
    """The inverse of `to_parquet`; what an earlier version did not write has missing values.

    Args:
        name: what messages call the file.

    Raises:
        RunFolderError: no Parquet, a column of another type or one that is not known, or none where
            every version has one.
    """
    try:
        table = pq.read_table(io.BytesIO(data))
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise RunFolderError(f"{name} is no Parquet file ({reason}); write the run again") from None
    found = {f"{field.name}: {field.type}" for field in table.schema}
    wanted = {f"{field.name}: {field.type}" for field in schema_of(columns)}
    needed = {f"{f.name}: {f.type}" for f in schema_of(tuple(c for c in columns if c.is_needed))}
    if not needed <= found <= wanted:
        raise RunFolderError(
            f"{name} has other columns than a run's: missing {sorted(needed - found) or 'none'}, "
            f"unknown {sorted(found - wanted) or 'none'}; read it with the version that wrote it, "
            "or write the run again"
        )
    return pd.DataFrame(
        {
            column.name: _series(table[column.name], column)
            if column.name in table.schema.names
            else column.missing(len(table))
            for column in columns
        },
        columns=list(names_of(columns)),
    )


def _series(values: pa.ChunkedArray, column: Column) -> pd.Series:
    match column.kind:
        case "number":
            return pd.Series(values.to_numpy().astype(np.float64))
        case "count or none":
            return pd.Series(pd.array(values.to_pylist(), dtype="Int64"))
        case "text":
            return pd.Series(values.to_pylist(), dtype="str")
        case _:
            return pd.Series(values.to_numpy())
