"""Models and dictionaries from the command line: any folder, listed, packed, and found again."""

import json
from pathlib import Path

import pytest

from saecircuits.cli import finding
from saecircuits.runs.stored import read_run
from tests.hub_cache import small_sae, write_gpt2
from tests.model_folder import write_task
from tests.models import boot_again, fitted
from tests.test_cli import SMALL, call, check_one_line

HOOKS = [f"blocks.{layer}.hook_resid_post" for layer in range(2)]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model as Hugging Face saves it, dictionaries beside it, and a task."""
    write_gpt2(tmp_path / "mine", n_layer=2)
    bridge = boot_again(tmp_path / "mine")
    for layer, hook in enumerate(HOOKS):
        sae = fitted(small_sae(hook, seed=layer), bridge, hook)
        sae.save_model(tmp_path / "saes" / f"layer_{layer}")
    write_task(tmp_path / "words.jsonl")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_plain_folder_and_a_folder_of_dictionaries(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["--model", "mine", "--dictionaries", str(place / "saes"), "--out", "run", *SMALL]
    assert call(monkeypatch, "discover", "words.jsonl", *run) == 0
    provenance = read_run(place / "run").circuit.provenance
    assert provenance["source"] == "mine"
    # As they were typed, so that the next command finds them.
    assert provenance["dictionaries_from"] == {
        hook: f"{place / 'saes'}:layer_{layer}" for layer, hook in enumerate(HOOKS)
    }
    capsys.readouterr()
    assert call(monkeypatch, "validate", "run", "--limit", "3", "--json") == 0
    assert json.loads(capsys.readouterr().out)["prompts"] > 0
    (place / "saes").rename(place / "moved")
    assert call(monkeypatch, "validate", "run", "--limit", "3", "--json") == 2
    check_one_line(capsys, "--model, --dictionaries and --sites say where it is")
    words = ["--dictionaries", "moved:layer_0", "--dictionaries", "moved:layer_1"]
    assert call(monkeypatch, "validate", "run", "--limit", "3", "--json", *words) == 0


def test_what_a_folder_has_is_listed(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "dictionaries", "saes", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [(one["id"], one["hook"], one["width"]) for one in found] == [
        ("layer_0", HOOKS[0], 24),
        ("layer_1", HOOKS[1], 24),
    ]
    assert all(one["is_loaded"] for one in found)
    assert call(monkeypatch, "dictionaries", "gpt2-small-res-jb") == 0
    assert "loads: 3 of 13" in " ".join(capsys.readouterr().out.split())
    # Looking at too many is no fault; loading them is.
    assert call(monkeypatch, "dictionaries", "gemma-scope-2b-pt-res:layer_5/*") == 0
    assert "were asked for at layer 5" in " ".join(capsys.readouterr().out.split())
    assert call(monkeypatch, "dictionaries") == 0
    assert "gpt2-small-res-jb" in capsys.readouterr().out


def test_a_packed_folder_needs_no_more_words(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "saes").rename(place / "mine" / "saes")
    assert call(monkeypatch, "manifest", "mine", "--name", "gpt2-small") == 0
    assert "2 dictionaries, 2 spliced by default" in capsys.readouterr().out
    assert call(monkeypatch, "attribute", "words.jsonl", "--model", "mine", "--max-nodes", "9") == 0
    capsys.readouterr()
    assert call(monkeypatch, "manifest", "mine") == 2
    check_one_line(capsys, "is there already")


def test_dictionaries_that_describe_nothing_are_refused_before_anything_long(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small_sae(HOOKS[0], seed=7).save_model(place / "wrong")
    run = ["discover", "words.jsonl", "--model", "mine", "--dictionaries", "wrong"]
    monkeypatch.setattr(finding, "contexts_of", lambda *given, **more: pytest.fail("too late"))
    assert call(monkeypatch, *run) == 2
    check_one_line(capsys, "less than the mean would")
    monkeypatch.undo()
    monkeypatch.chdir(place)
    assert call(monkeypatch, *run, "--insist", "--no-contexts", *SMALL) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "mine"], "is a model without dictionaries; name them too"),
        (["--model", "mine", "--dictionaries", "saess"], "unknown release, folder or repository"),
        (["--model", "mine", "--dictionaries", "saes:layer_7"], "unknown dictionary of 'saes'"),
        (["--model", "mine", "--dictionaries", "saes", "--dictionaries", "saes:layer_0"], "2 dict"),
        (["--model", "mine", "--dictionaries", "saes", "--sites", "mlp_out"], "kind of site"),
    ],
)
def test_slips_are_one_line(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    assert call(monkeypatch, "discover", "words.jsonl", *words) == 2
    check_one_line(capsys, said)
    assert not (place / "runs").exists()
