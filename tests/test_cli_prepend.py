"""What stands in front of prompts is chosen, printed, written down, and read again from a run."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import transformers

import saecircuits as sc
from saecircuits.errors import InputError
from tests.model_folder import HOOKS, write_manifest, write_model_folder, write_task
from tests.models import build_tokenizer
from tests.test_cli import SMALL, call, check_one_line


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose tokenizer names no BOS, and a run of it with nothing said."""
    place = tmp_path_factory.mktemp("front")
    write_model_folder(place / "tiny")
    core = build_tokenizer().backend_tokenizer
    end = "<|endoftext|>"
    transformers.PreTrainedTokenizerFast(tokenizer_object=core, eos_token=end).save_pretrained(
        place / "tiny" / "model"
    )
    write_manifest(
        place / "tiny", [{"path": f"saes/{one}", "kind": "sae", "hook_name": one} for one in HOOKS]
    )
    write_task(place / "words.jsonl")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        run = ["discover", "words.jsonl", "--model", "tiny", "--out", "run", *SMALL]
        assert call(patch, *run, "--sites", HOOKS[1], "--positions", "each") == 0
    return place


def test_a_run_says_that_nothing_is_prepended(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((place / "run" / "circuit.json").read_text())
    why = "the tokenizer has no BOS"
    assert record["provenance"]["prepended"] == {"token": None, "id": None, "why": why}
    card = (place / "run" / "README.md").read_text()
    assert f"| in front of every prompt | `nothing ({why})` |" in card
    assert "prepend='none')" in card
    assert "in every ablation, and the dictionaries' biases are no nodes" in card
    spans = set(sc.read_run(place / "run").graph.nodes["span"])
    assert spans == {"1", "2", "3", "4"}  # prompts differ at 1, and end at 4
    viewer = json.loads((place / "run" / "graph.json").read_text())
    assert viewer["metadata"]["prompt_tokens"][0] == "(nothing)"
    monkeypatch.chdir(place)
    assert call(monkeypatch, "validate", "run") == 0
    assert f"In front of every prompt: nothing ({why})" in capsys.readouterr().out


@pytest.mark.parametrize("is_recorded", [True, False])
def test_a_run_is_read_with_its_own_token(
    is_recorded: bool, place: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(place)
    out = f"behind {is_recorded}"
    token = "w3" if is_recorded else "<|endoftext|>"
    asked = ["attribute", "words.jsonl", "--model", "tiny", "--out", out, "--max-nodes", "9"]
    assert call(monkeypatch, *asked, "--prepend", token) == 0
    assert f"In front of every prompt: '{token}' (asked for)" in capsys.readouterr().out
    path = place / out / "circuit.json"
    record = json.loads(path.read_text())
    assert record["provenance"]["prepended"]["token"] == token
    if not is_recorded:  # runs of earlier versions: what the bridge called BOS
        del record["provenance"]["prepended"]
        path.write_text(json.dumps(record))
    # Reading a graph compares the digest of what was tokenised.
    assert call(monkeypatch, "paths", out, "-k", "2", "--json") == 0
    capsys.readouterr()
    assert call(monkeypatch, "paths", out, "-k", "2", "--prepend", "none") == 2
    check_one_line(capsys, "computed from other prompts")


def test_a_circuit_is_not_judged_behind_another_token(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    assert call(monkeypatch, "validate", "run", "--prepend", "w3") == 2
    check_one_line(capsys, "there is nothing, and in front of those given 'w3'")
    assert call(monkeypatch, "expand", "--prompt", "w1", "--model", "tiny", "--prepend", "bos") == 2
    check_one_line(capsys, "has no BOS of its own")
    model: Any = sc.load_model(place / "tiny", sites=[HOOKS[1]])
    circuit = sc.read_run(place / "run").circuit
    behind = sc.load_task(place / "words.jsonl", model, prepend="w3")
    with pytest.raises(InputError, match=re.escape("load_task(..., prepend='none')")):
        sc.validate(model, circuit, behind.test)
    # What the model puts there is what its tasks have.
    assert sc.load_task(place / "words.jsonl", model.prepending("w3")).digest == behind.digest
