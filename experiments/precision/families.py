"""What does a dtype cost in accuracy in every family? Effects against float64 of the same weights.

Tiny random models whose weights bfloat16 holds, with a dictionary on the stream after every block.
Errors are those of computing alone: of nodes and edges, the largest |difference| over the largest
|effect| of float64; the median of |difference| over |effect| among effects of at least 1% of the
largest; and Spearman's correlation over all.

    python -m experiments.precision.families --out results
"""

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch

import saecircuits as sc
from experiments.families.measure import on_stream, write_task
from experiments.families.zoo import FAMILIES, Family, load, save
from experiments.tables import write_table

EXACT = torch.float64
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_COUNTED = 0.01


def errors(exact: pd.DataFrame, found: pd.DataFrame, keys: list[str]) -> dict[str, float]:
    """How far effects are from the exact ones; what one table lacks has the effect 0 there."""
    both = exact.merge(found, on=keys, how="outer", suffixes=("", "_found"))
    effects = both[["effect", "effect_found"]].fillna(0.0)
    gap, size = (effects["effect_found"] - effects["effect"]).abs(), effects["effect"].abs()
    counted = size >= _COUNTED * size.max()
    return {
        "max": float(gap.max() / size.max()),
        "median": float((gap[counted] / size[counted]).median()),
        "Spearman": float(effects["effect"].corr(effects["effect_found"], method="spearman")),
    }


def measure(family: Family, folder: Path) -> list[dict[str, object]]:
    """A row for each dtype."""
    save(family, folder)
    file = write_task(folder / "task.jsonl")

    def graph(dtype: torch.dtype) -> sc.AttributionGraph:
        model = on_stream(load(folder, dtype=dtype), family)
        return sc.attribute(model, sc.load_task(file, model).train, max_nodes=None)

    exact, rows = graph(EXACT), []
    for name, dtype in DTYPES.items():
        row: dict[str, object] = {"family": family.name, "dtype": name}
        found = graph(dtype)
        for what, keys in (("nodes", ["node"]), ("edges", ["source", "target"])):
            one, other = (getattr(table, what) for table in (exact, found))
            row |= {f"{what} {kind}": value for kind, value in errors(one, other, keys).items()}
        rows.append(row)
    return rows


def by_family(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """A row for each family: max / median / Spearman of nodes and edges in every dtype."""
    found: dict[object, dict[str, object]] = {}
    for row in rows:
        into = found.setdefault(row["family"], {"family": row["family"]})
        for what in ("nodes", "edges"):
            figures = (
                f"{row[f'{what} max']:.1e}",
                f"{row[f'{what} median']:.1e}",
                f"{row[f'{what} Spearman']:.4f}",
            )
            into[f"{row['dtype']}, {what}"] = " / ".join(figures)
    return list(found.values())


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes `families_by_dtype.csv`, a row for each dtype, and `families_precision.md`, by family.

    Refused families have no row.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    names = [family.name for family in FAMILIES]
    parser.add_argument("--families", nargs="*", default=names, choices=names)
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_args(arguments)
    rows: list[dict[str, object]] = []
    for family in FAMILIES:
        if family.name not in options.families:
            continue
        with TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                rows += measure(family, Path(folder))
            except (sc.SaecircuitsError, RuntimeError) as error:
                print(f"{family.name}: {str(error).splitlines()[0]}", flush=True)
                continue
        options.out.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_csv(options.out / "families_by_dtype.csv", index=False)
        write_table(pd.DataFrame(by_family(rows)), options.out, name="families_precision")


if __name__ == "__main__":
    main()
