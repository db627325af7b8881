"""A page inside a notebook: in a frame, without requests, and in step with its model."""

import json
from pathlib import Path

import pytest

from saecircuits.publication.notebook import Page, show
from saecircuits.publication.page_file import write_page
from tests.browser.conftest import as_page
from tests.browser.opened import Opened
from tests.made import made_circuit

WIDGET = Path(__file__).resolve().parents[2] / "saecircuits/publication/notebook/widget.js"
# What a notebook's front end gives a widget's module.
MODEL = """
class Model {
  constructor(values) { this.values = values; this.listeners = {}; this.saved = 0; }
  get(name) { return this.values[name]; }
  set(name, value) {
    if (this.values[name] === value) return;
    this.values[name] = value;
    for (const listener of this.listeners[`change:${name}`] ?? []) listener();
  }
  save_changes() { this.saved += 1; }
  on(event, listener) { (this.listeners[event] ??= []).push(listener); }
  off(event, listener) {
    this.listeners[event] = (this.listeners[event] ?? []).filter((other) => other !== listener);
  }
}
"""
READY = "document.documentElement.dataset.ready = 1"


def opened(browser: Opened, file: Path, body: str) -> Opened:
    file.write_text(f"<!DOCTYPE html><meta charset='utf-8'><title>notebook</title>{body}")
    browser.open(file, fragment="", size=(1440, 900), dark=False)
    return browser


def into_frame(browser: Opened) -> None:
    browser.driver.switch_to.frame(browser.driver.find_element("css selector", "iframe"))
    browser.wait(lambda: browser.run("return document.documentElement.dataset.ready"))


@pytest.fixture
def out_of_frames(browser: Opened):
    yield
    browser.driver.switch_to.default_content()


@pytest.mark.usefixtures("out_of_frames")
def test_a_page_in_a_notebook_s_output(browser: Opened, tmp_path: Path) -> None:
    html = show(made_circuit(n_nodes=60, n_edges=500, n_layers=3), height=500)._repr_html_()
    page = opened(browser, tmp_path / "notebook.html", f"{html}<script>{READY}</script>")
    assert page.run("return document.querySelector('iframe').clientHeight") in range(490, 511)
    into_frame(page)
    assert page.count(".front .node") > 20
    page.wait(lambda: any(page.inked()))
    page.click('.front .node[data-node="0"]')
    assert page.text(".panel h2")
    with pytest.raises(Exception, match=r"cross-origin|Blocked a frame"):
        page.run("return parent.document.title")
    page.driver.switch_to.default_content()
    assert page.requests() in ([], [(tmp_path / "notebook.html").as_uri()])
    assert page.messages() == []


@pytest.mark.usefixtures("out_of_frames")
def test_the_frame_s_policy_blocks_requests(browser: Opened, tmp_path: Path) -> None:
    html = show(made_circuit())._repr_html_()
    page = opened(browser, tmp_path / "notebook.html", f"{html}<script>{READY}</script>")
    into_frame(page)
    page.run(
        "addEventListener('securitypolicyviolation', (e) => (window.blocked = e.blockedURI));"
        "const i = new Image(); i.src = 'http://127.0.0.1:9/x.png'; document.body.append(i)"
    )
    page.wait(lambda: page.run("return window.blocked") == "http://127.0.0.1:9/x.png")


@pytest.mark.usefixtures("out_of_frames")
def test_hostile_labels_stay_in_the_frame(browser: Opened, tmp_path: Path) -> None:
    text = "</script></iframe><script>parent.hacked = 1; top.hacked = 1</script>\"'&quot;"
    data = as_page(made_circuit(), tmp_path / "run", text)
    html = Page(write_page(data).decode())._repr_html_()
    page = opened(browser, tmp_path / "notebook.html", f"{html}<script>{READY}</script>")
    into_frame(page)
    assert page.count(".front .node") > 10
    page.driver.switch_to.default_content()
    assert page.run("return window.hacked ?? null") is None
    assert page.count("iframe") == 1 and page.messages() == []


@pytest.mark.usefixtures("out_of_frames")
def test_the_widget_and_its_model_stay_in_step(browser: Opened, tmp_path: Path) -> None:
    widgets = pytest.importorskip(
        "saecircuits.publication.notebook.circuit_widget",
        reason="anywidget is not installed (extra notebook)",
        exc_type=ImportError,
    )
    circuit = made_circuit(n_units=2, n_nodes=110, n_edges=160, n_layers=2)
    features = circuit.nodes.loc[circuit.nodes["kind"] == "feature", "node"]
    first, other = features.iloc[:2]
    made = widgets.CircuitWidget(show(circuit).html, selected=first)
    names = ("_page", "_sandbox", "_title", "address", "height")
    values = json.dumps({name: getattr(made, name) for name in names}).replace("<", "\\u003c")
    module = (
        f"{WIDGET.read_text()}\n{MODEL}\nwindow.model = new Model({values});\n"
        "window.leave = render({ model, el: document.getElementById('el') });\n" + READY
    )
    body = f'<div id="el"></div><script type="module">{module}</script>'
    page = opened(browser, tmp_path / "notebook.html", body)

    def address() -> str:
        page.driver.switch_to.default_content()
        return page.run("return model.get('address')")

    def python_says(wanted: str) -> None:
        page.driver.switch_to.default_content()
        page.run("model.set('address', arguments[0])", wanted)

    def shows(node: str) -> bool:
        into_frame(page)
        number = node.partition("@")[0].rpartition(".f")[2]
        return f"Feature {number}" in page.text(".panel:not([hidden])")

    assert shows(first)
    # The reader clicks, and Python hears of it.
    place = list(circuit.nodes["node"]).index(other)
    page.click(f'.front .node[data-node="{place}"]')
    page.wait(lambda: address() != made.address)
    made.address = address()
    assert made.selected == other
    assert page.run("return model.saved") >= 1
    # Python chooses, twice the same with a click between, and the page shows it.
    for _ in range(2):
        made.selected = first
        python_says(made.address)
        page.wait(lambda: shows(first))
        page.click(f'.front .node[data-node="{place}"]')
        page.wait(lambda: address() != made.address)
        made.address = address()
        assert made.selected == other
    made.selected = None
    python_says(made.address)
    into_frame(page)
    page.wait(lambda: page.run("return document.querySelector('.panel').hidden"))
    # Groups made in the notebook are those that a figure takes.
    page.click('[data-view="groups"]')
    page.click(".groups .primary")
    page.wait(lambda: "group=" in address())
    made.address = address()
    assert made.groups and all(nodes for nodes in made.groups.values())
    page.driver.switch_to.default_content()
    page.run("leave()")
    assert page.count("iframe") == 0
    assert page.run("return Object.values(model.listeners).flat().length") == 0
    assert [url for url in page.requests() if not url.startswith("about:")] in (
        [], [(tmp_path / "notebook.html").as_uri()],
    )  # fmt: skip
    assert page.messages() == []
