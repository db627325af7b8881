"""The command line: what it prints, its exit status, and that bad input writes nothing."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from saecircuits import cli
from saecircuits.cli.options import CHOICES
from saecircuits.edges.settings import AttributionSettings
from saecircuits.nodes.baselines import BASELINES
from saecircuits.nodes.shipped import BASELINE_NAMES

SMALL = ["--max-nodes", "20", "--nodes", "30"]


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit status of a command line, run in this process."""
    monkeypatch.setattr(sys, "argv", ["saecircuits", *arguments])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_help_answers_without_the_heavy_libraries() -> None:
    code = (
        "import sys; from saecircuits.cli import app\n"
        "assert not {'torch', 'transformer_lens', 'sae_lens', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_help_is_quicker_than_importing_torch() -> None:
    def seconds(*command: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        return time.perf_counter() - start

    assert seconds("-m", "saecircuits", "--help") < seconds("-c", "import torch, transformers")


def test_expand(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["expand", "--prompt", "w4 w9 w2", "--model", str(model_folder), "--by", "head"]
    assert call(monkeypatch, *asked, "--corrupted", "w4 w3 w2", "--limit", "50", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    total = printed["degrees"][-1]
    assert total["degree"] == "total"
    parts = sum(row["metric"] for row in printed["degrees"][:-1])
    assert parts == pytest.approx(total["metric"], abs=1e-5)
    assert printed["naive"]["stopped"].startswith("stopped at degree")
    # Nine components in six steps, the heads of a layer in one: 1 + 9 + 33 paths.
    assert printed["treeified"]["n_paths"] == 43
    assert call(monkeypatch, *asked) == 0
    assert "not a decomposition" in " ".join(capsys.readouterr().out.split())
    assert call(monkeypatch, *asked, "--operator", "full") == 2
    assert "unknown operator 'full'" in capsys.readouterr().err


def test_discover_then_validate(
    model_folder: Path,
    task_file: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = ["discover", str(task_file), "--model", str(model_folder), "--out", str(out), *SMALL]
    assert call(monkeypatch, *run, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["nodes"] == 30
    assert printed["folder"] == str(out)
    stored = json.loads((out / "validation.json").read_text(encoding="utf-8"))
    assert stored["faithfulness"] == printed["faithfulness"]
    assert {path.name for path in out.iterdir()} >= {
        "circuit.json",
        "nodes.parquet",
        "edges.parquet",
        "edge_parts.parquet",
        "validation.json",
        "paths.json",
        "figure.svg",
        "figure.pdf",
        "report.html",
        "README.md",
    }
    again = ["validate", str(out), "--model", str(model_folder), "--task", str(task_file)]
    assert call(monkeypatch, *again, "--json") == 0
    assert json.loads(capsys.readouterr().out)["faithfulness"] == pytest.approx(
        printed["faithfulness"], abs=1e-6
    )


def test_paths_of_a_run(
    model_folder: Path,
    task_file: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = ["--model", str(model_folder), "--out", str(out), "--max-nodes", "20"]
    assert call(monkeypatch, "attribute", str(task_file), *made) == 0
    asked = ["paths", str(out), "--model", str(model_folder), "--task", str(task_file)]
    capsys.readouterr()
    assert call(monkeypatch, *asked, "-k", "3", "--by", "parts", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert len(printed["paths"]) == 3
    assert printed["total"] == pytest.approx(printed["listed"] + printed["left"])
    assert printed["choices"]["by"] == "parts"
    node = printed["paths"][0]["nodes"][1]
    to_node = [*asked, "-k", "2", "--from", "tokens", "--to", node, "--sign", "positive"]
    assert call(monkeypatch, *to_node) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(f"> {node}" in line and line.startswith("+") for line in lines[:-1])
    assert lines[-1].startswith(f"The {len(lines) - 1} paths listed carry")
    assert call(monkeypatch, *asked, "-k", "3", "--ablate", "--json") == 0
    ablated = json.loads(capsys.readouterr().out)["ablated"]
    by_way = {row["ablate"]: row["faithfulness"] for row in ablated["ablations"]}
    assert set(by_way) == {"nodes", "edges"}
    assert call(monkeypatch, *asked, "-k", "3", "--ablate") == 0
    assert f"{by_way['edges']:.3f} by these edges" in capsys.readouterr().out
    for bad, message in (
        (["--to", "metrics"], "did you mean 'metric'"),
        (["--sign", "plus"], "unknown sign 'plus'"),
    ):
        assert call(monkeypatch, *asked, *bad) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1


def test_thorough_validation(
    model_folder: Path,
    task_file: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    base = ["discover", str(task_file), "--model", str(model_folder), "--out", str(out), *SMALL]
    assert call(monkeypatch, *base, "--json") == 0
    plain = json.loads(capsys.readouterr().out)
    assert call(monkeypatch, *base, "--json", "--thorough", "--overwrite") == 0
    thorough = json.loads(capsys.readouterr().out)
    assert thorough["faithfulness"] == plain["faithfulness"]
    kinds = [{row["baseline"] for row in found["ablations"]} for found in (plain, thorough)]
    assert kinds == [{"corrupted"}, {"corrupted", "mean", "zero", "resample"}]
    assert plain["minimality"] is None and thorough["minimality"]


def _contents(folder: Path) -> dict[str, bytes]:
    """Every file in it, also in folders of its own, by name."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("lost", [(), ("edge_parts.parquet",)])
def test_equal_inputs_give_equal_bytes_also_when_resumed(
    model_folder: Path,
    task_file: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    lost: tuple[str, ...],
) -> None:
    # With all tables there a run goes on from its graph; without one it is computed again.
    base = ["discover", str(task_file), "--model", str(model_folder), *SMALL]
    other = out.with_name("other")
    assert call(monkeypatch, *base, "--out", str(out)) == 0
    whole = _contents(out)
    for name in ("validation.json", "README.md", "figure.svg", "figure.pdf", *lost):
        (out / name).unlink()
    assert call(monkeypatch, *base, "--out", str(out), "--resume") == 0
    assert call(monkeypatch, *base, "--out", str(other)) == 0
    tables = ("nodes.parquet", "edges.parquet", "edge_parts.parquet", "figure.pdf")
    for name in (*tables, "validation.json", "figure.svg", "features.json", "graph.json"):
        assert (out / name).read_bytes() == whole[name]
        assert (other / name).read_bytes() == whole[name]


@pytest.mark.parametrize("command", ["discover", "attribute"])
def test_choices_reach_the_settings(
    command: str,
    model_folder: Path,
    task_file: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    chosen = {
        "estimator": "gradient",
        "linearization": "frozen",
        "positions": "sum",
        "error_policy": "hold",
        "baseline": "zero",
        "engine": "reference",
        "thresholds": "held",
        "max_nodes": "all",
        "target_threshold": "0.125",
        "parts": False,
        "max_edges": "17",
        "edge_steps": "5",
        "memory_limit": "2GB",
        "seed": "3",
    }
    assert chosen.keys() == CHOICES.keys()
    options = [
        word
        for name, value in chosen.items()
        for word in ((f"--{name.replace('_', '-')}", value) if value else (f"--no-{name}",))
    ]
    run = [command, str(task_file), "--model", str(model_folder), "--out", str(out), "--json"]
    more = ["--nodes", "30"] if command == "discover" else []
    assert call(monkeypatch, *run, *more, *options) == 0
    record = json.loads((out / "circuit.json").read_text(encoding="utf-8"))
    stored = {name: record["settings"][name] for name in chosen}
    assert stored == {
        **chosen,
        "max_nodes": None,
        "target_threshold": 0.125,
        "max_edges": 17,
        "edge_steps": 5,
        "memory_limit": 2_000_000_000,
        "seed": 3,
    }
    assert record["counts"]["edges"] == 17
    if command == "attribute":
        printed = json.loads(capsys.readouterr().out)
        assert printed["edges_computed"] == record["summary"]["edges_computed"] > 17


def test_help_names_the_baselines_of_the_table() -> None:
    assert all(name == row.name for name, row in BASELINES.items())
    assert CHOICES["baseline"][1] == "corrupted, mean, zero, or resample."
    assert tuple(BASELINES) == BASELINE_NAMES


def test_defaults_are_those_of_the_settings() -> None:
    defaults = {name: default for name, (default, _) in CHOICES.items()}
    assert AttributionSettings(**defaults) == AttributionSettings()


def test_resume_refuses_other_settings(
    model_folder: Path,
    task_file: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    base = ["discover", str(task_file), "--model", str(model_folder), "--out", str(out), *SMALL]
    assert call(monkeypatch, *base) == 0
    before = _contents(out)
    assert call(monkeypatch, *base, "--resume", "--seed", "5") == 2
    assert "seed" in capsys.readouterr().err
    assert call(monkeypatch, *base) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert _contents(out) == before


BAD_TASK_LINES = {
    "not json": ('{"clean": "w1 w2"', "line 1"),
    "answer of two tokens": (
        '{"clean": "w1 w2", "corrupted": "w3 w2", "answer": "w4 w5", "wrong": "w6"}',
        "line 1",
    ),
    "lengths differ": (
        '{"clean": "w1 w2 w3", "corrupted": "w3 w2", "answer": "w4", "wrong": "w6"}',
        "line 1",
    ),
    "empty file": ("", "empty"),
    "unknown key": (
        '{"clean": "w1 w2", "corrupted": "w3 w2", "answer": "w4", "wrnog": "w6"}',
        "wrnog",
    ),
}


@pytest.mark.parametrize("name", BAD_TASK_LINES)
def test_bad_task_files_get_one_line(
    name: str,
    model_folder: Path,
    out: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content, expected = BAD_TASK_LINES[name]
    task = tmp_path / "bad.jsonl"
    task.write_text(content, encoding="utf-8")
    run = ["discover", str(task), "--model", str(model_folder), "--out", str(out)]
    assert call(monkeypatch, *run) == 2
    check_one_line(capsys, expected)
    assert not out.exists()


BAD_ARGUMENTS = {
    "task": (["discover", "pronuon"], "did you mean 'pronoun'"),
    "model": (["discover", "TASK", "--model", "storeys"], "unknown model"),
    "site": (["discover", "TASK", "--sites", "blocks.9.hook_resid_post"], "blocks.9"),
    "kind of site": (["discover", "TASK", "--sites", "resid_pots"], "resid_post"),
    "estimator": (["discover", "TASK", "--estimator", "gradeint"], "gradient"),
    "linearization": (["attribute", "TASK", "--linearization", "frosen"], "frozen"),
    "baseline": (["discover", "TASK", "--baseline", "means"], "mean"),
    "nodes": (["discover", "TASK", "--nodes", "0"], "at least 1"),
    "number of nodes": (["discover", "TASK", "--max-nodes", "many"], "neither a number nor 'all'"),
    "no nodes": (["attribute", "TASK", "--max-nodes", "0"], "max_nodes is 0"),
    "edges": (["attribute", "TASK", "--max-edges", "0"], "max_edges is 0"),
    "memory": (
        ["attribute", "TASK", "--memory-limit", "lots"],
        "memory_limit is 'lots'; give bytes",
    ),
    "threshold": (["discover", "TASK", "--target-threshold", "-1"], "target_threshold is -1.0"),
    "faithfulness": (["discover", "TASK", "--faithfulness", "1.5"], "at most 1"),
    "option": (["discover", "TASK", "--estimater", "gradient"], "--estimat"),
    "run": (["validate", "no-such-run"], "no-such-run"),
}


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_bad_arguments_get_one_line(
    name: str,
    model_folder: Path,
    task_file: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments, expected = BAD_ARGUMENTS[name]
    arguments = [str(task_file) if word == "TASK" else word for word in arguments]
    if "--model" not in arguments:
        arguments += ["--model", str(model_folder)]
    if arguments[0] != "validate":
        arguments += ["--out", str(out)]
    assert call(monkeypatch, *arguments) == 2
    check_one_line(capsys, expected)
    assert not out.exists()


def check_one_line(capsys: pytest.CaptureFixture[str], expected: str) -> None:
    """Nothing on the output stream, and one line on the error stream that says `expected`."""
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1
    assert expected in captured.err
    assert captured.err.startswith("saecircuits: ")


def test_attention(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["attention", "--prompt", "Tom and Lily went to the park. Tom gave a ball to"]
    asked += ["--layer", "3", "--head", "0"]
    assert call(monkeypatch, *asked, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["tokens"][printed["key"]] == " Lily"
    here = next(row for row in printed["keys"] if row["key"] == printed["key"])
    assert sum(row["score"] for row in printed["pairs"]) == pytest.approx(here["score"], abs=1e-4)
    assert call(monkeypatch, *asked, "--by", "components") == 0
    assert "L2.MLP" in capsys.readouterr().out
    assert call(monkeypatch, *asked, "--query", "99") == 2
    assert "query 99 was asked for" in capsys.readouterr().err
