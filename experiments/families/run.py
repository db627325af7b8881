"""Which families can be used, by which engine, and what is refused: tiny random models of each.

Every model is saved as people bring it and loaded again. Dictionaries sit on the stream, at what
attention layers and MLPs write, and as transcoders that read before or after the norm's weight; the
edges of both engines are compared, held operators are tried, and a run is published.

    python -m experiments.families.run --out results
"""

import argparse
import logging
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from experiments.families.measure import coverage
from experiments.families.zoo import FAMILIES
from experiments.tables import write_table


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes `families.csv` and `families.md`, row by row as they are measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [family.name for family in FAMILIES]
    parser.add_argument("--families", nargs="*", default=names, choices=names)
    parser.add_argument("--no-runs", action="store_true", help="publish none")
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_args(arguments)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    libraries = ("transformers", "transformer_lens", "torch")
    print("with", *(f"{name} {version(name.replace('_', '-'))}" for name in libraries))
    rows = []
    for family in FAMILIES:
        if family.name in options.families:
            # Warnings are of these random models; what counts is in the table.
            with TemporaryDirectory() as folder, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                rows.append(coverage(family, Path(folder), is_published=not options.no_runs))
            write_table(pd.DataFrame(rows), options.out, name="families")


if __name__ == "__main__":
    main()
