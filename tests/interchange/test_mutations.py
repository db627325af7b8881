"""Damaged files of every kind: a result or an InputError of one line, and nothing else, ever."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from saecircuits.circuits import compare
from saecircuits.errors import InputError
from saecircuits.interchange.exporting import TARGETS, export, read_graph_file
from saecircuits.interchange.graph_checks import check_graph
from saecircuits.interchange.graph_file import GraphFile
from saecircuits.publication.publish import publish
from saecircuits.runs.stored import read_run
from saecircuits.splicing import manifests
from saecircuits.splicing.loading import entries_of
from saecircuits.tasks import load_task
from tests.interchange.graphs import foreign
from tests.interchange.test_formats import made
from tests.made import made_circuit, made_labels, made_report
from tests.mutations import cut_up, damaged

# More of them: SAECIRCUITS_MUTATIONS=2000 pytest tests/interchange/test_mutations.py
COUNT = int(os.environ.get("SAECIRCUITS_MUTATIONS", "16"))
Tried = Callable[[int], None]


def use(path: Path, out: Path, other: GraphFile, seed: int) -> None:
    """Reads a graph and does with it what the commands do."""
    found = read_graph_file(path)
    for one in check_graph(path) if path.is_file() else ():
        assert "\n" not in one.message and len(one.message) <= 500
    target = TARGETS[seed % len(TARGETS)]
    try:
        export(found, target, out / target, overwrite=True)
    except InputError as error:
        assert_one_line(error)
    compare(found.circuit, other.circuit)


def assert_one_line(error: InputError) -> None:
    message = str(error)
    assert message.isprintable() and len(message) <= 500, message


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    circuit = made_circuit(n_nodes=12, n_edges=20)
    place = tmp_path_factory.mktemp("mutated") / "run"
    return publish(circuit, made_report(), place, labels=made_labels(circuit))


KINDS = (
    "foreign", "foreign.bytes", "json", "cyjs", "node-link.json", "graphml", "gexf", "csv", "run",
    "manifest", "manifest.bytes", "task", "task.bytes", "check",
)  # fmt: skip


def writer(kind: str, run: Path, tmp_path: Path) -> Tried:
    """What writes the damaged file of a seed, and uses it."""
    base, ending = made(), kind.partition(".")[0]
    place, out = tmp_path / "in", tmp_path / "out"
    place.mkdir()
    out.mkdir()
    targets = {"json": "neuronpedia", "cyjs": "cytoscape", "node-link": "node-link"}
    file = place / f"file.{'json' if ending == 'foreign' else kind}"

    def written(document: Any) -> Path:
        file.write_text(json.dumps(document), encoding="utf-8")
        return file

    match ending:
        case "foreign":
            document = foreign()
            data = json.dumps(document).encode()
            if kind == "foreign":
                return lambda seed: use(written(damaged(document, seed)), out, base, seed)
            return lambda seed: (file.write_bytes(cut_up(data, seed)), use(file, out, base, seed))[
                1
            ]
        case "json" | "cyjs" | "node-link":
            path = export(base, targets[ending], place / "whole")
            document = json.loads(path.read_bytes())
            return lambda seed: use(written(damaged(document, seed)), out, base, seed)
        case "graphml" | "gexf":
            data = export(base, ending, place / "whole").read_bytes()
            return lambda seed: (file.write_bytes(cut_up(data, seed)), use(file, out, base, seed))[
                1
            ]
        case "csv":
            folder = export(base, "csv", place / "tables")
            tables = {path: path.read_bytes() for path in sorted(folder.iterdir())}

            def cut_table(seed: int) -> None:
                for number, (path, data) in enumerate(tables.items()):
                    chosen = seed % len(tables) == number
                    path.write_bytes(cut_up(data, seed) if chosen else data)
                use(folder, out, base, seed)

            return cut_table
        case "run":
            copy = place / "run"
            shutil.copytree(run, copy)
            texts = {path: path.read_bytes() for path in sorted(copy.glob("*.json"))}

            def damage(seed: int) -> None:
                for number, (path, data) in enumerate(texts.items()):
                    chosen = seed % len(texts) == number
                    content = json.dumps(damaged(json.loads(data), seed)).encode()
                    path.write_bytes(content if chosen else data)
                read_run(copy)
                use(copy, out, base, seed)

            return damage
        case _:
            raise AssertionError(kind)


def of_manifest(kind: str, place: Path) -> Tried:
    document = json.loads((Path(manifests.__file__).parents[2] / MANIFEST).read_bytes())
    file = place / manifests.NAME

    def tried(seed: int) -> None:
        data = json.dumps(document).encode()
        is_cut = kind.endswith(".bytes")
        content = cut_up(data, seed) if is_cut else json.dumps(damaged(document, seed)).encode()
        file.write_bytes(content)
        found = manifests.read(place)
        for sites in (None, "transcoder", "resid_post", ["blocks.0.hook_resid_post"]):
            entries_of(found, sites)
        manifests.check_files(place, found)

    return tried


MANIFEST = "pretrained/stories/manifest.json"


def of_task(kind: str, place: Path, reader: Any) -> Tried:
    rows = [
        {"clean": f"w{n} w2 w3", "corrupted": f"w{n} w5 w3", "answer": "w7", "wrong": ["w8", "w9"],
         "id": str(n), "split": "train" if n < 3 else "test", "spans": {"subject": [1, 2]}}
        for n in range(10, 16)
    ]  # fmt: skip
    file = place / "task.jsonl"

    def tried(seed: int) -> None:
        changed = damaged(rows, seed)
        lines = "\n".join(map(json.dumps, changed if isinstance(changed, list) else [changed]))
        data = lines.encode()
        file.write_bytes(cut_up(data, seed) if kind.endswith(".bytes") else data)
        load_task(file, reader)

    return tried


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_give_a_result_or_an_input_error(
    kind: str, run: Path, tmp_path: Path, reader: Any
) -> None:
    tried: Tried
    if kind.startswith("manifest"):
        tried = of_manifest(kind, tmp_path)
    elif kind.startswith("task"):
        tried = of_task(kind, tmp_path, reader)
    elif kind == "check":
        document = foreign()

        def checked(seed: int) -> None:
            changed = damaged(document, seed)
            if isinstance(changed, dict):
                check_graph(changed)

        tried = checked
    else:
        tried = writer(kind, run, tmp_path)
    refused, first = 0, int(os.environ.get("SAECIRCUITS_MUTATIONS_FROM", "0"))
    for seed in range(first, first + COUNT):
        try:
            tried(seed)
        except InputError as error:
            refused += 1
            assert_one_line(error)
        except Exception as error:
            raise AssertionError(f"{kind}, seed {seed}: {type(error).__name__}: {error}") from error
    # Damage that is never seen would be no damage; damage to text and figures may go unseen.
    assert refused > 0 or kind == "check"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from tests.models import build_bridge

    bridge = build_bridge(tmp_path_factory.mktemp("reader"))

    class Reader:
        tokenizer = bridge.tokenizer
        n_ctx = 19

    return Reader()
