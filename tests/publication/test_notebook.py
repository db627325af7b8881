"""What a notebook shows, and a widget's state in Python. In a browser: tests/browser."""

import html
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import pytest

import saecircuits as sc
from saecircuits.discovery import Run
from saecircuits.errors import InputError, MissingExtraError, RunFolderError, UnknownNameError
from saecircuits.publication.notebook import show
from saecircuits.publication.publish import publish
from saecircuits.runs.stored import read_run
from tests.found import Found
from tests.made import made_circuit


def page_in(output: str | None) -> str:
    """The page that a frame holds."""
    assert output is not None
    (found,) = re.findall(r'srcdoc="([^"]*)"', output)
    return html.unescape(found)


def data_in(page: str) -> dict:
    (found,) = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>', page, flags=re.DOTALL
    )
    return json.loads(found)


def test_a_run_shows_its_own_page(found: Found, out: Path) -> None:
    publish(found.circuit, found.report, out, graph=found.graph)
    page = (out / "report.html").read_text()
    stored = read_run(out)
    routes = sc.paths(found.graph)
    run = Run(found.graph, found.circuit, found.report, routes, out)
    for shown in (stored, run, show(out), show(stored), show(str(out))):
        output = shown._repr_html_() or ""
        assert page_in(output) == page
        assert 'sandbox="allow-scripts ' in output and "allow-same-origin" not in output
    assert show(out).save(out.parent / "copy.html").read_text() == page
    (out / "report.html").unlink()
    assert stored._repr_html_() is None  # notebooks then show plain text
    with pytest.raises(RunFolderError, match=r"report\.html"):
        show(stored)
    with pytest.raises(RunFolderError, match="not read from a folder"):
        show(replace(stored, folder=None))


def test_a_circuit_that_was_never_published_has_a_page(found: Found) -> None:
    page = data_in(show(found.circuit).html)
    assert page["nodes"]["id"] == list(found.circuit.nodes["node"])
    assert page["report"] is None and page["labels"] == []
    assert page["title"] == "A circuit in toy"


def test_a_graph_is_bounded(found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saecircuits.publication.notebook.GRAPH_NODES", 11)
    monkeypatch.setattr("saecircuits.publication.notebook.GRAPH_EDGES", 17)
    page = data_in(show(found.graph).html)
    assert page["nodes"]["kind"].count("feature") + page["nodes"]["kind"].count("error") == 11
    assert len(page["edges"]["source"]) <= 17


def test_notebooks_show_circuits_once_the_extension_is_loaded(found: Found) -> None:
    interactive = pytest.importorskip(
        "IPython.core.interactiveshell", reason="IPython is not installed (extra notebook)"
    )
    shell = interactive.InteractiveShell()
    formatter = shell.display_formatter.formatters["text/html"]
    formatter.enabled = True
    assert formatter(found.circuit) is None
    shell.run_line_magic("load_ext", "saecircuits")
    for shown in (found.circuit, found.graph):
        assert data_in(page_in(formatter(shown)))["format"] == "saecircuits-page/1"


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anywidget", None)
    monkeypatch.delitem(
        sys.modules, "saecircuits.publication.notebook.circuit_widget", raising=False
    )
    with pytest.raises(MissingExtraError, match=r"'anywidget'.*pip install 'saecircuits\[notebook"):
        sc.widget(made_circuit())
    assert issubclass(MissingExtraError, InputError) and issubclass(MissingExtraError, ImportError)


def test_the_widget_s_selection_is_its_address() -> None:
    pytest.importorskip("anywidget", reason="anywidget is not installed (extra notebook)")
    circuit = made_circuit()
    first, other = circuit.members[:2]
    widget = sc.widget(circuit, selected=first, height=500)
    assert widget.height == 500 and widget.selected == first
    seen = []
    widget.observe(lambda change: seen.append(change["new"]), "selected")
    # As the page writes it when a reader chooses an edge, then a node.
    widget.address = "view=table&from=a&to=b&pin=metric&pin=token%40unit+0"
    assert widget.selected is None and widget.pins == ["metric", "token@unit 0"]
    widget.selected = other
    assert dict(parse_qsl(widget.address)) == {
        "view": "table", "pin": "token@unit 0", "node": other,
    }  # fmt: skip
    widget.address = widget.address.replace("view=table", "view=graph")
    widget.selected = None
    assert "node=" not in widget.address
    assert seen == [None, other, None]
    with pytest.raises(UnknownNameError, match="unknown node of the circuit 'f1@nowhere'"):
        widget.selected = "f1@nowhere"
    widget.address = "node=f1%40nowhere"  # an address of another circuit
    assert widget.selected is None


def test_groups_of_the_widget_are_those_that_a_figure_takes(found: Found, out: Path) -> None:
    pytest.importorskip("anywidget", reason="anywidget is not installed (extra notebook)")
    publish(found.circuit, found.report, out, graph=found.graph)
    widget = sc.widget(out)
    assert widget.groups == {}
    nodes = [node for node in found.circuit.members if ".error@" not in node][:2]
    widget.address = urlencode({"group": json.dumps(["", "mine", *nodes])})
    assert widget.groups == {"mine": nodes}
    assert "mine" in sc.draw(out, groups=widget.groups).svg


def test_the_widget_s_page_differs_by_the_bridge_alone(found: Found, out: Path) -> None:
    pytest.importorskip("anywidget", reason="anywidget is not installed (extra notebook)")
    publish(found.circuit, found.report, out, graph=found.graph)
    page = (out / "report.html").read_text()
    given = sc.widget(out)._page
    bridge = re.search(r"<script>// In the frame.*?</script>\n", given, flags=re.DOTALL)
    assert bridge is not None
    less = re.sub(r"script-src 'sha256-[^']+' ", "script-src ", given.replace(bridge[0], ""))
    assert less == page
    bundle = sc.widget(out)._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert data is not None
    assert "application/vnd.jupyter.widget-view+json" in data
