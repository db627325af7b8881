"""Markdown that shows text of unknown origin literally."""

import re
from collections.abc import Iterable, Sequence

from saecircuits.shown_text import visible


def literal(text: str) -> str:
    """The text on one line, escaped so that it reads as it is inside a line or a table's cell."""
    entities = visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]#|~$])", r"\\\1", entities)


def code(text: str) -> str:
    """The text as inline code; backticks and bars cannot be kept there and are replaced."""
    return "`" + visible(text).replace("`", "\u02cb").replace("|", "\u00a6") + "`"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: int = 0) -> str:
    """A table of cells that are Markdown already.

    Args:
        numbers: how many of the last columns hold numbers, aligned to the right.
    """
    words = len(header) - numbers
    lines = [header, [":--"] * words + ["--:"] * numbers, *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
