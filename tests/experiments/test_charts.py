"""Charts are well-formed, the same every time, and show every value where the axes say."""

import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import pytest

from experiments.charts import bars, lines, ticks

SVG = "{http://www.w3.org/2000/svg}"
NUMBERS = re.compile(r"-?\d+\.?\d*")
POINTS = (1.0, 10.0, 100.0)


def _bars() -> str:
    series = {"one & two": [1.0, -2.0, 4.0], "<three>": [3.0, math.nan, 2.0]}
    return bars(["a", "b\nc", "d"], series, title="How many?", note="a note", below="groups")


def _lines() -> str:
    series = {"measured": [10.0, 100.0, 1000.0], "law": [20.0, 200.0, 2000.0]}
    return lines(
        POINTS, series, title="Time", note="<none>", below="targets & more", beside="seconds",
        is_log=True, is_log_across=True, dashed=["law"],
    )  # fmt: skip


def _texts(drawn: str) -> set[str]:
    root = ElementTree.fromstring(drawn)
    return {text.text or "" for text in root.iter() if text.tag in (f"{SVG}text", f"{SVG}tspan")}


def _paths(drawn: str, style: str) -> list[list[float]]:
    """The coordinates of all paths of a style, x and y in turn."""
    paths = [path.attrib for path in ElementTree.fromstring(drawn).iter(f"{SVG}path")]
    return [
        [float(number) for number in NUMBERS.findall(path["d"])]
        for path in paths
        if style in path.get("style", "")
    ]


@pytest.mark.parametrize("draw", [_bars, _lines])
def test_the_same_figures_give_the_same_text(draw: Callable[[], str]) -> None:
    drawn = draw()
    assert drawn == draw()
    assert "<dc:date>" not in drawn
    assert "matplotlib.org" not in drawn


def test_words_stay_words() -> None:
    assert {"How many?", "a note", "groups", "one & two", "<three>", "a", "b", "d"} <= _texts(
        _bars()
    )
    assert {"Time", "<none>", "targets & more", "seconds", "measured", "law", "100"} <= _texts(
        _lines()
    )


def test_bars_are_as_high_as_their_values() -> None:
    boxes = _paths(_bars(), "#0b6aa2")[:3]
    heights = [max(box[1::2]) - min(box[1::2]) for box in boxes]
    assert heights == pytest.approx([heights[0] * size for size in (1.0, 2.0, 4.0)], rel=1e-3)
    # The second goes down from where the others begin.
    assert min(boxes[1][1::2]) == pytest.approx(max(boxes[0][1::2]), abs=1e-3)


def test_powers_stand_at_equal_distances_on_logarithmic_axes() -> None:
    (measured, *_) = _paths(_lines(), "stroke: #0b6aa2; stroke-width: 1.6")
    across, up = measured[0:6:2], measured[1:6:2]
    assert across[1] - across[0] == pytest.approx(across[2] - across[1], rel=1e-3)
    assert up[0] - up[1] == pytest.approx(up[1] - up[2], rel=1e-3)
    assert across[0] < across[1] and up[0] > up[1]


def test_a_value_that_is_not_finite_has_no_place() -> None:
    drawn = lines([0.0, 1.0, 2.0], {"kind": [1.0, math.nan, 3.0]}, title="", note="", is_log=True)
    assert "nan" not in drawn.lower()


def test_ticks_enclose_the_values() -> None:
    assert ticks([0.03, 0.7]) == pytest.approx([0.02, 0.05, 0.1, 0.2, 0.5, 1.0])
    assert ticks([1.0, 10.0]) == [1.0, 2.0, 5.0, 10.0]
    assert ticks([3.0, 2e6]) == [10.0**power for power in range(8)]
