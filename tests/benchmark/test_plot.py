"""Plots are well-formed, and every point lies inside."""

import xml.etree.ElementTree as ElementTree

import pytest

from saecircuits.benchmark.plot import HEIGHT, WIDTH, Axis, Line, draw_plot, ticks

SVG = "{http://www.w3.org/2000/svg}"


def test_points_stand_where_the_axes_say() -> None:
    line = Line("measured", [(1.0, 10.0), (10.0, 100.0), (100.0, 1000.0)])
    axes = Axis("targets & more", [1.0, 10.0, 100.0]), Axis("seconds", [10.0, 100.0, 1000.0])
    root = ElementTree.fromstring(
        draw_plot([line], title="Time", note="<none>", x=axes[0], y=axes[1])
    )
    places = [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in root.iter(f"{SVG}circle")]
    assert len(places) == 3
    assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in places)
    across, up = zip(*places, strict=True)
    assert across[1] - across[0] == pytest.approx(across[2] - across[1], abs=0.02)
    assert up[0] - up[1] == pytest.approx(up[1] - up[2], abs=0.02)
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert {"Time", "<none>", "targets & more", "seconds", "measured"} <= set(texts)


def test_ticks_enclose_the_values() -> None:
    assert ticks([0.03, 0.7]) == pytest.approx([0.02, 0.05, 0.1, 0.2, 0.5, 1.0])
    assert ticks([1.0, 10.0]) == [1.0, 2.0, 5.0, 10.0]
