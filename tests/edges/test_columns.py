"""A column is added in two places: where it is computed, and in the table of columns."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "saecircuits"
# Behind which line, of which file, which line is new.
CHANGES = (
    (
        "edges/attribute.py",
        '    nodes["left_out"] = nodes["effect"] - nodes["node"].map(edges.out)\n',
        '    nodes["place"] = nodes["effect"].abs().rank(ascending=False)\n',
    ),
    (
        "edges/columns.py",
        'page="left_out", is_needed=False),\n',
        '    Column("place", "number", "by |effect|, the largest first", is_needed=False),\n',
    ),
)


@pytest.mark.slow
def test_a_column_of_nodes(model_folder: Path, task_file: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(PACKAGE, tmp_path / "saecircuits")
    for file, behind, line in CHANGES:
        text = (copy / file).read_text(encoding="utf-8")
        assert text.count(behind) == 1, f"{file} has another line there"
        (copy / file).write_text(text.replace(behind, behind + line), encoding="utf-8")

    def run(*command: str | Path) -> None:
        subprocess.run(
            [sys.executable, "-m", "saecircuits", *command],
            check=True,
            capture_output=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
        )

    out = tmp_path / "run"
    model = ("--model", model_folder, "--nodes", "4", "--max-nodes", "12")
    run("discover", task_file, *model, "--out", out)
    stored = pd.read_parquet(out / "nodes.parquet")
    nodes = stored[stored["kind"] != "metric"]
    places = nodes["effect"].abs().rank(ascending=False)
    assert nodes["place"].tolist() == places.tolist()
    assert stored.set_index("kind")["place"].isna()["metric"]
    run("export", out, "--target", "csv", "--out", tmp_path / "tables")
    assert "place" in pd.read_csv(tmp_path / "tables" / "nodes.csv").columns
