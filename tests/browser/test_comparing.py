"""Two circuits side by side in a browser."""

from pathlib import Path

from saecircuits.publication.page_file import write_page
from tests.browser.conftest import as_page
from tests.browser.opened import ARROWS, Open
from tests.made import made_circuit


def test_two_circuits_are_compared(opened: Open, tmp_path: Path) -> None:
    sizes = {"n_edges": 300, "n_layers": 2, "n_units": 1}
    page = opened(fragment="#view=compare", n_nodes=60, **sizes)
    other = as_page(made_circuit(n_nodes=50, seed=1, **sizes), tmp_path / "b", "x")
    file = tmp_path / "other.html"
    # Of another version, whose style this page's policy does not know.
    file.write_bytes(write_page(other).replace(b"<style>", b"<style>p { color: red } "))
    page.driver.find_element("id", "other").send_keys(str(file))
    page.wait(lambda: page.count(".side-by-side svg") == 2)
    assert "are in both" in page.text(".compare")
    data = "JSON.parse(document.getElementById('data').textContent)"
    own = set(page.run(f"return {data}.nodes.id"))
    others = set(other.nodes.id)
    places = page.run(
        "return [...document.querySelectorAll('.side-by-side svg')].map((svg) =>"
        "Object.fromEntries([...svg.querySelectorAll('[data-shared]')].map((mark) =>"
        "[mark.dataset.shared,"
        " [mark.getAttribute('transform'), mark.querySelector('.flag') !== null]])))"
    )
    shared = set(places[0]) & set(places[1])
    assert len(shared) > 5 and len(shared) < len(places[0])
    for node, (where, flag) in places[0].items():
        assert flag == (node not in places[1])  # a flag on what one alone holds, and a place
        assert flag or places[1][node] == [where, False]
    # Every node of one circuit is outlined where the other has none.
    ghosts = page.run("return [...document.querySelectorAll('.side-by-side svg')].map((svg) =>"
                      "svg.querySelectorAll('.ghost').length)")  # fmt: skip
    assert ghosts == [len(set(places[1]) - shared), len(set(places[0]) - shared)]
    edges = page.run(
        "return [...document.querySelectorAll('.side-by-side svg')].map((svg) =>"
        "[svg.querySelectorAll('path.alone').length, svg.querySelectorAll('path.diamond').length])"
    )
    assert all(alone == diamonds > 0 for alone, diamonds in edges)
    bands = page.run(
        "return [...document.querySelectorAll('.side-by-side .background')]"
        ".map((g) => [...g.querySelectorAll('text')].map((t) => t.textContent))"
    )
    own_rows = [row.name for row in other.rows]
    assert bands[0] == bands[1] == [*own_rows[::-1], "unit 0"]
    # Keys: to a node, to its twin, and what is said about both.
    twin = sorted(shared)[0]
    page.run(f"document.querySelector('.side-by-side [data-shared=\"{twin}\"] > path').focus()")
    page.keys("x")
    at = page.run("const e = document.activeElement.closest('[data-shared]'); return [e.dataset."
                  "shared, [...document.querySelectorAll('.side-by-side svg')].findIndex((s) =>"
                  " s.contains(e))]")  # fmt: skip
    assert at == [twin, 1]
    assert page.count(".side-by-side .picked") == 2
    assert "here" in page.text(".compared") and "there" in page.text(".compared")
    said = page.text(".compared")
    page.keys(ARROWS["down"], ARROWS["right"], ARROWS["up"])
    assert page.text(".compared") != said
    # The table holds all of both.
    kinds = page.run(
        "const more = () => document.querySelector('.compare .more');"
        "while (!more().hidden) more().click();"
        "return [...document.querySelectorAll('.compare .wide tbody tr')].map((row) =>"
        "[row.cells[1].textContent, row.cells[2].textContent.replace(/^\\W+/, '')])"
    )
    held = dict(kinds)
    members = [node for node in own | others if ".f" in node or ".error" in node]
    assert set(held) == set(members)
    for node in members:
        kind = "both" if node in own & others else "only here" if node in own else "only there"
        assert held[node] == kind
    page.run("[...document.querySelectorAll('.compare [aria-pressed]')][1].click()")
    assert page.count(".compare .wide tbody tr") == 30
    assert page.run("return document.activeElement.textContent") == "Edges"
    file = tmp_path / "other.json"
    file.write_text(other.model_dump_json())
    page.driver.find_element("id", "other").send_keys(str(file))
    page.wait(lambda: page.count(".compare .wide tbody tr") == 30)
    page.wait(lambda: "Nodes" in page.text(".compare [aria-pressed=true]"))
    assert page.count(".side-by-side svg") == 2
    file.write_text("{}")
    page.driver.find_element("id", "other").send_keys(str(file))
    assert "format" in page.wait(lambda: page.text(".trouble"))
    assert page.messages() == []
