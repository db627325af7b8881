"""The file of all edges: everything that was computed, whole or not at all."""

from pathlib import Path

import pandas as pd
import pytest

from saecircuits.edges.attribute import attribute
from saecircuits.edges.graph import EDGE_COLUMNS
from saecircuits.errors import InputError
from tests.models import Toy


def test_the_file_holds_what_the_graph_has_no_room_for(toy: Toy, tmp_path: Path) -> None:
    path = tmp_path / "all.parquet"
    whole = attribute(toy.model, toy.prompts, max_nodes=40)
    few = attribute(toy.model, toy.prompts, max_nodes=40, max_edges=7, all_edges=path)
    found = pd.read_parquet(path)
    assert tuple(found.columns) == EDGE_COLUMNS
    assert len(found) == len(whole.edges) == few.summary["edges_computed"] > 100
    assert len(few.edges) == 7
    keys = ["source", "target"]
    left, right = (table.sort_values(keys).reset_index(drop=True) for table in (found, whole.edges))
    pd.testing.assert_frame_equal(left, right, check_dtype=False, rtol=1e-12)
    pd.testing.assert_frame_equal(few.edges, whole.edges.head(7))
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_left_after_an_error(toy: Toy, tmp_path: Path) -> None:
    def stop(stage: str, share: float) -> None:
        if stage == "edges" and share > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attribute(toy.model, toy.prompts, all_edges=tmp_path / "all.parquet", progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_files_that_cannot_be_written(toy: Toy, tmp_path: Path) -> None:
    path = tmp_path / "all.parquet"
    path.write_text("mine")
    with pytest.raises(InputError, match=r"all.parquet is there already"):
        attribute(toy.model, toy.prompts, all_edges=path)
    assert path.read_text() == "mine"
    with pytest.raises(InputError, match=r"cannot be written .*No such folder"):
        attribute(toy.model, toy.prompts, all_edges=tmp_path / "nowhere" / "all.parquet")
