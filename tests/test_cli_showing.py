"""Tables of the commands."""

import pandas as pd
import pytest

from saecircuits.cli.showing import print_table


def test_what_is_not_known_is_left_empty(capsys: pytest.CaptureFixture[str]) -> None:
    table = pd.DataFrame(
        {
            "counts": pd.array([7, None], dtype="Int64"),
            "words": [None, "some"],
            "figures": [float("nan"), 0.25],
        }
    )
    print_table("Known and not", table, list(table.columns))
    shown = capsys.readouterr().out
    assert "nan" not in shown.lower() and "none" not in shown.lower() and "NA" not in shown
    assert all(word in shown for word in ("7", "some", "0.250"))
