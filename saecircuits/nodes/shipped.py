"""Names of shipped choices, for help that answers before torch is loaded."""

from collections.abc import Sequence
from typing import Final

# Of `nodes.baselines.BASELINES`, row by row.
BASELINE_NAMES: Final = ("corrupted", "mean", "zero", "resample")


def one_of(names: Sequence[str]) -> str:
    """`a, b, or c`."""
    return f"{', '.join(names[:-1])}, or {names[-1]}"
