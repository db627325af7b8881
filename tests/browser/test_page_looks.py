"""How the page looks in a browser: at every size of circuit and window, and to axe."""

from pathlib import Path

import pytest

from tests.browser.opened import Open

AXE = Path(__file__).resolve().parents[2] / "frontend" / "node_modules" / "axe-core" / "axe.min.js"


@pytest.mark.parametrize(
    "sizes",
    [
        {"n_units": 1, "n_layers": 1, "n_nodes": 1, "n_edges": 0},
        {"n_units": 12, "n_layers": 8, "n_nodes": 400, "n_edges": 3000},
    ],
)
def test_small_and_large_circuits_are_drawn(opened: Open, sizes: dict[str, int]) -> None:
    page = opened(**sizes)
    assert page.count(".front .node") >= 3
    names = page.run(
        "return [...document.querySelectorAll('.names text')].map((e) => e.getBoundingClientRect())"
        ".map((r) => [r.left, r.top, r.right, r.bottom])"
    )
    for place, (a, b, c, d) in enumerate(names):
        for e, f, g, h in names[:place]:
            assert c <= e + 2 or g <= a + 2 or d <= f + 4 or h <= b + 4, "names overlap"
    assert page.messages() == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("fragment", ["", "#view=table", "#view=groups", "#view=compare"])
def test_axe_finds_nothing_serious(opened: Open, fragment: str, dark: bool, tmp_path: Path) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not there: run `npm ci` in frontend/")
    page = opened(fragment=fragment, dark=dark)
    page.click('.front .node[data-node="1"]') if not fragment else None
    if "compare" in fragment:
        page.driver.find_element("id", "other").send_keys(str(tmp_path / "report.html"))
        page.wait(lambda: page.count(".side-by-side svg") == 2)
    page.run(AXE.read_text())
    found = page.driver.execute_async_script(
        "const done = arguments[0]; axe.run().then((r) => done(r.violations.map((v) =>"
        "({ id: v.id, impact: v.impact, where: v.nodes.slice(0, 3).map((n) => n.html) }))))"
    )
    assert [one for one in found if one["impact"] in ("serious", "critical")] == []
    assert page.messages() == []


def test_a_phone_shows_all_without_sideways_scrolling(opened: Open) -> None:
    page = opened(size=(390, 844))
    assert page.run("return document.documentElement.scrollWidth") <= 390
    assert page.count(".front .node") > 20


@pytest.mark.parametrize("fragment", ["", "#view=table", "#view=groups", "#view=compare"])
def test_the_window_itself_never_scrolls(opened: Open, fragment: str) -> None:
    page = opened(fragment=fragment)
    page.run("document.querySelectorAll('details.twin').forEach((part) => { part.open = true; })")
    high = "return [document.documentElement.scrollHeight, innerHeight]"
    assert page.run(high) == [900, 900]
