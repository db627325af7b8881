"""Labels of people are kept apart, name their dictionary, and take the automatic ones' place."""

import json
from pathlib import Path

import pytest

from saecircuits.errors import InputError, RunFolderError, UnknownNameError
from saecircuits.interchange.exporting import read_graph_file
from saecircuits.publication.publish import publish
from saecircuits.publication.views import VIEWS, refresh_views
from saecircuits.runs.human_labels import add_label, read_human_labels
from saecircuits.runs.records import read_record
from saecircuits.runs.stored import read_run
from saecircuits.runs.writing import write_circuit
from tests.found import Found


@pytest.fixture
def run(found: Found, out: Path) -> Path:
    return publish(
        found.circuit, found.report, out, graph=found.graph, model=found.model, task=found.task,
        labels=found.labels,
    )  # fmt: skip


def named(run: Path, node: str, text: str, **given: str) -> None:
    add_label(run, read_record(run), node, text, **{"author": "Ada", **given})


def feature(found: Found) -> str:
    return found.circuit.nodes.query("kind == 'feature'")["node"].iloc[0]


def test_a_label_takes_the_automatic_ones_place(run: Path, found: Found) -> None:
    node = feature(found)
    named(run, node, "names of girls", date="2024-02-29")
    site, _, member = node.partition("@")[0].rpartition(".")
    labels = {(label.site, label.feature): label for label in read_run(run).labels}
    label = labels[site, int(member[1:])]
    assert (label.text, label.auto, label.author, label.date) == (
        "names of girls", False, "Ada", "2024-02-29",
    )  # fmt: skip
    before = {(label.site, label.feature): label for label in found.labels}
    assert label.auto_text == before[site, int(member[1:])].text
    assert label.contexts == before[site, int(member[1:])].contexts
    assert sum(not one.auto for one in labels.values()) == 1
    assert read_graph_file(run).labels[node].by == "Ada"


def test_the_last_label_counts_and_the_first_is_kept(run: Path, found: Found) -> None:
    node = feature(found)
    named(run, node, "first")
    named(run, node.partition("@")[0], "second", author="Bob")
    texts = [label.text for label in read_run(run).labels if not label.auto]
    assert texts == ["second"]
    assert [label.text for label in read_human_labels(run)] == ["first", "second"]


def test_overwriting_keeps_them_and_card_and_picture_show_them(run: Path, found: Found) -> None:
    named(run, feature(found), "names of girls")
    publish(
        found.circuit, found.report, run, graph=found.graph, model=found.model, task=found.task,
        labels=found.labels, overwrite=True,
    )  # fmt: skip
    assert "names of girls" in (run / "README.md").read_text()
    assert "names of girls" in (run / "graph.json").read_text()
    assert all(label["auto"] for label in json.loads((run / "features.json").read_text())["labels"])
    assert "labels.jsonl" in (run / "ro-crate-metadata.json").read_text()


def contents(run: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in run.iterdir() if file.is_file()}


@pytest.mark.parametrize("with_graph", [True, False])
def test_a_refresh_gives_what_publishing_gives(found: Found, out: Path, with_graph: bool) -> None:
    def publish_it(*, resume: bool = False) -> Path:
        return publish(
            found.circuit, found.report, out, graph=found.graph if with_graph else None,
            model=found.model, task=found.task, licence="CC0-1.0", resume=resume,
        )  # fmt: skip

    run = publish_it()
    before = contents(run)
    assert refresh_views(run) == VIEWS
    assert contents(run) == before
    named(run, feature(found), "names of girls", date="2024-02-29")
    assert refresh_views(run)
    refreshed = contents(run)
    for name in VIEWS:
        assert refreshed[name] != before[name], name
        # What stands in a PDF is compressed.
        assert name == "figure.pdf" or b"names of girls" in refreshed[name], name
    for name in ("circuit.json", "features.json", "nodes.parquet", "validation.json"):
        assert refreshed[name] == before[name]
    publish_it(resume=True)
    assert contents(run) == refreshed


def test_what_was_not_published_is_not_refreshed(found: Found, out: Path) -> None:
    out.mkdir()
    write_circuit(out, found.circuit)
    named(out, feature(found), "names of girls")
    assert refresh_views(out) == ()
    assert not (out / "figure.svg").exists()
    assert "labels.jsonl" in (out / "ro-crate-metadata.json").read_text()


def test_a_label_of_another_dictionary_is_passed_by(run: Path, found: Found) -> None:
    named(run, feature(found), "names of girls")
    path = run / "labels.jsonl"
    label = json.loads(path.read_text())
    path.write_text(json.dumps({**label, "dictionary": "00"}))
    assert all(one.auto for one in read_run(run).labels)


def test_a_feature_without_an_automatic_label_gets_one(run: Path, found: Found) -> None:
    site = found.labels[0].site
    unseen = max(label.feature for label in found.labels) + 1
    named(run, f"{site}.f{unseen}", "never looked at")
    label = next(one for one in read_run(run).labels if one.feature == unseen)
    assert (label.text, label.examples, label.auto_text) == ("never looked at", 0, "")


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"node": "metric"}, InputError, "is no feature"),
        ({"node": "blocks.0.hook_mlp_out.error@x"}, InputError, "is no feature"),
        ({"node": "blocks.7.hook_mlp_out.f1@x"}, UnknownNameError, "site with a dictionary"),
        ({"text": "  "}, InputError, "2 characters; write 1 to 200"),
        ({"text": "x" * 201}, InputError, "201 characters"),
        ({"author": ""}, InputError, "no author"),
        ({"date": "yesterday"}, InputError, "year-month-day"),
    ],
)
def test_what_is_no_label_is_refused(
    run: Path, found: Found, given: dict[str, str], error: type, said: str
) -> None:
    asked = {"node": feature(found), "text": "a label"} | given
    with pytest.raises(error, match=said):
        named(run, asked.pop("node"), asked.pop("text"), **asked)
    assert not (run / "labels.jsonl").exists()


def test_a_broken_line_is_named(run: Path, found: Found) -> None:
    named(run, feature(found), "a label")
    with (run / "labels.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(RunFolderError, match=r"labels\.jsonl/line 2: .*Field required"):
        read_run(run)
