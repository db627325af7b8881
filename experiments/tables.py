"""Results as tables: CSV for programs, Markdown for pages."""

from pathlib import Path

import pandas as pd


def write_table(table: pd.DataFrame, folder: Path, *, name: str, digits: int = 3) -> None:
    """Writes `<name>.csv` and `<name>.md` into a folder, and prints the last row.

    Args:
        digits: of fractions after the point in the Markdown, where a dash stands for what is not
            known.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / f"{name}.csv", index=False)
    text = markdown_table(table, digits=digits)
    (folder / f"{name}.md").write_text(text + "\n", encoding="utf-8")
    print(text.splitlines()[-1], flush=True)


def markdown_table(table: pd.DataFrame, *, digits: int = 3) -> str:
    """The table in Markdown, a dash where a value is not known."""
    lines = ["| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
    for row in table.astype(object).to_numpy():
        lines.append("| " + " | ".join(_cell(cell, digits) for cell in row) + " |")
    return "\n".join(lines)


def _cell(value: object, digits: int) -> str:
    if isinstance(value, str):
        return value.replace("|", "\\|")  # otherwise the end of the cell, in code too
    if pd.isna(value):  # pyright: ignore[reportArgumentType, reportCallIssue]
        return "-"
    # Adding 0.0 makes of a negative zero a positive one.
    return f"{round(value, digits) + 0.0:.{digits}f}" if isinstance(value, float) else str(value)
