"""Families of models x kinds of dictionaries x places: a covering subset, from loading on."""

import warnings
from pathlib import Path

import pytest

from experiments.families.zoo import FAMILIES
from experiments.matrix.cells import Cell, checked, covering
from experiments.matrix.dictionaries import KINDS

CELLS = covering()
# What stands against a cell. Whether the libraries' own code for a family runs is theirs.
_RUNS, _SAME, _LOADS = "does not run in", "does not compute what", "cannot be loaded"
_PLACE = "has no stream between attention layer and MLP"
REFUSED = {
    "OpenAI GPT": "exists but did not fire", "Hunyuan": _SAME, "GPT-NeoX": _PLACE, "GPT-J": _PLACE,
    "CodeGen": _RUNS, "Falcon, two norms": _LOADS, "Cohere": _SAME, "Cohere 2": _SAME,
    "Phi 3.5 MoE": _LOADS, "DeepSeek V2": _RUNS, "Qwen 3 Next": _RUNS, "Granite hybrid": _RUNS,
    "RecurrentGemma": _RUNS, "BERT": "is not causal", "T5": "is no single stack of blocks",
    "BART": "is no single stack of blocks",
}  # fmt: skip


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_laws_hold_from_loading_to_validation(cell: Cell, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries, about random models
        found = checked(cell, tmp_path)
    if found["engine"] == "refused":
        assert REFUSED.get(cell.family.name, "nothing stands against it") in found["why"]


def test_the_subset_covers() -> None:
    assert {cell.family.name for cell in CELLS} == {family.name for family in FAMILIES}
    pairs = {(cell.kind.name, cell.place) for cell in CELLS}
    assert pairs == {(kind.name, place) for kind in KINDS for place in kind.places}
