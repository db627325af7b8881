"""A run knows its model and task: commands take them from its record, and refuse others."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import saecircuits as sc
from saecircuits.features.dashboard_making import describe_features
from saecircuits.features.texts import generated_contexts
from saecircuits.publication.publish import publish
from saecircuits.runs.phrases import SCORES_NOTE
from saecircuits.runs.writing import circuit_digest
from tests.model_folder import write_model_folder, write_task
from tests.test_cli import SMALL, call, check_one_line


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, a task, another model of the same name and hooks, and a run."""
    place = tmp_path_factory.mktemp("runs")
    write_model_folder(place / "tiny")
    write_model_folder(place / "other", scale=0.3)
    write_task(place / "words.jsonl")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        run = ["discover", "words.jsonl", "--model", "tiny", "--out", "run", *SMALL]
        assert call(patch, *run, "--sites", HOOK, "--json") == 0
    return place


HOOK = "blocks.1.hook_resid_post"
COMMANDS = {
    "validate": ["validate", "run"],
    "hypotheses": ["hypotheses", "run", "--random", "3"],
    "interactions": ["interactions", "run", "--top", "3"],
    "paths": ["paths", "run", "-k", "3"],
    "draw": ["draw", "run", "--measure", "--out", "drawn.svg"],
}


def test_the_record_says_where_model_and_task_were(place: Path) -> None:
    record = json.loads((place / "run" / "circuit.json").read_text())
    assert record["provenance"]["source"] == "tiny"
    assert record["provenance"]["sites"] == [HOOK]
    assert record["task"]["source"] == "words.jsonl"


