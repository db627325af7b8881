"""Paths in the folder and on the card."""

import json
from pathlib import Path

import pytest

from saecircuits.circuits import Routes, paths, prune
from saecircuits.errors import RunFolderError
from saecircuits.publication.path_words import labels_by_node
from saecircuits.publication.publish import publish
from saecircuits.runs.stored import read_paths, read_run
from saecircuits.runs.writing import write_circuit
from tests.found import Found


@pytest.fixture(scope="module")
def routes(found: Found) -> Routes:
    return paths(found.graph, k=6)


def test_published_paths_are_read_back(found: Found, routes: Routes, out: Path) -> None:
    publish(found.circuit, found.report, out, graph=found.graph, routes=routes)
    stored = read_run(out).routes
    assert stored is not None and stored.to_json() == routes.to_json()
    card = (out / "README.md").read_text(encoding="utf-8")
    section = card.partition("### Strongest paths")[2].partition("## ")[0]
    assert section.count("\u2192 metric |") == 6
    assert "The 6 paths listed carry" in section
    assert "`paths.json`" in card


def test_without_paths_nothing_says_so(found: Found, routes: Routes, out: Path) -> None:
    publish(found.circuit, found.report, out, graph=found.graph, routes=routes)
    publish(found.circuit, found.report, out, graph=found.graph)
    assert not (out / "paths.json").exists()
    assert "Strongest paths" not in (out / "README.md").read_text(encoding="utf-8")
    assert read_run(out).routes is None


def test_labels_stand_behind_the_features(found: Found, routes: Routes, out: Path) -> None:
    named = labels_by_node(routes, found.labels)
    assert named
    publish(found.circuit, found.report, out, graph=found.graph, labels=found.labels, routes=routes)
    node, text = next(iter(named.items()))
    assert any(f"{node} ({text})" in line for line in routes.sentences(named))


def test_paths_of_other_tables_are_removed_or_refused(
    found: Found, routes: Routes, out: Path
) -> None:
    publish(found.circuit, found.report, out, graph=found.graph, routes=routes)
    kept = (out / "paths.json").read_bytes()
    write_circuit(out, found.circuit, graph=found.graph)
    assert (out / "paths.json").read_bytes() == kept
    write_circuit(out, prune(found.graph, nodes=5), graph=found.graph)
    assert not (out / "paths.json").exists()
    (out / "paths.json").write_bytes(kept)
    with pytest.raises(RunFolderError, match="belongs to other tables"):
        read_paths(out)


def test_what_does_not_belong_there_is_refused(found: Found, routes: Routes, out: Path) -> None:
    publish(found.circuit, found.report, out, graph=found.graph, routes=routes)
    value = json.loads((out / "paths.json").read_text(encoding="utf-8"))
    (out / "paths.json").write_text(json.dumps({**value, "more": 1}), encoding="utf-8")
    with pytest.raises(RunFolderError, match="more"):
        read_paths(out)
