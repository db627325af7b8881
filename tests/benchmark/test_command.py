"""`saecircuits bench`: what it refuses, and what it prints."""

import json
from pathlib import Path

import pytest

from saecircuits.benchmark import jobs, running
from saecircuits.benchmark.jobs import Job, carry_out
from tests.benchmark.sizes import TINY
from tests.test_cli import call, check_one_line

BAD = {
    "size": (["--size", "gpt2"], "did you mean 'gpt2-small'"),
    "engine": (["--engine", "factorized"], "did you mean 'factorised'"),
    "threads": (["--threads", "0"], "at least 1"),
    "threads in words": (["--threads", "many"], "'many'"),
    "only": (["--only", "ablations"], "did you mean 'ablation'"),
    "nothing left": (["--only", "ablation", "--size", "gpt2-small"], "nothing to measure"),
    "limit": (["--limit", "none"], "--limit"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_get_one_line(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments, expected = BAD[name]
    out = tmp_path / "out"
    assert call(monkeypatch, "bench", *arguments, "--out", str(out)) == 2
    check_one_line(capsys, expected)
    assert not out.exists()


def test_one_thing_is_measured_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(running, "measure_elsewhere", carry_out)
    command = ["bench", "--size", "stories", "--only", "ablation", "--limit", "2", "--json"]
    assert call(monkeypatch, *command) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["nodes"] == printed["edges"] == printed["parts"] == []
    (found,) = printed["ablations"]
    assert (found["prompts"], found["nodes"]) == (2, 200)
    assert found["passes"] == pytest.approx(found["cpu_seconds"] / found["forward_seconds"])
    assert [bar["wanted"] for bar in printed["bars"]] == ["at most 60"]


def test_a_size_and_an_engine_are_measured_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Job] = []

    def here(job: Job) -> list[dict[str, object]]:
        asked.append(job)
        return carry_out(job)

    monkeypatch.setattr(jobs, "product_rate", lambda *shape: 1e9)
    monkeypatch.setattr(running, "SIZES", {"tiny": TINY})
    monkeypatch.setattr(running, "measure_elsewhere", here)
    command = ["bench", "--size", "tiny", "--engine", "batched-vjp", "--json"]
    assert call(monkeypatch, *command) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [(job.kind, job.engine) for job in asked] == [
        ("nodes", "factorised"),
        ("edges", "batched-vjp"),
    ]
    assert printed["edges"][0]["edges"] == TINY.n_edges
    assert printed["command"] == "saecircuits " + " ".join(command)
    assert call(monkeypatch, *command[:-1]) == 0
    assert "batched VJP" in capsys.readouterr().out
