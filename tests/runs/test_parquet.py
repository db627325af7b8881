"""Tables survive the trip to Parquet and back, whatever is in them."""

import io

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings

from saecircuits.edges.columns import (
    IN_CIRCUIT,
    PART_TABLE,
    STORED_EDGES,
    STORED_NODES,
    Column,
    Columns,
    Kind,
    names_of,
    rows_of,
)
from saecircuits.errors import RunFolderError
from saecircuits.runs.parquet import from_parquet, to_parquet
from tests.made import made_circuit

NUMBERS = st.floats(allow_infinity=False) | st.just(float("nan"))
EDGES = st.lists(st.tuples(st.text(), st.text(), *[NUMBERS] * 5, st.booleans()))


def edge_frame(rows: list[tuple]) -> pd.DataFrame:
    types = dict.fromkeys(names_of(STORED_EDGES)[2:7], "float64") | {IN_CIRCUIT: "bool"}
    frame = pd.DataFrame(rows, columns=list(names_of(STORED_EDGES)))
    return frame.astype({"source": "str", "target": "str", **types})


@settings(max_examples=60, deadline=None)
@given(rows=EDGES)
@example(rows=[("", "\0", 0.0, 0.0, 0.0, 0.0, 0.0, False)])  # pandas 2 drops it from some arrays
def test_edges_come_back_as_they_were(rows: list[tuple]) -> None:
    frame = edge_frame(rows)
    back = from_parquet(to_parquet(frame, STORED_EDGES), STORED_EDGES, name="edges")
    pd.testing.assert_frame_equal(back, frame, check_exact=True)


@pytest.mark.parametrize("seed", range(3))
def test_nodes_come_back_as_they_were(seed: int) -> None:
    frame = made_circuit(seed=seed).nodes.assign(**{IN_CIRCUIT: True})
    back = from_parquet(to_parquet(frame, STORED_NODES), STORED_NODES, name="nodes")
    pd.testing.assert_frame_equal(back, frame, check_exact=True)


def test_parts_come_back_as_they_were() -> None:
    frame = made_circuit().edge_parts
    frame.loc[3, "degree"] = pd.NA  # a part that is told apart no further
    back = from_parquet(to_parquet(frame, PART_TABLE), PART_TABLE, name="parts")
    pd.testing.assert_frame_equal(back, frame, check_exact=True)


def test_text_is_stored_once_and_numbers_byte_by_byte() -> None:
    frame = made_circuit().edge_parts
    columns = pq.read_metadata(io.BytesIO(to_parquet(frame, PART_TABLE))).row_group(0)
    encodings = {
        columns.column(number).path_in_schema: columns.column(number).encodings
        for number in range(len(PART_TABLE))
    }
    for name in ("source", "target", "part"):
        assert "RLE_DICTIONARY" in encodings[name]
    for name in ("effect", "value", "key", "query"):
        assert "BYTE_STREAM_SPLIT" in encodings[name]


def test_equal_frames_give_equal_bytes() -> None:
    first, second = (made_circuit().nodes.assign(**{IN_CIRCUIT: False}) for _ in range(2))
    assert to_parquet(first, STORED_NODES) == to_parquet(second, STORED_NODES)


def test_bytes_do_not_depend_on_the_frames_index() -> None:
    frame = made_circuit().nodes.assign(**{IN_CIRCUIT: False})
    moved = frame.set_index(np.arange(len(frame)) + 7)
    assert to_parquet(moved, STORED_NODES) == to_parquet(frame, STORED_NODES)


def test_other_columns_are_refused_by_name() -> None:
    data = to_parquet(made_circuit().edges.assign(**{IN_CIRCUIT: False}), STORED_EDGES)
    with pytest.raises(RunFolderError, match=r"nodes\.parquet has other columns.*source: string"):
        from_parquet(data, STORED_NODES, name="nodes.parquet")


def without(columns: Columns, name: str) -> Columns:
    return tuple(column for column in columns if column.name != name)


@pytest.mark.parametrize("column", [one for one in STORED_NODES if not one.is_needed])
def test_what_an_earlier_version_did_not_write_is_missing(column: Column) -> None:
    frame = made_circuit().nodes.assign(**{IN_CIRCUIT: False})
    data = to_parquet(frame.drop(columns=column.name), without(STORED_NODES, column.name))
    back = from_parquet(data, STORED_NODES, name="nodes")
    expected = frame.assign(**{column.name: column.missing(len(frame))})
    pd.testing.assert_frame_equal(back, expected, check_exact=True)
    assert back[column.name].isna().all()


def test_what_every_version_wrote_has_to_be_there() -> None:
    frame = made_circuit().edges.assign(**{IN_CIRCUIT: False}).drop(columns="effect")
    with pytest.raises(RunFolderError, match=r"missing \['effect: double'\], unknown none"):
        from_parquet(to_parquet(frame, without(STORED_EDGES, "effect")), STORED_EDGES, name="edges")


def test_a_column_that_is_not_known_is_named() -> None:
    later = (*PART_TABLE, Column("later", "number", "of a later version"))
    frame = made_circuit().edge_parts.assign(later=0.5)
    with pytest.raises(RunFolderError, match=r"unknown \['later: double'\]; read it with the ver"):
        from_parquet(to_parquet(frame, later), PART_TABLE, name="parts")


@pytest.mark.parametrize("kind", ["text", "count", "count or none", "number", "flag"])
def test_every_kind_of_column_can_be_missing(kind: Kind) -> None:
    missing = Column("later", kind, "of a later version").missing(3)
    assert len(missing) == 3 and missing.isna().all()


@pytest.mark.parametrize("data", [b"", b"PAR1", b"\x80\x04pickle", b"{}" * 50])
def test_what_is_no_parquet_is_refused(data: bytes) -> None:
    with pytest.raises(RunFolderError, match="nodes is no Parquet file"):
        from_parquet(data, STORED_NODES, name="nodes")


def test_rows_are_plain_values() -> None:
    row = rows_of(made_circuit().nodes)[1]
    assert type(row["effect"]) is float
    assert type(row["position"]) is int
