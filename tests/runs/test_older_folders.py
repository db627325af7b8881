"""Runs of other versions: what is missing reads as missing, what is unknown is refused by name."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from saecircuits.circuits import compare, paths
from saecircuits.errors import RunFolderError
from saecircuits.interchange.exporting import TARGETS, export, read_graph_file
from saecircuits.publication.drawing import draw
from saecircuits.publication.publish import publish
from saecircuits.publication.views import VIEWS, refresh_views
from saecircuits.runs.storage import sha256
from saecircuits.runs.stored import read_run
from tests.found import Found

# Columns that were added since the first version.
LACKING = {
    "nodes.parquet": ["effect_low", "effect_high", "sign_stability", "left_out"],
    "edges.parquet": ["direct", "effect_low", "effect_high", "sign_stability"],
    "edge_parts.parquet": ["degree", "value", "key", "query"],
}


@pytest.fixture
def older(found: Found, out: Path) -> Path:
    """A run as an earlier version would have written it."""
    routes = paths(found.graph, k=3)
    publish(found.circuit, found.report, out, graph=found.graph, routes=routes)
    drop_columns(out, LACKING)
    edit(out / "validation.json", drop=["ablations", "areas", "minimality", "groups", "edges"])
    edit_settings(out, drop=["thresholds"])
    edit_page(out / "report.html")
    return out


def edit_page(path: Path) -> None:
    """The page as it was before groups, a column, and keys without a value were left out."""
    start, data, end = re.split(r'(?<=id="data">)(.*?)(?=</script>)', path.read_text(), maxsplit=1)
    content = json.loads(data)
    del content["groups"], content["nodes"]["left_out"]
    content["report"]["random"]["size"] = None
    for row in content["report"]["curve"]:
        row["edges"] = None
    path.write_text(start + json.dumps(content) + end)


def edit(path: Path, *, drop: Sequence[str] = (), **changes: Any) -> None:
    content = json.loads(path.read_bytes())
    kept = {key: value for key, value in content.items() if key not in drop}
    path.write_text(json.dumps({**kept, **changes}))


def edit_settings(folder: Path, *, drop: Sequence[str]) -> None:
    settings = json.loads((folder / "circuit.json").read_bytes())["settings"]
    kept = {key: value for key, value in settings.items() if key not in drop}
    edit(folder / "circuit.json", settings=kept)


def drop_columns(folder: Path, names: Mapping[str, Sequence[str]]) -> None:
    """Takes columns out of tables, and names the new tables where the run does."""
    for name, columns in names.items():
        pq.write_table(pq.read_table(folder / name).drop_columns(list(columns)), folder / name)
    digests = {name: sha256((folder / name).read_bytes()) for name in LACKING}
    edit(folder / "circuit.json", files=digests)
    edit(folder / "paths.json", tables=digests)


def test_an_older_run_is_read(older: Path, found: Found) -> None:
    run = read_run(older)
    for table, name in ((run.graph.nodes, "nodes"), (run.graph.edges, "edges"),
                        (run.graph.edge_parts, "edge_parts")):  # fmt: skip
        new = getattr(found.graph, name)
        assert list(table.columns) == list(new.columns)
        lacking = LACKING[f"{name}.parquet"]
        assert table[lacking].isna().all(axis=None)
        assert table.drop(columns=lacking).equals(new.drop(columns=lacking))
    assert run.report is not None and run.report.areas is None
    assert run.record.settings.thresholds == "held"
    assert run.routes is not None and len(run.routes.table) == 3


def test_an_older_run_is_compared_drawn_and_shown_again(older: Path, found: Found) -> None:
    run = read_run(older)
    overlaps = compare(run.circuit, found.circuit).overlaps
    assert (overlaps["jaccard"] == 1).all()
    assert draw(run).svg.startswith("<svg")
    assert refresh_views(older) == VIEWS


@pytest.mark.parametrize("target", TARGETS)
def test_an_older_run_is_exported(target: str, older: Path, tmp_path: Path) -> None:
    suffix = {"cytoscape": ".cyjs", "node-link": ".node-link.json", "csv": "", "circuit-tracer": "",
              "neuronpedia": ".json"}.get(target, f".{target}")  # fmt: skip
    written = export(older, target, tmp_path / f"graph{suffix}")
    if target != "dot":
        back = read_graph_file(written).circuit
        assert list(back.nodes["node"]) == list(read_run(older).circuit.nodes["node"])
        assert back.nodes[LACKING["nodes.parquet"]].isna().all(axis=None)


def test_a_run_of_a_later_version_is_refused_by_name(found: Found, out: Path) -> None:
    publish(found.circuit, found.report, out)
    record = (out / "circuit.json").read_bytes()
    edit(out / "circuit.json", mood="calm")
    with pytest.raises(RunFolderError, match=r"mood: .*; another version wrote it"):
        read_run(out)
    edit(out / "circuit.json", drop=["mood"], format="saecircuits/2")
    with pytest.raises(RunFolderError, match=r"format: .*'saecircuits/1'.*; another version wrote"):
        read_run(out)
    (out / "circuit.json").write_bytes(record)
    read_run(out)
    drop_nodes = pq.read_table(out / "nodes.parquet").drop_columns(["effect"])
    pq.write_table(drop_nodes, out / "nodes.parquet")
    files = json.loads(record)["files"] | {
        "nodes.parquet": sha256((out / "nodes.parquet").read_bytes())
    }
    edit(out / "circuit.json", files=files)
    with pytest.raises(RunFolderError, match=r"nodes\.parquet .*missing \['effect: double'\]"):
        read_run(out)
