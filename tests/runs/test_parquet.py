"""Tables survive the trip to Parquet and back, whatever is in them."""

import io

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from saecircuits.errors import RunFolderError
from saecircuits.runs.parquet import (
    EDGE_SCHEMA,
    IN_CIRCUIT,
    NODE_SCHEMA,
    PART_SCHEMA,
    from_parquet,
    rows_of,
    to_parquet,
)
from tests.made import made_circuit

NUMBERS = st.floats(allow_infinity=False) | st.just(float("nan"))
EDGES = st.lists(st.tuples(st.text(), st.text(), *[NUMBERS] * 5, st.booleans()))


def edge_frame(rows: list[tuple]) -> pd.DataFrame:
    types = dict.fromkeys(EDGE_SCHEMA.names[2:7], "float64") | {IN_CIRCUIT: "bool"}
    frame = pd.DataFrame(rows, columns=EDGE_SCHEMA.names)
    return frame.astype({"source": "str", "target": "str", **types})


@settings(max_examples=60, deadline=None)
@given(rows=EDGES)
def test_edges_come_back_as_they_were(rows: list[tuple]) -> None:
    frame = edge_frame(rows)
    back = from_parquet(to_parquet(frame, EDGE_SCHEMA), EDGE_SCHEMA, name="edges")
    pd.testing.assert_frame_equal(back, frame, check_exact=True)


@pytest.mark.parametrize("seed", range(3))
def test_nodes_come_back_as_they_were(seed: int) -> None:
    frame = made_circuit(seed=seed).nodes.assign(**{IN_CIRCUIT: True})
    back = from_parquet(to_parquet(frame, NODE_SCHEMA), NODE_SCHEMA, name="nodes")
    pd.testing.assert_frame_equal(back, frame, check_exact=True)


def test_parts_come_back_as_they_were() -> None:
    frame = made_circuit().edge_parts
    frame.loc[3, "degree"] = pd.NA  # a part that is told apart no further
    back = from_parquet(to_parquet(frame, PART_SCHEMA), PART_SCHEMA, name="parts")
    pd.testing.assert_frame_equal(back, frame, check_exact=True)


def test_text_is_stored_once_and_numbers_byte_by_byte() -> None:
    frame = made_circuit().edge_parts
    columns = pq.read_metadata(io.BytesIO(to_parquet(frame, PART_SCHEMA))).row_group(0)
    encodings = {
        columns.column(number).path_in_schema: columns.column(number).encodings
        for number in range(len(PART_SCHEMA))
    }
    for name in ("source", "target", "part"):
        assert "RLE_DICTIONARY" in encodings[name]
    for name in ("effect", "value", "key", "query"):
        assert "BYTE_STREAM_SPLIT" in encodings[name]


def test_equal_frames_give_equal_bytes() -> None:
    first, second = (made_circuit().nodes.assign(**{IN_CIRCUIT: False}) for _ in range(2))
    assert to_parquet(first, NODE_SCHEMA) == to_parquet(second, NODE_SCHEMA)


def test_bytes_do_not_depend_on_the_frames_index() -> None:
    frame = made_circuit().nodes.assign(**{IN_CIRCUIT: False})
    moved = frame.set_index(np.arange(len(frame)) + 7)
    assert to_parquet(moved, NODE_SCHEMA) == to_parquet(frame, NODE_SCHEMA)


def test_other_columns_are_refused_by_name() -> None:
    data = to_parquet(made_circuit().edges.assign(**{IN_CIRCUIT: False}), EDGE_SCHEMA)
    with pytest.raises(RunFolderError, match=r"nodes\.parquet has other columns.*source: string"):
        from_parquet(data, NODE_SCHEMA, name="nodes.parquet")


def test_a_table_of_an_earlier_version_is_refused() -> None:
    earlier = pa.schema([field for field in EDGE_SCHEMA if field.name != "sign_stability"])
    frame = made_circuit().edges.assign(**{IN_CIRCUIT: False}).drop(columns="sign_stability")
    with pytest.raises(RunFolderError, match=r"lacks sign_stability: double.*earlier version"):
        from_parquet(to_parquet(frame, earlier), EDGE_SCHEMA, name="edges.parquet")


@pytest.mark.parametrize("data", [b"", b"PAR1", b"\x80\x04pickle", b"{}" * 50])
def test_what_is_no_parquet_is_refused(data: bytes) -> None:
    with pytest.raises(RunFolderError, match="nodes is no Parquet file"):
        from_parquet(data, NODE_SCHEMA, name="nodes")


def test_rows_are_plain_values() -> None:
    row = rows_of(made_circuit().nodes)[1]
    assert type(row["effect"]) is float
    assert type(row["position"]) is int
