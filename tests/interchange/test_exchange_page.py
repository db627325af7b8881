"""The page about other programs: its Python blocks run, in order, and it names all rules."""

import re
from pathlib import Path

import pytest

from saecircuits.interchange.exporting import TARGETS
from saecircuits.publication.publish import publish
from tests.found import Found

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "exchange.md").read_text(encoding="utf-8")


def test_its_blocks_run(found: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("saecircuits.features.texts.SAMPLE_LENGTH", 8)
    publish(found.circuit, found.report, "runs/pronoun", model=found.model, task=found.task)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    names: dict[str, object] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"exchange.md, block {number + 1}", "exec"), names)
    assert (tmp_path / "tables" / "nodes.csv").is_file()


def test_it_names_every_rule_and_target() -> None:
    folder = ROOT / "saecircuits" / "interchange"
    code = "".join((folder / name).read_text() for name in ("rules.py", "graph_checks.py"))
    rules = set(re.findall(r'Finding\(\s*(?:"error"|"warning"),\s*"([a-z-]+)"', code))
    assert len(rules) >= 24
    assert not [rule for rule in rules if f"`{rule}`" not in PAGE]
    assert not [target for target in TARGETS if f"`{target}`" not in PAGE]
