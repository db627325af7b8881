"""Commands that hand a run on: what they print, write and refuse."""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import pytest

from saecircuits import cli
from saecircuits.features import texts
from saecircuits.runs.feature_files import read_dashboards
from saecircuits.runs.stored import read_run
from tests.interchange.graphs import foreign
from tests.model_folder import write_model_folder, write_task


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run found by the command, looked at on a file of the user's."""
    place = tmp_path_factory.mktemp("sharing")
    (place / "book.txt").write_text(" ".join(f"w{number % 20 + 1}" for number in range(300)))
    model = write_model_folder(place / "tiny")
    arguments = [
        "discover", str(write_task(place / "words.jsonl")), "--model", str(model),
        "--out", str(place / "run"), "--max-nodes", "20", "--nodes", "30", "--json",
        "--contexts", str(place / "book.txt"), "--contexts-licence", "CC0",
        "--licence", "CC BY 4.0",
    ]  # fmt: skip
    assert call(*arguments) == 0
    return place / "run"


def call(*arguments: str) -> int:
    """The exit status of a command line, run in this process."""
    before = sys.argv
    sys.argv = ["saecircuits", *arguments]
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    finally:
        sys.argv = before
    return 0


def test_discover_looks_at_features_on_the_file(run: Path) -> None:
    boards = read_dashboards(run)
    assert boards
    for board in boards:
        corpus = board.saecircuits.corpus
        assert (corpus.source, corpus.licence, corpus.tokens) == (
            "the file book.txt", "CC0", 300,
        )  # fmt: skip
    crate = json.loads((run / "ro-crate-metadata.json").read_text())["@graph"]
    assert {one["@id"]: one for one in crate}["#licence"]["name"] == "CC BY 4.0"


