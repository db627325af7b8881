"""`python -m experiments.bench.run`: what it refuses, what it measures, and what it writes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.bench import carrying, run
from experiments.bench.carrying import carry_out
from experiments.bench.distant import DISTANT
from experiments.bench.jobs import Job, curve_jobs, jobs_of
from experiments.bench.results import Result
from experiments.bench.sizes import SIZES
from tests.experiments.bench.sizes import TINY

BAD = {
    "size": (["--sizes", "gpt2"], "'gpt2-small'"),
    "engine": (["--engines", "factorized"], "'factorised'"),
    "threads": (["--threads", "0"], "'0' is no whole number of at least 1"),
    "threads in words": (["--threads", "many"], "'many'"),
    "only": (["--only", "ablations"], "'ablation'"),
    "nothing left": (["--only", "ablation", "--sizes", "gpt2-small"], "nothing to measure"),
    "limit": (["--limit", "none"], "--limit"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_refused_before_anything_is_measured(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, expected = BAD[name]
    out = tmp_path / "out"
    with pytest.raises(SystemExit, match="2"):
        run.main([*arguments, "--out", str(out)])
    assert expected in capsys.readouterr().err
    assert not out.exists()


def test_a_folder_that_is_a_file_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docs").write_text("", encoding="utf-8")
    with pytest.raises(SystemExit, match="2"):
        run.main(["--out", str(tmp_path / "docs")])
    assert "choose a folder for --out" in capsys.readouterr().err


def test_one_thing_is_measured_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(run, "carry_out_elsewhere", carry_out)
    small = ["--sizes", "stories", "--only", "ablation", "--limit", "2"]
    run.main([*small, "--out", str(tmp_path)])
    written = json.loads((tmp_path / "performance.json").read_text(encoding="utf-8"))
    assert written["nodes"] == written["edges"] == written["parts"] == []
    (found,) = written["ablations"]
    assert (found["prompts"], found["nodes"]) == (2, 200)
    assert found["passes"] == pytest.approx(found["cpu_seconds"] / found["forward_seconds"])
    assert [wish["wanted"] for wish in written["wanted"]] == ["at most 60"]


def test_a_size_and_an_engine_are_measured_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Job] = []

    def here(job: Job) -> list[Result]:
        asked.append(job)
        return carry_out(job)

    monkeypatch.setattr(carrying, "product_rate", lambda *shape: 1e9)
    monkeypatch.setitem(SIZES, "tiny", TINY)
    monkeypatch.setattr(run, "carry_out_elsewhere", here)
    arguments = ["--sizes", "tiny", "--engines", "batched-vjp", "--out", str(tmp_path)]
    run.main(arguments)
    assert [(job.kind, job.engine) for job in asked] == [
        ("nodes", "factorised"),
        ("edges", "batched-vjp"),
    ]
    written = json.loads((tmp_path / "performance.json").read_text(encoding="utf-8"))
    assert written["edges"][0]["edges"] == TINY.n_edges
    assert written["command"] == " ".join(["python -m experiments.bench.run", *arguments])
    printed = capsys.readouterr()
    assert "batched VJP" in printed.out
    assert "2 of 2: batched-vjp of tiny" in printed.err


def test_distant_sites_are_measured_alone_and_a_model_that_is_not_there_is_skipped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "carry_out_elsewhere", carry_out)
    small = replace(DISTANT["llama-12"], d_model=24, n_layers=5, layers=(0, 3), max_nodes=20)
    monkeypatch.setitem(DISTANT, "llama-12", small)
    run.main(["--sizes", "llama-12", "smollm2-3", "--only", "distant", "--out", str(tmp_path)])
    assert "smollm2-3 is skipped: give its model's folder by --model" in capsys.readouterr().err
    written = json.loads((tmp_path / "performance.json").read_text(encoding="utf-8"))
    found = written["distant"]
    assert {one["size"] for one in found} == {"llama-12"}
    ways = [(one["thresholds"], one["engine"]) for one in found]
    assert ways == [(t, e) for t in ("held", "crossed") for e in ("auto", "reference")]
    assert [one["difference"] is None for one in found] == [True, False] * 2
    assert all(one["difference"] < 1e-5 for one in found[1::2])
    assert all(one["edge_seconds"] > 0 and one["node_seconds"] > 0 for one in found)
    assert {wish["wanted"] for wish in written["wanted"]} == {
        "at most 0.5", "at most 1.1", "at most 500 MB",
    }  # fmt: skip
    page = (tmp_path / "performance.md").read_text(encoding="utf-8")
    assert "after layers 0, 3" in page


def test_everything_is_measured_unless_told() -> None:
    jobs = jobs_of(("gpt2-small", "stories"), run.COMPARED, [1, 2])
    edges = {(job.size_name, job.engine, job.threads) for job in jobs if job.kind == "edges"}
    assert len(edges) == 2 * 3 * 2
    of_both = [(kind, size) for kind in ("nodes", "parts") for size in ("gpt2-small", "stories")]
    assert {(job.kind, job.size_name) for job in jobs if job.kind != "edges"} == {
        *of_both,
        ("ablation", "stories"),
    }
    # Parts and ablation are measured once, whatever the threads.
    assert sum(job.kind in ("parts", "ablation") for job in jobs) == 3
    varied = {job.curve for job in curve_jobs(1)}
    assert varied == {"targets", "layers", "tokens"}
