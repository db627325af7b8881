"""`--device` and `--dtype` of the command line: on every command that loads a model, read first."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import typer.main

from saecircuits.cli import app
from tests.test_cli import call

COMMANDS = typer.main.get_command(app).commands  # pyright: ignore[reportAttributeAccessIssue]
# Arguments without which a command is not called at all; no such run, so nothing can be loaded.
REQUIRED = {
    "validate": ["no-run"],
    "hypotheses": ["no-run"],
    "paths": ["no-run"],
    "interactions": ["no-run"],
    "draw": ["no-run"],
    "expand": ["--prompt", "w1"],
    "attention": ["--prompt", "w1", "--layer", "0", "--head", "0"],
}
LOADING = sorted(
    name for name, command in COMMANDS.items() if "model" in {one.name for one in command.params}
)


def test_every_command_that_loads_a_model_says_where() -> None:
    assert set(LOADING) >= {*REQUIRED, "discover", "attribute", "linearity", "baselines"}
    for name in LOADING:
        options = {one.name for one in COMMANDS[name].params}
        assert {"sites", "dictionaries", "device", "dtype"} <= options, name


@pytest.mark.parametrize("name", LOADING)
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--device", "gpu"], "device 'gpu' names no device; here are cpu"),
        (["--device", "cuda:99"], "device 'cuda:99' is not on this machine; here are cpu"),
        (["--dtype", "float8"], "unknown dtype 'float8'; did you mean"),
    ],
    ids=["no name", "not here", "no dtype"],
)
def test_a_wrong_one_is_one_line_and_nothing_else(
    name: str,
    asked: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, name, *REQUIRED.get(name, []), *asked) == 2
    written = capsys.readouterr()
    assert written.err.startswith(f"saecircuits: {said}")
    assert len(written.err.splitlines()) == 1
    assert written.out == ""
    assert list(tmp_path.iterdir()) == []


def test_it_is_refused_with_torch_alone() -> None:
    code = (
        "import sys; sys.argv = ['saecircuits', 'discover', '--device', 'cuda:99']\n"
        "from saecircuits.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert stop.code == 2\n"
        "assert not {'transformers', 'transformer_lens', 'sae_lens', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_run_in_float64(
    model_folder: Path,
    task_file: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    loaded = ["--model", str(model_folder), "--device", "cpu", "--dtype", "float64"]
    made = ["attribute", str(task_file), *loaded, "--out", str(out), "--max-nodes", "8", "--json"]
    assert call(monkeypatch, *made) == 0
    assert json.loads(capsys.readouterr().out)["nodes"] > 0
    circuit = json.loads((out / "circuit.json").read_text(encoding="utf-8"))
    assert circuit["provenance"]["dtype"] == "float64"
    before = torch.get_default_dtype()
    asked = ["expand", "--prompt", "w4 w9 w2", *loaded, "--sites", "resid_post", "--json"]
    assert call(monkeypatch, *asked) == 0
    rows = json.loads(capsys.readouterr().out)["degrees"]
    # The parts add up to the total to float64's digits, which float32 cannot do.
    assert sum(row["metric"] for row in rows[:-1]) == pytest.approx(rows[-1]["metric"], abs=1e-11)
    assert torch.get_default_dtype() is before


def test_a_command_takes_the_dtype_from_the_run(
    model_folder: Path,
    task_file: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = ["discover", str(task_file), "--model", str(model_folder), "--dtype", "float64"]
    assert call(monkeypatch, *made, "--out", str(out), "--nodes", "8", "--no-contexts") == 0
    again = ["validate", str(out), "--model", str(model_folder), "--task", str(task_file)]
    capsys.readouterr()
    assert call(monkeypatch, *again, "--json") == 0
    stored = json.loads((out / "validation.json").read_text(encoding="utf-8"))
    found = json.loads(capsys.readouterr().out)["faithfulness"]
    assert found == pytest.approx(stored["faithfulness"], abs=1e-12)
    assert call(monkeypatch, *again, "--dtype", "float32") == 2
    assert "computed in float64, but a model in float32 was given" in capsys.readouterr().err