def test_export_then_check(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "graph.json"
    asked = ["export", str(run), "--target", "neuronpedia", "--out", str(out), "--json"]
    assert call(*asked) == 0
    assert json.loads(capsys.readouterr().out) == {
        "path": str(out), "target": "neuronpedia", "notes": [],
    }  # fmt: skip
    assert call(*asked) == 2
    assert "exists; overwrite it" in capsys.readouterr().err
    assert call(*asked, "--overwrite") == 0
    capsys.readouterr()
    assert call("export", "--check", str(out), "--target", "neuronpedia") == 0
    assert "nothing found" in capsys.readouterr().out


def test_draw_then_draw_with_groups_of_one_s_own(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, task = run.parent / "tiny", run.parent / "words.jsonl"
    stored = read_run(run)
    assert stored.report is not None
    before = {name: (run / name).read_bytes() for name in ("figure.svg", "figure.pdf")}
    assert call("draw", str(run)) == 0
    assert {name: (run / name).read_bytes() for name in before} == before
    nodes = [node for node in stored.circuit.members if ".error@" not in node][:2]
    asked = tmp_path / "groups.json"
    asked.write_text(json.dumps({"these two": nodes}))
    files = [tmp_path / "mine.svg", tmp_path / "mine.pdf"]
    out = [part for file in files for part in ("--out", str(file))]
    capsys.readouterr()
    assert call("draw", str(run), "--groups", str(asked), *out, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "files": [str(file) for file in files], "groups": [{"name": "these two", "nodes": nodes}],
    }  # fmt: skip
    plain = files[0].read_text()
    assert "these two" in plain and "when it is ablated" not in plain
    measuring = ["--measure", "--model", str(model), "--task", str(task)]
    assert call("draw", str(run), "--groups", str(asked), *out, *measuring) == 0
    measured = files[0].read_text()
    assert "these two" in measured and "faithfulness loses" in measured
    assert files[1].read_bytes().startswith(b"%PDF")
    assert {name: (run / name).read_bytes() for name in before} == before


def test_a_run_s_own_figure_can_be_replaced(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    assert call("draw", str(copy), "--groups", "none") == 0
    for name in ("figure.svg", "figure.pdf"):
        data = (copy / name).read_bytes()
        crate = json.loads((copy / "ro-crate-metadata.json").read_text())["@graph"]
        about = {one["@id"]: one for one in crate}[name]
        assert about["sha256"] == hashlib.sha256(data).hexdigest()
        assert about["encodingFormat"] in ("image/svg+xml", "application/pdf")
    assert "nodes, together" not in (copy / "figure.svg").read_text()


def test_what_cannot_be_drawn_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for bad, message in (
        (["--groups", str(tmp_path / "nowhere.json")], "nowhere.json"),
        (["--groups", "report.html#view=groups"], "holds no groups"),
        (["--out", str(tmp_path / "x.png")], ".svg or .pdf, not '.png'"),
    ):
        assert call("draw", str(run), *bad) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_export_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = foreign()
    graph["links"].append(graph["links"][0])
    (tmp_path / "in.json").write_text(json.dumps(graph))
    out = tmp_path / "out.graphml"
    assert call("export", str(tmp_path / "in.json"), "--target", "graphml", "--out", str(out)) == 0
    assert "1 repeated links were added up." in capsys.readouterr().out
    assert out.read_bytes().startswith(b"<?xml")


def test_check_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = foreign()
    graph["nodes"][5]["clerp"] = "no probability"
    (tmp_path / "bad.json").write_text(json.dumps(graph))
    assert call("export", "--check", str(tmp_path / "bad.json"), "--json") == 2
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["errors"] == 1
    assert "logit-label" in [one["rule"] for one in found["findings"]]
    assert "has 1 errors" in printed.err


def test_label_names_a_feature(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = read_run(run).circuit.nodes.query("kind == 'feature'")["node"].iloc[0]
    assert call("label", str(run), node, "the ninth word", "--author", "Ada", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["author"] == "Ada"
    assert set(said["refreshed"]) == {
        "figure.svg",
        "figure.pdf",
        "report.html",
        "README.md",
        "graph.json",
    }
    for name in set(said["refreshed"]) - {"figure.pdf"}:  # compressed
        assert "the ninth word" in (run / name).read_text(), name
    labels = [label for label in read_run(run).labels if not label.auto]
    assert [label.text for label in labels] == ["the ninth word"]
    assert "labels.jsonl" in (run / "ro-crate-metadata.json").read_text()
    assert call("label", str(run), "metric", "x", "--author", "Ada") == 2
    assert "is no feature" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["export"], "give a run's folder and --target"),
        (["export", "somewhere", "--check", "x"], "choose one"),
        (["export", "nowhere", "--target", "csv"], "nowhere"),
        (["export", "--check", "nowhere.json"], "has no nowhere.json"),
    ],
)
def test_wrong_asks_exit_with_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*arguments) == 2
    printed = capsys.readouterr()
    assert said in printed.err and len(printed.err.strip().splitlines()) == 1


def test_no_contexts_without_a_file_samples_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sampled(*given: object, **choices: object) -> None:
        raise AssertionError("text was sampled")

    monkeypatch.setattr(texts, "generate", sampled)
    asked = ["discover", str(run.parent / "words.jsonl"), "--model", str(run.parent / "tiny")]
    asked += ["--out", str(tmp_path / "run"), "--max-nodes", "20", "--nodes", "30"]
    assert call(*asked, "--no-contexts", "--json") == 0
    assert {board.saecircuits.corpus.tokens for board in read_dashboards(tmp_path / "run")} == {0}
    assert "no text was looked at" in (tmp_path / "run" / "README.md").read_text()


@pytest.mark.parametrize("where", ["the model", "a file"])
def test_as_many_tokens_are_looked_at_as_were_asked_for(
    run: Path, tmp_path: Path, where: str
) -> None:
    (tmp_path / "book.txt").write_text("w1 w2 w3 w4 w5 w6 w7 w8 w9 w10")
    asked = ["discover", str(run.parent / "words.jsonl"), "--model", str(run.parent / "tiny")]
    asked += ["--out", str(tmp_path / "run"), "--max-nodes", "20", "--nodes", "30"]
    asked += [] if where == "the model" else ["--contexts", str(tmp_path / "book.txt")]
    assert call(*asked, "--contexts-tokens", "7", "--json") == 0
    counts = {board.saecircuits.corpus.tokens for board in read_dashboards(tmp_path / "run")}
    if where == "a file":
        assert counts == {7}
    else:  # one text, of which what is prepended is not looked at
        (count,) = counts
        assert 7 <= count < 64
