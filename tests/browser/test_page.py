"""What a reader does with the page in a browser: look, press keys, search, save, compare."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from saecircuits.publication.grouping import read_groups, suggest_groups
from saecircuits.publication.page_file import write_page
from tests.browser.conftest import as_page
from tests.browser.opened import ARROWS, ENTER, ESCAPE, TAB, Open, Opened
from tests.made import made_circuit, made_labels


def drawn_edges(page: Opened) -> int:
    return int(page.run("return document.querySelector('output[for=range-edges]').textContent")
               .split(" of ")[0].replace(",", ""))  # fmt: skip


def slide(page: Opened, which: str, value: int) -> None:
    page.run(
        "const f = document.getElementById(arguments[0]); f.value = arguments[1];"
        "f.dispatchEvent(new Event('input', { bubbles: true }))",
        f"range-{which}",
        value,
    )


def test_it_opens_on_an_answer_and_asks_for_nothing(opened: Open) -> None:
    page = opened()
    story = page.text(".story")
    by_features = "\u221225%", "\u22122.00 of +8.00; by size 0.56 (replacement score)"
    kept = "Faithfulness", "0.88", "95%: 0.75 to 0.94", "44%", "random circuits 0.00"
    for words in (*kept, "By features", *by_features, "does not count as the features'"):
        assert words in story
    assert "Strongest paths" in story and "What this does not show" in story
    assert 0 < drawn_edges(page) <= 300
    assert page.count(".front .node") > 20
    assert len(page.requests()) == 1  # the file itself
    assert page.messages() == []


def test_degrees_and_faithfulness_are_plotted_with_their_tables(opened: Open) -> None:
    page = opened()
    columns = page.run(
        "return [...document.querySelectorAll('.column')].map((c) =>"
        "[c.classList.contains('against'), c.getBoundingClientRect().height])"
    )
    # Degrees 0 to 2 and the constant: 1, -2, 4.5 and -0.5 logits.
    assert [against for against, _ in columns] == [False, True, False, True]
    unit = columns[0][1]
    assert [high / unit for _, high in columns] == pytest.approx([1, 2, 4.5, 0.5], rel=0.02)
    story = page.text(".story")
    assert "add up to +3.00" in story and "Exact for the frozen operator." in story
    page.run("document.querySelector('.twin summary').focus()")
    page.keys(ENTER)
    caption, *rows = page.text(".twin table").splitlines()
    assert caption == "The metric by degree"
    assert rows[0].split() == ["degree", "paths", "logits", "95%", "|share|"]
    assert rows[2].split() == ["1", "4", "\u22122.00", "\u22122.25", "to", "\u22121.75", "25%"]
    assert rows[-1].split() == ["all", "11", "+3.00"]
    curve = "document.querySelectorAll('.twin')[1]"
    page.run(f"{curve}.querySelector('summary').click()")
    assert "2\t0.50\t0.25 to 0.75\t0.25" in page.run(f"return {curve}.innerText")
    assert page.messages() == []


def test_the_policy_really_blocks(opened: Open) -> None:
    page = opened()
    page.run("const i = new Image(); i.src = 'http://127.0.0.1:9/x.png'; document.body.append(i)")
    page.wait(lambda: any("Content Security Policy" in text for text in page.messages()))


def test_keys_alone_lead_to_a_feature(opened: Open) -> None:
    page = opened()
    is_node = "return document.activeElement.closest('.node') !== null"
    page.keys(TAB)
    assert page.run("return document.activeElement.textContent") == "To the graph"
    page.keys(ENTER)
    assert page.run(is_node)
    first = page.run("return document.activeElement.getAttribute('aria-label')")
    seen = set()
    for way in ("down", "down", "left", "right", "down"):
        page.keys(ARROWS[way])
        seen.add(page.run("return document.activeElement.getAttribute('aria-label')"))
    assert len(seen) >= 3 and first not in {None, ""}
    page.keys("/")
    page.driver.switch_to.active_element.send_keys("woman")
    page.keys(ENTER)
    assert "girl, woman" in page.text(".panel h2") and "Feature" in page.text(".panel")
    assert page.run("return document.querySelector('.panel').contains(document.activeElement)")
    page.keys(ESCAPE)
    assert page.run("return document.querySelector('.panel').hidden")
    assert page.run(is_node)
    page.keys("p")
    assert "pin=" in page.address
    page.keys("g")
    assert page.count("dialog[open]") == 1
    page.driver.switch_to.active_element.send_keys("mine")
    page.keys(ENTER)
    page.wait(lambda: page.count("dialog[open]") == 0)
    assert "mine" in page.address
    page.keys("?")
    assert "Keys" in page.text("dialog[open]")
    page.keys(ESCAPE)
    page.wait(lambda: page.count("dialog[open]") == 0)


def test_thresholds_change_what_is_drawn(opened: Open) -> None:
    page = opened()
    before, nodes = drawn_edges(page), page.count(".front .node")
    slide(page, "nodes", 10)
    assert page.count(".front .node") < nodes
    assert drawn_edges(page) < before
    slide(page, "edges", 0)
    assert drawn_edges(page) == 0
    page.wait(lambda: page.inked() == [False, False])


def times_drawn(page: Opened) -> int:
    return page.run("return performance.getEntriesByName('edges-drawn').length")


def middle_of(page: Opened, node: int) -> tuple[float, float]:
    return tuple(page.run(
        "const b = document.querySelector(`.front [data-node='${arguments[0]}'] > path`)"
        ".getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]", node
    ))  # fmt: skip


def test_thousands_of_edges_are_drawn_once_and_moved_as_a_picture(opened: Open) -> None:
    page = opened(fragment="#nodes=120&edges=3000", n_nodes=120, n_edges=3000, n_layers=6)
    page.wait(lambda: times_drawn(page) > 0)
    assert drawn_edges(page) == 3000 and page.inked() == [True, True]
    page.run("performance.clearMarks()")
    page.mouse("mouseMoved", *middle_of(page, 5))
    page.wait(lambda: page.text(".tip"))
    assert page.count(".above .near") > 2
    assert page.count(".above [role], .above [tabindex], .above [data-node]") == 0
    page.click('.front .node[data-node="2"]')
    page.wait(lambda: page.text(".panel h2"))
    page.run("return new Promise((done) => setTimeout(done, 300))")
    assert times_drawn(page) == 0  # neither hover nor a click draws the edges again
    moved = "return [...document.querySelectorAll('canvas.edges')].map((c) => c.style.transform)"
    page.run(
        "document.querySelector('.stage').dispatchEvent(new WheelEvent('wheel',"
        "{ deltaY: -200, clientX: 800, clientY: 400, bubbles: true, cancelable: true }))"
    )
    assert all("scale(" in value for value in page.run(moved))
    page.wait(lambda: times_drawn(page) == 1)
    assert page.run(moved) == ["", ""] and page.inked() == [True, True]
    slide(page, "edges", 0)
    page.wait(lambda: page.inked() == [False, False])
    assert page.messages() == []


def test_the_mouse_finds_an_edge(opened: Open) -> None:
    page = opened(fragment="#edges=1")
    source, target = page.run(
        "const d = JSON.parse(document.getElementById('data').textContent);"
        "const shown = (n) => document.querySelector(`.front [data-node='${n}']`);"
        "const order = d.edges.effect.map((v, i) => [Math.abs(v), i]).sort((a, b) => b[0] - a[0]);"
        "const [, e] = order.find(([, i]) => shown(d.edges.source[i]) && shown(d.edges.target[i]));"
        "return [d.edges.source[e], d.edges.target[e]]"
    )
    (x0, y0), (x1, y1) = middle_of(page, source), middle_of(page, target)
    high = page.run("return document.querySelector('.front .node > path')"
                    ".getBoundingClientRect().height")  # fmt: skip
    # Half-way along the curve, which runs from upper to lower edge of its ends.
    x, y = (x0 + x1) / 2, (y0 - high / 2 + y1 + high / 2) / 2
    page.mouse("mouseMoved", x, y)
    page.wait(lambda: page.count(".over-edge"))
    page.mouse("mousePressed", x, y)
    page.mouse("mouseReleased", x, y)
    assert page.wait(lambda: page.text(".panel h2")) == "Edge"
    assert page.count(".node.picked") >= 2


def test_hover_lights_up_neighbours(opened: Open) -> None:
    page = opened()
    page.run("document.querySelectorAll('.front .node')[3]"
             ".dispatchEvent(new PointerEvent('pointermove', { bubbles: true }))")  # fmt: skip
    assert page.run("return document.querySelector('.stage').classList.contains('dimmed')")
    assert page.text(".tip")
    assert page.count(".node.near") >= 1


def test_details_rank_edges_and_tell_their_parts(opened: Open) -> None:
    page = opened()
    page.click('.front .node[data-node="0"]')
    values = page.run(
        "return [...document.querySelectorAll('.edge-list:not(:has(.note)) .number')]"
        ".map((e) => Math.abs(Number(e.textContent.replace('\u2212', '-'))))"
    )
    assert len(values) > 3 and values == sorted(values, reverse=True)
    page.click(".edge-row")
    panel = page.text(".panel")
    assert "residual" in panel and "75%" in panel and "L1.H0" in panel and "25%" in panel
    assert "from=" in page.address


def test_a_feature_shows_its_dashboard_and_who_named_it(opened: Open) -> None:
    page = opened()
    odd = page.run(
        "return [...document.querySelectorAll('.front .node')]"
        ".map((e) => [e.getAttribute('data-node'), e.getAttribute('aria-label')])"
    )
    seen = set()
    for node, _ in odd[:12]:
        page.click(f'.front .node[data-node="{node}"]')
        panel = page.text(".panel")
        if "Feature" not in panel:
            continue
        assert "Nearest decoder directions (cosine): 39 (0.88)" in panel
        assert page.count(".panel svg .point") == 4
        link = page.run("return document.querySelector('.panel a[rel]').href")
        assert link == "https://neuronpedia.example/39"
        number = int(panel.split("Feature ")[1].split()[0])
        assert ("label by Ada; automatic: old" in panel) == (number % 2 == 1)
        seen.add(number % 2)
    assert seen == {0, 1}


def test_a_feature_shows_contexts_of_every_strength(opened: Open) -> None:
    page = opened()
    page.click('.front .node[data-node]:not([data-node="0"])')
    for node in range(1, 20):
        if page.count(".strength"):
            break
        page.click(f'.front .node[data-node="{node}"]')
    heads = page.run("return [...document.querySelectorAll('.strength h5')].map(e => e.innerText)")
    assert [" ".join(head.split()) for head in heads] == [
        "Strongest quarter activation 2.00 to 4.00",
        "Second quarter activation 1.00 to 2.00",
        "Third quarter activation 0.50 to 1.00",
        "Weakest quarter activation 0.10 to 0.50",
    ]
    peaks = page.run(
        "return [...document.querySelectorAll('.strength .peak')]"
        ".map((e) => [e.textContent, Number(e.style.getPropertyValue('--heat'))])"
    )
    # Of the largest activation, 4; only five tokens beside the peak are shown.
    assert peaks == [[" peak", 0.75], [" peak", 0.38], [" peak", 0.19], [" peak", 0.06]]
    assert page.text(".strength .context") == "word6 word7 word8 word9 word10 peak."
    page.run("document.querySelector('.strengths').scrollIntoView()")
    page.run("document.querySelector('.panel h2').focus()")
    page.keys(ESCAPE)
    assert page.count(".panel:not([hidden])") == 0


def test_the_address_keeps_the_view(opened: Open) -> None:
    page = opened()
    slide(page, "nodes", 20)
    page.click('.front .node[data-node="2"]')
    page.keys("p")
    address, title = page.address, page.text(".panel h2")
    shown = page.count(".front .node")
    again = opened(fragment=address)
    assert again.text(".panel h2") == title
    assert again.count(".front .node") == shown
    assert again.address == address
    other = opened(fragment="#view=table&table=edges&nodes=x&pin=nothing&group=[1&theme=dark")
    assert "Edges" in other.text(".view caption")
    assert other.run("return document.documentElement.dataset.theme") == "dark"
    assert other.messages() == []


def test_tables_hold_every_row_and_sort(opened: Open) -> None:
    page = opened(fragment="#view=table", n_nodes=40, n_edges=160)
    assert page.count(".tables tbody tr") == 1 + 40 + 3  # the metric, members, tokens
    column = "th[aria-sort]"
    get = "return document.querySelector('th[aria-sort]').getAttribute('aria-sort')"
    assert page.run(get) == "descending" and "|Effect|" in page.text(column)
    page.click('[data-sort="effect"]')
    page.click('[data-sort="effect"]')
    assert page.run(get) == "ascending" and "sort=effect" in page.address
    cells = page.run(
        "return [...document.querySelectorAll('.tables tbody tr')]"
        ".map((r) => Number(r.cells[6].textContent.replace('\u2212', '-')))"
    )
    assert cells == sorted(cells) and cells[0] < 0 < cells[-1]
    page.click(".tables .row-of-buttons button:nth-child(2)")
    assert page.count(".tables tbody tr") == 150
    page.click(".tables .more")
    assert page.count(".tables tbody tr") == 160


def test_search_finds_by_label_token_and_layer(opened: Open) -> None:
    page = opened()
    for words, some in (
        ("mlp_out L1", "L1 mlp_out"),
        ("error unit", "error at unit"),
        ("layer token", "token"),
    ):
        field = page.driver.find_element("id", "search")
        field.clear()
        field.send_keys(words)
        found = page.run(
            "return [...document.querySelectorAll('#found li')].map((e) => e.innerText)"
        )
        assert found and all(some in text for text in found)
    field.clear()
    field.send_keys("no such thing")
    assert "Nothing" in page.text("#found")


@pytest.mark.parametrize(
    "text", ["<script>window.bad=1</script>", "</script><b>x", "\u05e9\u05dc\u05d5\u05dd ab <i>"]
)
def test_labels_are_text(opened: Open, text: str) -> None:
    page = opened(text=text)
    assert page.run("return window.bad === undefined")
    assert page.text(".top h1") == f"made {text}"
    assert page.count("#app b, #app i, #app script") == 0
    page.run("document.querySelector('.front .node[data-node=\"0\"] path').focus()")
    labels = page.run("return [...document.querySelectorAll('.node [role=button]')]"
                      ".map((n) => n.getAttribute('aria-label'))")  # fmt: skip
    assert any(text in label for label in labels)
    page.click('[data-view="table"]')
    assert text in page.text(".view tbody")
    assert page.messages() == []


def test_pictures_and_data_are_saved(opened: Open) -> None:
    page = opened(text="<b> & ]]>", fragment="#view=table")
    name = "made-b-"
    buttons = ".menu-list button:nth-child({})"
    page.click(buttons.format(1))
    svg = ET.fromstring(page.saved(f"{name}.svg"))
    assert svg.tag.endswith("svg")
    texts = "".join(svg.itertext())
    assert "Faithfulness 0.88" in texts and "<b> & ]]>" in texts
    page.click(buttons.format(2))
    assert page.saved(f"{name}.png").startswith(b"\x89PNG")
    page.click(buttons.format(3))
    assert json.loads(page.saved(f"{name}.json"))["format"] == "saecircuits-page/1"
    page.click(buttons.format(4))
    assert page.saved(f"{name}-nodes.csv").decode().splitlines()[0].startswith("node,label")
    page.click(buttons.format(5))
    assert len(page.saved(f"{name}-edges.csv").decode().splitlines()) == 1 + 500
    assert page.messages() == []


def test_the_page_and_the_figure_suggest_the_same_groups(browser: Opened, tmp_path: Path) -> None:
    circuit = made_circuit(n_units=2, n_nodes=110, n_edges=160, n_layers=2)
    file = tmp_path / "report.html"
    file.write_bytes(write_page(as_page(circuit, tmp_path / "run", "girl, woman | +She")))
    browser.open(file, fragment="#view=groups", size=(1440, 900), dark=False)
    browser.click(".groups .primary")
    entries = parse_qs(browser.address.removeprefix("#")).get("group", [])
    on_page = [json.loads(entry) for entry in entries]
    expected = suggest_groups(circuit, made_labels(circuit))
    assert len(expected) >= 3
    assert on_page == [["~", group.name, *group.nodes] for group in expected]
    read = read_groups(f"{file.as_uri()}{browser.address}")
    assert list(read.values()) == [list(group.nodes) for group in expected]


def test_groups_are_suggested_named_and_dissolved(opened: Open) -> None:
    page = opened(fragment="#view=groups", n_nodes=12, n_edges=400, n_layers=2)
    assert page.count(".group-picture .node") > 3
    page.click(".groups .primary")
    suggested = page.count(".group-list li")
    named = '#view=groups&group=["","mine","{}","{}"]'
    ids = page.run("return JSON.parse(document.getElementById('data').textContent).nodes.id")
    again = opened(fragment=named.format(ids[1], ids[2]).replace('"', "%22").replace(" ", "%20"))
    again.click(".menu-list button:nth-child(1)")
    assert "mine" in "".join(ET.fromstring(again.saved("made-girl-woman-She.svg")).itertext())
    assert again.count(".group-list li") == 1
    assert "2 nodes" in again.text(".group-list li")
    again.click(".group-list .icon")
    assert again.count(".group-list li") == 0 and suggested >= 0
    assert again.messages() == []
