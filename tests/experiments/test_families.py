"""The tables of families, on a few of them."""

from pathlib import Path

import pandas as pd

from experiments.families import run as families
from experiments.precision import families as precision


def test_coverage(tmp_path: Path) -> None:
    families.main(["--families", "Granite", "BERT", "--no-runs", "--out", str(tmp_path)])
    table = pd.read_csv(tmp_path / "families.csv").set_index("family")
    assert table.loc["Granite", "engine"] == "factorised"
    figures = ["stream", "components", "reads ln2.hook_normalized", "reads mlp.hook_in"]
    assert (table.loc["Granite", figures].astype(float) < 1e-5).all()
    assert table.loc["BERT", "engine"] == "refused"
    assert "is not causal" in str(table.loc["BERT", "why"])


def test_precision(tmp_path: Path) -> None:
    precision.main(["--families", "Llama", "--out", str(tmp_path)])
    table = pd.read_csv(tmp_path / "families_by_dtype.csv").set_index("dtype")
    # The units of least precision are 2^-24 and 2^-8.
    for kind in ("nodes max", "edges max"):
        assert table.loc["float32", kind] < 1e-4 < table.loc["bfloat16", kind] < 0.5
    assert table.loc["float32", "edges Spearman"] > 0.999
    page = (tmp_path / "families_precision.md").read_text(encoding="utf-8")
    assert page.splitlines()[2].startswith("| Llama | ") and page.count(" / ") == 8
