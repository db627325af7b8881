"""The crate's metadata is RO-Crate by its reader, and its digests are the files' own."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rocrate.rocrate import ROCrate

from saecircuits.publication.publish import publish
from saecircuits.runs.crate import write_crate
from tests.found import Found


@pytest.fixture(scope="module")
def published(found: Found, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "86400")
        patch.setattr("saecircuits.features.texts.SAMPLE_LENGTH", 8)
        return publish(
            found.circuit, found.report, tmp_path_factory.mktemp("crate") / "run",
            graph=found.graph, model=found.model, task=found.task,
            command="saecircuits discover toy",
        )  # fmt: skip


@pytest.fixture
def run(published: Path, out: Path) -> Path:
    shutil.copytree(published, out)
    return out


def entities(run: Path) -> dict[str, dict[str, Any]]:
    content = json.loads((run / "ro-crate-metadata.json").read_text())
    graph = content["@graph"]
    assert len({one["@id"] for one in graph}) == len(graph)
    return {one["@id"]: one for one in graph}


def test_its_reader_takes_it(run: Path) -> None:
    crate = ROCrate(run)
    assert crate.name == "toy in toy"
    ids = {entity.id for entity in crate.data_entities}
    on_disk = {
        path.relative_to(run).as_posix() for path in run.rglob("*")
        if path.is_file() and path.name != "ro-crate-metadata.json"
    }  # fmt: skip
    assert {one for one in ids if not one.endswith("/")} >= {
        one for one in on_disk if not one.startswith("features/")
    }
    assert "features/" in ids
    crate.metadata.generate()  # every reference resolves to something that can be written


def test_every_reference_leads_to_an_entity(run: Path) -> None:
    found = entities(run)

    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["@id"]] if set(value) == {"@id"} else []
            return own + [one for item in value.values() for one in references(item)]
        if isinstance(value, list):
            return [one for item in value for one in references(item)]
        return []

    named = {one for entity in found.values() for one in references(list(entity.values()))}
    assert {one for one in named if not one.startswith("https://w3id.org/")} <= set(found)
    described = found["ro-crate-metadata.json"]
    assert described["about"] == {"@id": "./"}
    assert described["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}


def test_files_are_there_with_their_digests(run: Path) -> None:
    files = {name: one for name, one in entities(run).items() if one["@type"] == "File"}
    assert {"circuit.json", "nodes.parquet", "graph.json", "README.md"} <= set(files)
    assert any(name.startswith("features/") for name in files)
    for name, one in files.items():
        data = (run / name).read_bytes()
        assert one["sha256"] == hashlib.sha256(data).hexdigest()
        assert one["contentSize"] == str(len(data))


def test_command_versions_model_and_task_are_entities(run: Path, found: Found) -> None:
    named = entities(run)
    action = named["#run"]
    assert action["@type"] == "CreateAction"
    assert action["name"] == "saecircuits discover toy"
    assert json.loads(action["description"])["settings"]["estimator"] == "gradient"
    assert named["#software-torch"]["softwareVersion"]
    assert named["#model"]["identifier"].endswith(found.circuit.provenance["model_digest"])
    assert named["#task"]["identifier"] == f"sha256:{found.task.digest}"
    sites = {name for name in named if name.startswith("#dictionary-")}
    assert len(sites) == len(found.model.splices)


def test_licence_and_day_are_kept(run: Path) -> None:
    assert entities(run)["./"]["datePublished"] == "1970-01-02"
    assert entities(run)["#licence"]["name"] == "not stated"
    write_crate(run, licence="CC BY 4.0")
    write_crate(run)
    assert entities(run)["./"]["datePublished"] == "1970-01-02"
    assert entities(run)["#licence"]["name"] == "CC BY 4.0"
    write_crate(run, licence="https://creativecommons.org/licenses/by/4.0/")
    assert entities(run)["./"]["license"]["@id"].startswith("https://creativecommons")
    write_crate(run)
    assert entities(run)["./"]["license"]["@id"].startswith("https://creativecommons")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"@graph": [{"@id": "./"}]}'])
def test_metadata_of_somebody_else_is_replaced(run: Path, content: str) -> None:
    (run / "ro-crate-metadata.json").write_text(content)
    write_crate(run, title="anew")
    assert entities(run)["./"]["name"] == "anew"
