"""What can be refused without the model is refused before one is loaded, and nothing is written."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import saecircuits as sc
from saecircuits.runs.stored import read_graph
from saecircuits.splicing import loading
from tests.model_folder import write_model_folder, write_task
from tests.test_cli import call, check_one_line


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a task, and a run."""
    place = tmp_path_factory.mktemp("refusals")
    write_model_folder(place / "tiny")
    write_task(place / "words.jsonl")
    (place / "bad.jsonl").write_text("{")
    (place / "mine").mkdir()
    (place / "mine" / "notes.txt").write_text("mine")
    (place / "edges.parquet").write_text("mine")
    (place / "empty.txt").write_text(" \n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        run = ["attribute", "words.jsonl", "--model", "tiny", "--out", "run", "--max-nodes", "9"]
        assert call(patch, *run) == 0
    return place


DISCOVER = ["discover", "words.jsonl", "--model", "tiny"]
ATTRIBUTE = ["attribute", "words.jsonl", "--model", "tiny"]
LATE = {
    "run there": ([*DISCOVER, "--out", "run"], "run already holds a run"),
    "graph there": ([*ATTRIBUTE, "--out", "run"], "run already holds a run"),
    "other files": ([*DISCOVER, "--out", "mine", "--overwrite"], "mine holds other files"),
    "a file": ([*DISCOVER, "--out", "words.jsonl"], "words.jsonl is a file"),
    "in a file": ([*DISCOVER, "--out", "words.jsonl/x"], "words.jsonl is a file"),
    "long name": ([*DISCOVER, "--out", "x" * 300], "name too long"),
    "both": ([*DISCOVER, "--out", "run", "--overwrite", "--resume"], "choose one"),
    "edges": ([*DISCOVER, "--edges", "-1"], "-1 edges; ask for 0 or more"),
    "nodes": ([*DISCOVER, "--nodes", "0"], "ask for at least 1"),
    "seed": ([*DISCOVER, "--seed", "-1"], "seed is -1; it must be 0 or more"),
    "large seed": ([*ATTRIBUTE, "--seed", str(2**63)], "below 2^63"),
    "limit": ([*DISCOVER, "--limit", "0"], "limit is 0; it must be at least 1"),
    "faithfulness": ([*DISCOVER, "--faithfulness", "nan"], "faithfulness is nan"),
    "method": ([*DISCOVER, "--method", "efect"], "did you mean 'effect'"),
    "method by count": ([*DISCOVER, "--method", "masks", "--nodes", "3"], "needs a wanted"),
    "contexts": ([*DISCOVER, "--contexts", "none.txt"], "none.txt cannot be read"),
    "no text": ([*DISCOVER, "--contexts", "empty.txt"], "empty.txt holds no text"),
    "licence": ([*DISCOVER, "--contexts-licence", "CC0"], "without --contexts"),
    "task": (["discover", "pronuon", "--model", "tiny"], "did you mean 'pronoun'"),
    "task file": (["discover", "bad.jsonl", "--model", "tiny"], "bad.jsonl: line 1"),
    "edge file": ([*ATTRIBUTE, "--all-edges", "edges.parquet"], "is there already"),
    "no folder": ([*ATTRIBUTE, "--all-edges", "no/e.parquet"], "No such folder as no"),
    "linearity": (["linearity", "words.jsonl", "--limit", "0"], "limit is 0"),
    "baselines": (["baselines", "words.jsonl", "--kinds", "neuron"], "did you mean 'neurons'"),
    "bar": (["baselines", "words.jsonl", "--bar", "0"], "bar is 0.0"),
    "basis": (
        ["attention", "--prompt", "w1", "--layer", "0", "--head", "0", "--by", "x"],
        "unknown basis",
    ),
    "layer": (["attention", "--prompt", "w1", "--layer", "-1", "--head", "0"], "--layer"),
    "operator": (["expand", "--prompt", "w1", "--operator", "full"], "unknown operator"),
    "k": (["paths", "run", "-k", "0"], "0 paths were asked for"),
    "by": (["paths", "run", "--by", "heads"], "unknown by 'heads'"),
    "baseline": (["validate", "run", "--baseline", "corrupted,means"], "did you mean 'mean'"),
    "ablate": (["validate", "run", "--ablate", "paths"], "unknown ablate"),
    "level": (["hypotheses", "run", "--level", "2"], "level is 2.0"),
    "random": (["hypotheses", "run", "--random", "0"], "n_random is 0"),
    "rest": (["interactions", "run", "--rest", "zero"], "unknown rest"),
    "figure": (["draw", "run", "--measure", "--out", "x.png"], ".svg or .pdf"),
    "run's task": (["paths", "run", "--task", "none.jsonl"], "none.jsonl: no such file"),
}


@pytest.mark.parametrize("name", LATE)
def test_refused_before_a_model_is_loaded(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def loaded(*given: object, **choices: object) -> Any:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(loading, "model_folder", loaded)
    monkeypatch.setattr(loading, "boot", loaded)
    monkeypatch.chdir(place)
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    arguments, expected = LATE[name]
    assert call(monkeypatch, *arguments) == 2
    check_one_line(capsys, expected)
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == before


def test_a_folder_is_looked_at_before_anything_heavy_is_imported(place: Path) -> None:
    code = (
        "import sys; from saecircuits.cli import main\n"
        "sys.argv = ['saecircuits', 'discover', '--out', 'run']\n"
        "try: main()\n"
        "except SystemExit as stop: assert stop.code == 2\n"
        "heavy = {'torch', 'transformers', 'pandas', 'numpy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=place, env=_path())


def _path() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(Path(sc.__file__).parent.parent)}


def test_functions_refuse_as_early(place: Path) -> None:
    graph = read_graph(place / "run")
    model = sc.load_model(place / "tiny")
    task = sc.load_task(place / "words.jsonl", model)
    with pytest.raises(sc.InputError, match="already holds a run"):
        sc.discover(model, task, place / "run")
    with pytest.raises(sc.InputError, match="-1 edges"):
        sc.discover(model, task, place / "new", edges=-1)
    assert not (place / "new").exists()
    circuit = sc.prune(graph, nodes=3)
    for seed in (-1, 2**63):
        for run in (
            lambda seed=seed: sc.baselines(model, task, seed=seed),
            lambda seed=seed: sc.calibrate(model, graph, task.train, seed=seed),
            lambda seed=seed: sc.hypotheses(model, circuit, task.test, seed=seed),
            lambda seed=seed: sc.validate(model, circuit, task.test, seed=seed),
            lambda seed=seed: sc.interactions(model, task.test, circuit.members, seed=seed),
            lambda seed=seed: sc.linearity(model, task.test, seed=seed),
            lambda seed=seed: sc.AttributionSettings(seed=seed),
        ):
            with pytest.raises(sc.InputError, match="seed is"):
                run()
