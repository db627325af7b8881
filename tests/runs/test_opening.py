"""Which folders may be written to, and which are left alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from saecircuits.errors import InputError, RunFolderError
from saecircuits.runs.feature_files import write_labels
from saecircuits.runs.folder import is_run
from saecircuits.runs.opening import open_folder, run_identity
from saecircuits.runs.writing import write_graph
from tests.found import Found


@pytest.fixture
def run(found: Found, out: Path) -> Path:
    """A folder with a graph in it."""
    write_graph(open_folder(out), found.graph)
    return out


def identity(found: Found, **changes: object) -> dict[str, object]:
    return {**run_identity(found.graph.settings, found.graph.provenance, None), **changes}


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_a_new_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    folder = open_folder(tmp_path / "a" / "b")
    assert folder.is_dir()
    assert open_folder(str(folder)) == folder  # empty: still free
    assert not is_run(folder)


def test_a_run_is_not_written_over_unasked(run: Path) -> None:
    before = names(run)
    with pytest.raises(RunFolderError, match="already holds a run; overwrite it, resume it"):
        open_folder(run)
    assert names(run) == before


def test_overwrite_removes_the_run_and_nothing_else(run: Path) -> None:
    write_labels(run, ())
    (run / "notes.txt").write_text("mine")
    open_folder(run, overwrite=True)
    assert names(run) == {"notes.txt"}


def test_resume_keeps_the_same_run(run: Path, found: Found) -> None:
    before = names(run)
    assert open_folder(run, resume=True, identity=identity(found)) == run
    assert names(run) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "other"}, "task None, but 'other' is asked for"),
        ({"model_digest": "00"}, "model_digest '.*', but '00'"),
        ({"settings.estimator": "intervention"}, "settings.estimator 'gradient', but 'interv"),
        ({"dictionaries.blocks.9.hook_z": "00"}, r"dictionaries\.blocks\.9\.hook_z None, but '00'"),
    ],
)
def test_resume_names_the_first_difference(
    run: Path, found: Found, change: dict[str, object], message: str
) -> None:
    with pytest.raises(RunFolderError, match=message) as caught:
        open_folder(run, resume=True, identity=identity(found, **change))
    assert "\n" not in str(caught.value)


def test_resume_notices_a_dictionary_that_is_gone(run: Path, found: Found) -> None:
    asked = identity(found)
    hook = next(key for key in asked if key.startswith("dictionaries."))
    del asked[hook]
    with pytest.raises(RunFolderError, match=f"{hook} '.*', but None is asked for"):
        open_folder(run, resume=True, identity=asked)


def test_resume_of_nothing_is_a_new_run(out: Path, found: Found) -> None:
    assert open_folder(out, resume=True, identity=identity(found)).is_dir()


def test_overwrite_and_resume_exclude_each_other(out: Path) -> None:
    with pytest.raises(InputError, match="choose one"):
        open_folder(out, overwrite=True, resume=True)
    assert not out.exists()


@pytest.mark.parametrize("options", [{}, {"overwrite": True}, {"resume": True}])
@pytest.mark.parametrize("name", ["README.md", "data.csv", "nodes.parquet.bak"])
def test_files_of_somebody_else_are_left_alone(
    out: Path, name: str, options: dict[str, Any]
) -> None:
    out.mkdir()
    (out / name).write_text("mine")
    with pytest.raises(RunFolderError, match=f"holds other files \\({name}\\) and no run"):
        open_folder(out, **options)
    assert names(out) == {name}


@pytest.mark.parametrize("content", ["{}", "[]", "not json", '{"format": "circuit-tracer/1"}'])
def test_a_circuit_json_of_another_program_is_no_run(out: Path, content: str) -> None:
    out.mkdir()
    (out / "circuit.json").write_text(content)
    with pytest.raises(RunFolderError, match="no run"):
        open_folder(out, overwrite=True)
    assert (out / "circuit.json").read_text() == content


def test_a_run_of_a_later_format_can_be_overwritten_but_not_resumed(run: Path) -> None:
    record = json.loads((run / "circuit.json").read_text())
    (run / "circuit.json").write_text(json.dumps({**record, "format": "saecircuits/9"}))
    with pytest.raises(RunFolderError, match=r"format: .*'saecircuits/1' \(found 'saecircuits/9'"):
        open_folder(run, resume=True)
    open_folder(run, overwrite=True)
    assert not names(run)


def test_what_an_interrupted_write_left_is_cleared(run: Path) -> None:
    (run / ".nodes.parquet.123.partial").write_bytes(b"half")
    open_folder(run, resume=True)
    assert ".nodes.parquet.123.partial" not in names(run)


def test_tables_without_a_record_are_an_interrupted_run(run: Path) -> None:
    (run / "circuit.json").unlink()
    with pytest.raises(RunFolderError, match="no run"):
        open_folder(run)
    assert open_folder(run, resume=True) == run
    assert names(run) == {"nodes.parquet", "edges.parquet", "edge_parts.parquet"}


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="is a file; choose a folder"):
        open_folder(tmp_path / "file")
    with pytest.raises(RunFolderError, match="cannot use"):
        open_folder(tmp_path / "file" / "below")
