"""Files are whole or not there, and JSON is what every reader takes for JSON."""

import errno
import json
import os
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from pydantic import BaseModel, ConfigDict

from saecircuits.errors import RunFolderError
from saecircuits.runs.storage import (
    parse_json,
    plain,
    read_bytes,
    to_json,
    write_bytes,
    write_together,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


class Small(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int
    names: tuple[str, ...] = ()


@given(value=VALUES)
def test_json_is_strict_and_keeps_what_it_can(value: object) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    assert json.loads(to_json(value), parse_constant=refuse) == plain(value)


def test_plain_unpacks_what_numpy_and_tuples_hold() -> None:
    value = {1: (np.float32(0.5), np.int64(3), np.array([1.0, np.nan])), "none": float("inf")}
    assert plain(value) == {"1": [0.5, 3, [1.0, None]], "none": None}


def test_keys_are_sorted() -> None:
    assert to_json({"b": 1, "a": {"d": 1, "c": 2}}) == to_json({"a": {"c": 2, "d": 1}, "b": 1})


def test_half_a_character_does_not_stop_the_writing() -> None:
    assert json.loads(to_json("\ud83d")) == "?"


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    write_bytes(path, b"old")
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(RunFolderError, match=r"cannot write a\.json .*No space left"):
        write_together({path: b"new", tmp_path / "b.json": b"new"})
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]
    assert path.read_bytes() == b"old"


def test_nothing_is_put_in_place_before_everything_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def fails_second(_: int) -> None:
        calls.append(1)
        if len(calls) == 2:
            full_disk()

    monkeypatch.setattr(os, "fsync", fails_second)
    with pytest.raises(RunFolderError):
        write_together({tmp_path / "a": b"1", tmp_path / "b": b"2"})
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"cannot write x in .*missing") as caught:
        write_bytes(tmp_path / "missing" / "x", b"")
    assert "\n" not in str(caught.value)


def test_reading_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"has no circuit\.json"):
        read_bytes(tmp_path / "circuit.json")
    with pytest.raises(RunFolderError, match="nowhere does not exist"):
        read_bytes(tmp_path / "nowhere" / "circuit.json")
    with pytest.raises(RunFolderError, match="cannot read"):
        read_bytes(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"size": 1, "nmes": []}', r"nmes: Extra inputs are not permitted \(found \[\]\)"),
        (b"{}", r"size: Field required$"),
        (b'{"size": "1"}', r"size: .*integer \(found '1'\)"),
        (b'{"size": 1, "names": ["a", 2]}', r"names\.1: .*string"),
        (b"[]", "the file: "),
        (b'{"size": 1', "no valid JSON"),
        (b'{"size": NaN}', "NaN is not JSON"),
        (b"\xff\xfe\x00", "no valid JSON"),
        (b"[" * 100_000, "no valid JSON"),
        (b"", "no valid JSON"),
    ],
)
def test_what_does_not_follow_the_schema_is_refused_in_one_line(data: bytes, message: str) -> None:
    with pytest.raises(RunFolderError, match=message) as caught:
        parse_json(data, Small, path=Path("run/circuit.json"))
    assert str(caught.value).startswith("run/circuit.json")
    assert "\n" not in str(caught.value)
