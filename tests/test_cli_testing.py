"""The command `hypotheses`: what it prints, and what it refuses."""

import json
from pathlib import Path

import pytest

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
    assert not found["is_circuit"]  # nine draws cannot show anything at level 0.05
    assert call(monkeypatch, *again) == 0
    assert "this is no circuit" in capsys.readouterr().out
    assert call(monkeypatch, *again, "--level", "2") == 2
    check_one_line(capsys, "level is 2.0; it must lie between 0 and 1")
