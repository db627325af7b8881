"""The page about columns says what `edges.columns` says."""

from pathlib import Path

import pytest

from saecircuits.edges.columns import PART_TABLE, STORED_EDGES, STORED_NODES, Columns
from saecircuits.publication.markdown import table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "columns.md"


def described(columns: Columns) -> str:
    rows = [
        (f"`{one.name}`", one.kind, one.meaning, one.page or "", "" if one.is_needed else "yes")
        for one in columns
    ]
    header = ("column", "type", "meaning", "on the page", "may be missing in older runs")
    return table(header, rows)


@pytest.mark.parametrize("columns", [STORED_NODES, STORED_EDGES, PART_TABLE])
def test_the_page_is_current(columns: Columns) -> None:
    wanted = described(columns)
    text = PAGE.read_text(encoding="utf-8")
    assert wanted in text, f"docs/columns.md lacks this table; put it there:\n\n{wanted}"
