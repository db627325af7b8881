"""Families of models x kinds of dictionaries x places, each from loading to validation.

Tiny random models, saved as Hugging Face saves them; random dictionaries, written as their own
libraries write them; loaded by name of folder, and laws checked (`experiments.matrix.cells`).

    python -m experiments.matrix.run --out results              # a covering subset
    python -m experiments.matrix.run --every --out results      # all cells
"""

import argparse
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from experiments.families.zoo import FAMILIES
from experiments.matrix.cells import checked, covering, every_cell
from experiments.matrix.dictionaries import KINDS
from experiments.tables import write_table


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes `matrix.csv` and `matrix.md`: per family and kind what came of the cells."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", action="store_true", help="all cells, not a covering subset")
    names = [family.name for family in FAMILIES]
    parser.add_argument("--families", nargs="*", default=names, choices=names)
    kinds = [kind.name for kind in KINDS]
    parser.add_argument("--kinds", nargs="*", default=kinds, choices=kinds)
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_args(arguments)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    rows: list[dict[str, Any]] = []
    for cell in every_cell() if options.every else covering():
        if cell.family.name not in options.families or cell.kind.name not in options.kinds:
            continue
        # Warnings are of these random models; what counts is in the table.
        with TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                rows.append(checked(cell, Path(folder)))
            except Exception as error:  # what is looked for
                rows.append({"cell": cell.name, "engine": "FAILS", "why": f"{error!r}"})
    table = pd.DataFrame(rows)
    write_table(table, options.out, name="matrix")
    print(table["engine"].value_counts().to_string())


if __name__ == "__main__":
    main()
