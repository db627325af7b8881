"""Results as tables: CSV for programs, Markdown for pages."""

from pathlib import Path

import pandas as pd


def write_table(table: pd.DataFrame, folder: Path, *, name: str) -> None:
    """Writes `<name>.csv` and `<name>.md` into a folder, and prints the last row."""
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / f"{name}.csv", index=False)
    lines = ["| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in table.to_numpy()]
    (folder / f"{name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(lines[-1], flush=True)


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
