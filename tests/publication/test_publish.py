"""The whole way: a folder that is complete, repeatable, and never mixed with another run."""

import hashlib
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from saecircuits.circuits import prune
from saecircuits.errors import InputError, RunFolderError
from saecircuits.publication.publish import publish
from saecircuits.runs.feature_files import read_labels
from saecircuits.runs.opening import open_folder
from saecircuits.runs.records import describe_task
from saecircuits.runs.stored import read_run
from saecircuits.runs.writing import write_graph
from tests.found import Found

FILES = {
    "circuit.json",
    "nodes.parquet",
    "edges.parquet",
    "edge_parts.parquet",
    "validation.json",
    "features.json",
    "graph.json",
    "figure.svg",
    "figure.pdf",
    "report.html",
    "README.md",
    "ro-crate-metadata.json",
}


def published(found: Found, folder: Path, **options: Any) -> Path:
    given: dict[str, Any] = {
        "labels": found.labels,
        "graph": found.graph,
        "model": found.model,
        "task": found.task,
    } | options
    return publish(found.circuit, found.report, folder, **given)


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def test_the_shortest_call_publishes(found: Found, out: Path) -> None:
    folder = publish(found.circuit, found.report, out)
    assert set(digests(folder)) == FILES
    run = read_run(folder)
    assert run.circuit.members == found.circuit.members
    assert run.report is not None and run.report.faithfulness == found.report.faithfulness
    assert run.task_name is None and run.labels == ()


def test_everything_published_can_be_read(found: Found, out: Path) -> None:
    run = read_run(published(found, out, command="saecircuits discover toy"))
    assert run.task_name == "toy"
    assert run.record.command == "saecircuits discover toy"
    assert len(run.graph.nodes) == len(found.graph.nodes)
    assert run.labels == found.labels
    ET.fromstring((out / "figure.svg").read_text())
    assert (out / "README.md").read_text().startswith("# toy in toy\n")


def test_groups_can_be_given_and_are_refused_before_anything_is_written(
    found: Found, out: Path, tmp_path: Path
) -> None:
    nodes = [node for node in found.circuit.members if ".error@" not in node][:3]
    published(found, out, groups={"mine, and nobody's": nodes})
    assert "mine, and nobody&#x27;s" in (out / "figure.svg").read_text()
    with pytest.raises(InputError, match="in the groups"):
        published(found, tmp_path / "other", groups={"x": nodes, "y": nodes})
    assert not (tmp_path / "other").exists()


def test_the_same_run_gives_the_same_bytes(found: Found, out: Path, tmp_path: Path) -> None:
    first = digests(published(found, out))
    assert digests(published(found, tmp_path / "other")) == first
    assert digests(published(found, out)) == first  # once more into the same folder
    assert digests(published(found, out, overwrite=True)) == first
    staged = open_folder(tmp_path / "staged")
    write_graph(staged, found.graph, task=describe_task(found.task, found.model))
    assert digests(published(found, staged)) == first


def test_labels_are_made_with_the_model(found: Found, out: Path, monkeypatch) -> None:
    monkeypatch.setattr("saecircuits.features.texts.SAMPLE_LENGTH", 8)
    published(found, out, labels=None)
    labels = read_labels(out)
    assert {(label.site, label.feature) for label in labels} == {
        (label.site, label.feature) for label in found.labels
    }


def test_a_circuit_that_was_not_validated(found: Found, out: Path) -> None:
    publish(found.circuit, None, out, graph=found.graph)
    assert set(digests(out)) == FILES - {"validation.json"}
    assert "not validated" in (out / "README.md").read_text()
    assert read_run(out).report is None


def test_another_circuit_of_the_graph_replaces_the_first_only_if_asked(
    found: Found, out: Path
) -> None:
    published(found, out)
    before = digests(out)
    other = prune(found.graph, nodes=5)
    with pytest.raises(RunFolderError, match="another circuit of the same graph"):
        publish(other, None, out, graph=found.graph, model=found.model, task=found.task, labels=())
    assert digests(out) == before
    publish(
        other, None, out, graph=found.graph, model=found.model, task=found.task, labels=(),
        resume=True,
    )  # fmt: skip
    assert read_run(out).circuit.size == 5
    assert not (out / "validation.json").exists()


def test_another_run_is_refused_and_left_as_it_is(found: Found, out: Path) -> None:
    published(found, out)
    before = digests(out)
    with pytest.raises(RunFolderError, match="task 'toy', but None is asked for"):
        publish(found.circuit, found.report, out)
    assert digests(out) == before


def test_a_task_needs_the_model(found: Found, out: Path) -> None:
    with pytest.raises(InputError, match="a task but no model"):
        publish(found.circuit, found.report, out, task=found.task)
    assert not out.exists()


def test_no_file_holds_a_time_or_a_path_of_this_machine(found: Found, out: Path) -> None:
    published(found, out)
    dated = "ro-crate-metadata.json"
    for name in {name for name in FILES if not name.endswith(".parquet")}:
        text = (out / name).read_text(errors="replace")
        assert str(out) not in text and str(Path.home()) not in text
        assert (re.search(r"20\d\d-\d\d-\d\d", text) is not None) == (name == dated)
    assert "time" not in json.loads((out / "circuit.json").read_text())


def test_a_task_is_described_with_its_first_training_pair(found: Found) -> None:
    record = describe_task(found.task, found.model)
    clean, corrupted = found.task.train.texts[0]
    assert (record.example.clean, record.example.corrupted) == (clean, corrupted)
    assert record.example.answer == ("w1",) and record.example.wrong == ("w9",)
    assert (record.train, record.test, record.digest) == (3, 2, found.task.digest)
