"""Nodes, edges and their parts as Parquet, and back.

The columns are those of `AttributionGraph.nodes`, `.edges` and `.edge_parts`, and `in_circuit` in
the first two. Types are stated here rather than taken from pandas, so that a file depends on its
rows alone and reads alike from R, DuckDB or polars. A number that does not exist (the interval of
one prompt, the linear weight of an edge at an error node) is null in the file and NaN in the frame.

Columns of text are dictionary-encoded and numbers stored byte by byte (BYTE_STREAM_SPLIT), which
zstd then makes a third smaller than numbers as they are.
"""

import io
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from saecircuits.errors import RunFolderError

# One row of a node or edge table, by column.
Row: TypeAlias = dict[str, Any]

IN_CIRCUIT: Final = "in_circuit"
_TEXT, _COUNT, _NUMBER = pa.string(), pa.int64(), pa.float64()
NODE_SCHEMA: Final = pa.schema(
    [
        ("node", _TEXT),
        ("site", _TEXT),
        ("layer", _COUNT),
        ("kind", _TEXT),
        ("feature", _COUNT),
        ("position", _COUNT),
        ("span", _TEXT),
        ("token", _TEXT),
        ("activation", _NUMBER),
        ("baseline", _NUMBER),
        ("effect", _NUMBER),
        ("effect_low", _NUMBER),
        ("effect_high", _NUMBER),
        ("sign_stability", _NUMBER),
        ("left_out", _NUMBER),
        (IN_CIRCUIT, pa.bool_()),
    ]
)
EDGE_SCHEMA: Final = pa.schema(
    [
        ("source", _TEXT),
        ("target", _TEXT),
        ("effect", _NUMBER),
        ("direct", _NUMBER),
        ("effect_low", _NUMBER),
        ("effect_high", _NUMBER),
        ("sign_stability", _NUMBER),
        (IN_CIRCUIT, pa.bool_()),
    ]
)
PART_SCHEMA: Final = pa.schema(
    [
        ("source", _TEXT),
        ("target", _TEXT),
        ("part", _TEXT),
        ("degree", _COUNT),
        ("effect", _NUMBER),
        ("value", _NUMBER),
        ("key", _NUMBER),
        ("query", _NUMBER),
    ]
)
_NULLABLE_COUNTS: Final = ("feature", "degree")


def to_parquet(frame: pd.DataFrame, schema: pa.Schema) -> bytes:
    """The frame's rows in their order; equal frames give equal bytes."""
    assert list(frame.columns) == schema.names, f"columns {list(frame.columns)} do not fit"
    arrays = [
        # `from_pandas` turns NaN and NA into null.
        pa.array(frame[field.name], type=field.type, from_pandas=True)
        for field in schema
    ]
    buffer = io.BytesIO()
    numbers = [field.name for field in schema if field.type == _NUMBER]
    encodings: dict[str, Any] = {
        "use_dictionary": [name for name in schema.names if name not in numbers],
        "use_byte_stream_split": numbers,
    }
    pq.write_table(
        pa.Table.from_arrays(arrays, schema=schema), buffer, compression="zstd", **encodings
    )
    return buffer.getvalue()


def from_parquet(data: bytes, schema: pa.Schema, *, name: str) -> pd.DataFrame:
    """The inverse of `to_parquet`.

    Args:
        name: what messages call the file.

    Raises:
        RunFolderError: no Parquet, or other columns, such as those of an earlier version.
    """
    try:
        table = pq.read_table(io.BytesIO(data))
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise RunFolderError(f"{name} is no Parquet file ({reason}); write the run again") from None
    if table.schema.remove_metadata() != schema:
        found = {f"{field.name}: {field.type}" for field in table.schema}
        wanted = {f"{field.name}: {field.type}" for field in schema}
        if found < wanted:
            raise RunFolderError(
                f"{name} lacks {', '.join(sorted(wanted - found))}: an earlier version wrote it; "
                "write the run again, with overwrite"
            )
        raise RunFolderError(
            f"{name} has other columns than a run's: missing {sorted(wanted - found) or 'none'}, "
            f"unknown {sorted(found - wanted) or 'none'}"
        )
    return pd.DataFrame({field.name: _column(table[field.name], field) for field in schema})


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """The rows as plain values."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def _column(values: pa.ChunkedArray, field: pa.Field) -> pd.Series:
    if field.type == _NUMBER:
        return pd.Series(values.to_numpy().astype(np.float64))
    if field.name in _NULLABLE_COUNTS:
        return pd.Series(pd.array(values.to_pylist(), dtype="Int64"))
    if field.type == _TEXT:
        return pd.Series(pd.array(values, dtype="str"))
    return pd.Series(values.to_numpy())
