"""The commands `interactions` and `linearity`: what they print, and what they refuse."""

import json
from pathlib import Path

import pytest

from tests.test_cli import SMALL, call, check_one_line


def test_interactions_of_a_run(
    model_folder: Path,
    task_file: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = ["discover", str(task_file), "--model", str(model_folder), "--out", str(out), *SMALL]
    assert call(monkeypatch, *run, "--json") == 0
    capsys.readouterr()
    again = ["interactions", str(out), "--model", str(model_folder), "--task", str(task_file)]
    assert call(monkeypatch, *again, "--top", "4", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["members"]) == 4
    total = sum(row["total"] for row in found["spectrum"])
    assert total == pytest.approx(found["value_all"] - found["value_none"], abs=1e-5)
    assert call(monkeypatch, *again, "--top", "3") == 0
    printed = capsys.readouterr().out
    assert "3 strongest nodes" in printed
    assert "Most redundant of 3 pairs" in printed
    assert call(monkeypatch, *again, "--rest", "cleen") == 2
    check_one_line(capsys, "unknown rest 'cleen'; did you mean 'clean'")
    assert call(monkeypatch, *again, "--top", "0") == 2
    check_one_line(capsys, "a game takes 1 to 128 members, found 0")


def test_linearity_of_a_task(
    model_folder: Path,
    task_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["linearity", str(task_file), "--model", str(model_folder), "--limit", "3"]
    assert call(monkeypatch, *command, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {row["kind"] for row in found["agreement"]} >= {"feature", "edge", "head", "neuron"}
    assert call(monkeypatch, *command) == 0
    assert "From corrupted to clean stream" in capsys.readouterr().out
