"""Families of models x kinds of dictionaries x places: a covering subset, from loading on."""

import warnings
from pathlib import Path

import pytest

from experiments.families.zoo import FAMILIES
from experiments.matrix.cells import Cell, checked, covering
from experiments.matrix.dictionaries import KINDS

CELLS = covering()
# What may stand against a cell. Whether the libraries' own code for a family runs is theirs.
REASONS = (
    "does not run in", "does not compute what the Hugging Face model computes", "cannot be loaded",
    "is not causal", "is no single stack of blocks", "exists but did not fire",
    "has no stream between attention layer and MLP",
)  # fmt: skip
# Families that people bring most: nothing stands against these, whatever the dictionary.
ALWAYS = ("GPT-2", "Llama", "Mistral", "Qwen 2", "Qwen 3", "Gemma", "Gemma 2", "Gemma 3", "OLMo 2")


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_laws_hold_from_loading_to_validation(cell: Cell, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries, about random models
        found = checked(cell, tmp_path)
    if found["engine"] == "refused":
        assert cell.family.name not in ALWAYS, found["why"]
        assert any(reason in found["why"] for reason in REASONS), found["why"]


def test_the_subset_covers() -> None:
    assert {cell.family.name for cell in CELLS} == {family.name for family in FAMILIES}
    pairs = {(cell.kind.name, cell.place) for cell in CELLS}
    assert pairs == {(kind.name, place) for kind in KINDS for place in kind.places}
