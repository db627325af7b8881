"""Commands that put circuits to the test: what they print, and what they refuse."""

import json
from pathlib import Path
from typing import Any

import pytest

import saecircuits as sc
from saecircuits.runs.storage import plain
from tests.model_folder import write_model_folder, write_task
from tests.test_cli import SMALL, call, check_one_line


def test_hypotheses_of_a_run(
    tmp_path: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = str(write_model_folder(tmp_path / "tiny"))
    task = str(write_task(tmp_path / "words.jsonl"))
    run = ["discover", task, "--model", model, "--out", str(out), *SMALL]
    assert call(monkeypatch, *run, "--json") == 0
    capsys.readouterr()
    again = ["hypotheses", str(out), "--model", model, "--task", task, "--random", "9"]
    assert call(monkeypatch, *again, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["test"] for row in found["tests"]][:3] == ["effect", "sufficiency", "necessity"]
    assert len(found["members"]) == 30
    assert found["smallest"]["p"] == pytest.approx(0.1)
    assert (found["ablate"], found["baseline"]) == ("nodes", "corrupted")
    assert not found["is_circuit"]  # nine draws cannot show anything at level 0.05
    assert call(monkeypatch, *again) == 0
    assert "this is no circuit" in capsys.readouterr().out
    assert call(monkeypatch, *again, "--level", "2") == 2
    check_one_line(capsys, "level is 2.0; it must lie between 0 and 1")
    by_edges = [*again, "--ablate", "edges", "--baseline", "mean", "--random", "3", "--json"]
    assert call(monkeypatch, *by_edges) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ablate"], found["baseline"]) == ("edges", "mean")
    assert call(monkeypatch, *again, "--baseline", "means") == 2
    check_one_line(capsys, "did you mean 'mean'")


def test_baselines_of_a_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_model_folder(tmp_path / "tiny")
    task = str(write_task(tmp_path / "words.jsonl"))
    asked = ["baselines", task, "--model", str(folder), "--kinds", "features and errors,heads"]
    asked += ["--sizes", "1,4,1000", "--bar", "0.5"]
    assert call(monkeypatch, *asked, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    model = sc.load_model(folder)
    kinds: Any = ["features and errors", "heads"]
    expected = sc.baselines(
        model, sc.load_task(task, model, limit=32), kinds=kinds, sizes=[1, 4, 1000], bar=0.5
    )
    assert found == plain(expected.to_json())
    assert call(monkeypatch, *asked) == 0
    printed = capsys.readouterr().out
    assert "Nodes for a faithfulness of 0.5" in printed and "heads" in printed
    assert "nan" not in printed
    for bad, message in (
        (["--sizes", "ten"], "--sizes is 'ten'; give whole numbers"),
        (["--positions", "spans"], "unknown positions 'spans'"),
    ):
        assert call(monkeypatch, *asked, *bad) == 2
        check_one_line(capsys, message)


def test_two_runs_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(write_model_folder(tmp_path / "tiny"))
    task = str(write_task(tmp_path / "words.jsonl"))
    folders = [tmp_path / "few", tmp_path / "many"]
    for folder, nodes in zip(folders, ("10", "30"), strict=True):
        run = ["discover", task, "--model", model, "--out", str(folder), "--max-nodes", "20"]
        assert call(monkeypatch, *run, "--nodes", nodes, "--json") == 0
    capsys.readouterr()
    few, many = (str(folder) for folder in folders)
    assert call(monkeypatch, "compare", few, many, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    shared = {row["of"]: row for row in found["overlaps"]}["nodes"]
    # The ten strongest are among the thirty strongest.
    assert (shared["shared"], shared["only_first"], shared["only_second"]) == (10, 0, 20)
    assert shared["jaccard"] == pytest.approx(1 / 3)
    stored = json.loads((folders[1] / "validation.json").read_text(encoding="utf-8"))
    by_nodes = found["faithfulness"][many]["nodes"]
    assert by_nodes == pytest.approx(stored["faithfulness"], abs=1e-6)
    assert call(monkeypatch, "compare", few, many) == 0
    assert "What they share" in capsys.readouterr().out
    assert call(monkeypatch, "compare", few, few) == 2
    check_one_line(capsys, "twice; give two runs")
    assert call(monkeypatch, "compare", few, str(tmp_path / "none")) == 2
    check_one_line(capsys, "none")
