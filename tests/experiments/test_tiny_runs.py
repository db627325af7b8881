"""Every experiment runs, at a size that says nothing about the results."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from experiments.circuits import run as circuits
from experiments.estimators import run as estimators
from experiments.expansion import run as expansion
from experiments.induction import run as induction
from experiments.linearity import run as linearity
from experiments.long_prompt import run as long_prompt
from experiments.redundancy import run as redundancy
from experiments.selection import run as selection
from saecircuits.splicing.loading import check_files, load_model, read_manifest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_circuits(tmp_path: Path) -> None:
    circuits.main(["--tasks", "agreement", "--limit", "6", "--out", str(tmp_path)])
    row = pd.read_csv(tmp_path / "circuits.csv").iloc[0]
    assert row["task"] == "agreement"
    assert row["100 nodes"] <= row["300 nodes"] + 0.05
    assert "| agreement |" in (tmp_path / "circuits.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_selection(tmp_path: Path) -> None:
    small = ["--methods", "effect", "--limit", "6", "--faithfulness", "0.5", "--held-out", "0.3"]
    selection.main(["--tasks", "agreement", *small, "--out", str(tmp_path)])
    table = pd.read_csv(tmp_path / "selection.csv")
    assert table["with_errors"].tolist() == [True, False]
    assert (table["by edges"].dropna() >= 0.3).all()


@pytest.mark.slow
def test_estimators(tmp_path: Path) -> None:
    small = ["--nodes", "8", "--edges", "8", "--joint-nodes", "4"]
    estimators.main(["--tasks", "agreement", "--limit", "4", *small, "--out", str(tmp_path)])
    table = pd.read_csv(tmp_path / "estimators.csv")
    assert len(table) == len(estimators.WAYS)
    assert table["node spearman"].between(-1, 1).all()


def test_long_prompt() -> None:
    found = long_prompt.measure(24, "1GB", 1e-3)
    assert found["sources"] > found["targets"] > 0
    assert found["edges_computed"] >= found["edges_kept"] > 0
    assert found["peak_bytes"] >= found["peak_bytes_loaded"]


@pytest.mark.slow
def test_expansion(tmp_path: Path) -> None:
    expansion.main(["--tasks", "pronoun", "--limit", "2", "--out", str(tmp_path)])
    for operator in expansion.OPERATORS:
        table = pd.read_csv(tmp_path / f"degrees_{operator}.csv")
        assert table["exact error"].iloc[-1] < 1e-4 < table["naive error"].iloc[-1]
        assert table["share of absolute logit"].sum() == pytest.approx(1)
    assert "</svg>" in (tmp_path / "expansion_naive.svg").read_text(encoding="utf-8")


@pytest.mark.slow
def test_linearity(tmp_path: Path) -> None:
    small = ["--nodes", "6", "--edges", "4", "--neurons", "2"]
    linearity.main(["--tasks", "agreement", "--limit", "4", *small, "--out", str(tmp_path)])
    table = pd.read_csv(tmp_path / "linearity_medians.csv")
    assert {"feature", "neuron", "head", "edge"} <= set(table["kind"])
    assert len(pd.read_csv(tmp_path / "linearity_profile.csv")) == 5
    for name in ("linearity.svg", "linearity_curves.svg"):
        assert (tmp_path / name).read_text(encoding="utf-8").startswith("<svg")


@pytest.mark.slow
def test_redundancy(tmp_path: Path) -> None:
    small = ["--members", "4", "--limit", "4"]
    redundancy.main(["--tasks", "agreement", *small, "--out", str(tmp_path)])
    table = pd.read_csv(tmp_path / "redundancy.csv").set_index("game")
    assert list(table.index) == ["circuit", "alone", "inner", "last", "layers"]
    grades = table[["grade 1", "grade 2", "grade 3", "grade 4 and above"]]
    assert (grades.sum(axis=1).drop("alone") - 1).abs().max() < 1e-4
    assert "agreement" in (tmp_path / "redundancy.svg").read_text(encoding="utf-8")


@pytest.mark.slow
def test_pretraining(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    choose = random.Random(0).choice
    for name, count in (("corpus.txt", 300), ("corpus_valid.txt", 60)):
        stories = [
            f"Once there was a {choose(['girl', 'boy', 'dog'])} in the {choose(['park', 'zoo'])}. "
            f"They saw a {choose(['red', 'big', 'new'])} {choose(['ball', 'car', 'bird'])}. "
            f"It was a {choose(['good', 'long', 'warm'])} day and they were glad."
            for _ in range(count)
        ]
        (corpus / name).write_text("\n<|endoftext|>\n".join(stories), encoding="utf-8")
    out = tmp_path / "tiny"
    command = ["experiments/pretrain/run.py", "--corpus", str(corpus), "--out", str(out), "--tiny"]
    subprocess.run(
        [sys.executable, *command, "--threads", "1"], cwd=ROOT, check=True, capture_output=True
    )
    manifest = read_manifest(out)
    check_files(out, manifest)
    assert json.dumps(manifest)
    model = load_model(out)
    assert model.hooks == tuple(manifest["default_sites"])


@pytest.mark.slow
def test_induction_pretraining(tmp_path: Path) -> None:
    out = tmp_path / "tiny"
    command = ["experiments/pretrain/induction.py", "--out", str(out), "--tiny"]
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True, capture_output=True)
    manifest = read_manifest(out)
    check_files(out, manifest)
    model = load_model(out)
    assert model.hooks == tuple(manifest["default_sites"])
    weights = model.bridge.state_dict()
    mlps = [weight for name, weight in weights.items() if ".mlp." in name]
    assert mlps
    assert not any(weight.any() for weight in mlps)


@pytest.mark.slow
def test_induction(tmp_path: Path) -> None:
    induction.main(["--prompts", "4", "--out", str(tmp_path)])
    assert len(pd.read_csv(tmp_path / "behaviours.csv")) == 8
    assert (tmp_path / "induction_paths.svg").read_text(encoding="utf-8").startswith("<svg")
