"""The pages' Python blocks run, in order, as they stand."""

import re
from pathlib import Path

import pytest

from saecircuits.splicing.shipped import model_names

ROOT = Path(__file__).resolve().parents[2]
# What each page's blocks write, if they write anything.
PAGES = {
    "docs/guide.md": "runs/guide/figure.svg",
    "docs/path-expansion.md": None,
    "docs/paths.md": None,
    "docs/attention.md": None,
    "docs/interactions.md": None,
    "docs/devices.md": None,
    "docs/extending.md": None,
}
# Needs a run that is there: tests/interchange/test_exchange_page.py.
ELSEWHERE = {"docs/exchange.md"}
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_a_page_runs(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "stories" in model_names()
    blocks = BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    assert blocks, f"{page} has no Python block"
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{page}, block {number + 1}", "exec"), names)
    written = PAGES[page]
    assert written is None or (tmp_path / written).is_file()


def test_every_page_with_a_block_is_run() -> None:
    pages = {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")}
    with_blocks = {page for page in pages if BLOCK.search((ROOT / page).read_text("utf-8"))}
    assert with_blocks == set(PAGES) | ELSEWHERE


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