@pytest.mark.parametrize("more", [[], ["--prepend", "none"]])
def test_the_card_repeats_the_run_from_python(
    more: list[str], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    folder, choices = "again" + "".join(more), ["--dtype", "float64", "--limit", "3", *more]
    run = ["discover", "words.jsonl", "--model", "tiny", "--out", folder, *SMALL]
    assert call(monkeypatch, *run, "--sites", HOOK, *choices, "--json") == 0
    (block,) = re.findall(r"```python\n(.*?)```", (place / folder / "README.md").read_text(), re.S)
    made: dict[str, Any] = {}
    exec(block, made)
    record = json.loads((place / folder / "circuit.json").read_text())
    assert record["provenance"] | made["model"].describe() == record["provenance"]
    assert len(made["task"].train) == record["task"]["train"] == 3
    assert circuit_digest(made["circuit"]) == record["circuit_digest"]
    stored = json.loads((place / folder / "validation.json").read_text())
    assert made["report"].faithfulness == pytest.approx(stored["faithfulness"], abs=1e-9)


def test_absolute_paths_given_in_python_stay_private(place: Path) -> None:
    model = sc.load_model(place / "tiny")
    assert model.provenance["source"] == "tiny"
    assert sc.load_task(place / "words.jsonl", model).source == "words.jsonl"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_takes_model_sites_and_task_from_the_run(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    asked = [*COMMANDS[name], "--json"]
    assert call(monkeypatch, *asked) == 0
    printed = json.loads(capsys.readouterr().out)
    said = ["--model", "tiny", "--sites", HOOK, "--task", "words.jsonl"]
    assert call(monkeypatch, *asked, *said) == 0
    assert json.loads(capsys.readouterr().out) == printed
    if name == "validate":
        stored = json.loads((place / "run" / "validation.json").read_text())
        assert printed["faithfulness"] == pytest.approx(stored["faithfulness"], abs=1e-6)


def test_the_graph_s_scores_are_printed(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    scores = json.loads((place / "run" / "circuit.json").read_text())["summary"]["scores"]
    assert call(monkeypatch, "validate", "run") == 0
    said = " ".join(capsys.readouterr().out.split())
    for row in (
        f"replacement score (of influence) \u2502 {scores['replacement']:.3f}",
        f"completeness score (of inputs) \u2502 {scores['completeness']:.3f}",
        f"linear effect by features alone \u2502 {scores['features_share']:.3f}",
    ):
        assert row in said
    assert SCORES_NOTE in said
    asked = ["attribute", "words.jsonl", "--model", "tiny", "--max-nodes", "9", "--overwrite"]
    assert call(monkeypatch, *asked, "--out", "scored") == 0
    assert "linear effect by features alone: " in capsys.readouterr().out
    assert call(monkeypatch, *asked, "--out", "scored", "--json") == 0
    found = json.loads(capsys.readouterr().out)["scores"]
    assert found["tokens"] and 0 <= found["replacement"] <= 1


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_refuses_another_model(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    (place / "drawn.svg").unlink(missing_ok=True)
    digest = json.loads((place / "run" / "circuit.json").read_text())["provenance"]["model_digest"]
    for model, expected in (("other", digest[:12]), ("stories", "'tiny'")):
        assert call(monkeypatch, *COMMANDS[name], "--model", model) == 2
        check_one_line(capsys, expected)
    assert not (place / "drawn.svg").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_refuses_other_sites(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    assert call(monkeypatch, *COMMANDS[name], "--sites", "resid_post") == 2
    check_one_line(capsys, f"dictionaries at {HOOK}, but the model given has them at blocks.0")


def test_what_is_not_here_is_asked_for(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = os.path.relpath(place / "run", tmp_path)
    assert call(monkeypatch, "validate", run) == 2
    check_one_line(capsys, "'words.jsonl', which is not here; give its file with --task")
    assert call(monkeypatch, "validate", run, "--task", str(place / "words.jsonl")) == 2
    check_one_line(capsys, "unknown model 'tiny'")


def test_a_task_named_like_a_shipped_one_is_its_file(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(place / "words.jsonl", tmp_path / "pronoun.jsonl")
    monkeypatch.chdir(tmp_path)
    model = ["--model", str(place / "tiny")]
    run = ["attribute", str(tmp_path / "pronoun.jsonl"), *model, "--out", "run", "--max-nodes", "9"]
    assert call(monkeypatch, *run) == 0
    assert call(monkeypatch, "paths", "run", "-k", "2", "--json") == 0
    (tmp_path / "pronoun.jsonl").unlink()
    capsys.readouterr()
    assert call(monkeypatch, "paths", "run", "-k", "2") == 2
    check_one_line(capsys, "give its file with --task")


def test_runs_written_before_are_read(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    shutil.copytree(place / "run", place / "old")
    record = json.loads((place / "old" / "circuit.json").read_text())
    del record["provenance"]["source"], record["provenance"]["sites"], record["task"]["source"]
    (place / "old" / "circuit.json").write_text(json.dumps(record))
    said = ["--model", "tiny", "--task", "words.jsonl", "--json"]
    assert call(monkeypatch, "validate", "old", *said) == 0
    assert call(monkeypatch, "validate", "old", "--task", "words.jsonl") == 0  # in the folder tiny


def test_functions_refuse_a_circuit_of_another_model(place: Path) -> None:
    stored = sc.read_run(place / "run")
    other = sc.load_model(place / "other", sites=[HOOK])
    more = sc.load_model(place / "tiny")
    half = sc.load_model(place / "tiny", sites=[HOOK], dtype=torch.bfloat16)
    own = sc.load_model(place / "tiny", sites=[HOOK])
    dictionary = replace(own.splices[0].dictionary, b_dec=own.splices[0].dictionary.b_dec + 1)
    shifted = replace(own, splices=(replace(own.splices[0], dictionary=dictionary),))
    task = sc.load_task(place / "words.jsonl", own)
    calls: dict[str, Any] = {
        "validate": lambda model: sc.validate(model, stored.circuit, task.test),
        "hypotheses": lambda model: sc.hypotheses(model, stored.circuit, task.test),
        "calibrate": lambda model: sc.calibrate(model, stored.graph, task.train),
        "on": lambda model: stored.graph.on(model, task.train),
        "publish": lambda model: publish(stored.circuit, None, place / "new", model=model),
        "describe_features": lambda model: describe_features(
            model, stored.circuit, generated_contexts(own)
        ),
    }
    for run in calls.values():
        for model, said in (
            (other, "was computed on the model 'tiny' .*, but the model 'tiny' .* was given"),
            (half, "computed in float32, but a model in bfloat16 was given"),
            (more, "with dictionaries at blocks.1.hook_resid_post, but"),
            (shifted, "computed with the dictionary sha256"),
        ):
            with pytest.raises(sc.InputError, match=said):
                run(model)
    assert not (place / "new").exists()
