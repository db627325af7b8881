"""`CircuitWidget`: the page in a notebook, with what its reader chooses kept in Python.

The page keeps its state behind the # of its address. In the notebook's frame a few lines of script
(`bridge.js`) hand that address to the widget and back, so that the page itself, from the same
bundle as `report.html`, need not know where it is.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import anywidget
import traitlets

from saecircuits.errors import UnknownNameError
from saecircuits.publication.grouping import read_groups
from saecircuits.runs.embedding import HEIGHT, SANDBOX

_FILES: Final = resources.files("saecircuits.publication.notebook")
_DATA: Final = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)


class CircuitWidget(anywidget.AnyWidget):
    """The page of a circuit.

    Attributes:
        selected: id of the node whose details are open, or None; set it to open a node.
        address: the whole state of the page (view, thresholds, pins, groups), as it stands behind
            the # of a saved page's address.
        height: of the frame, in pixels.
    """

    _esm = (_FILES / "widget.js").read_text(encoding="utf-8")
    _page = traitlets.Unicode().tag(sync=True)
    _sandbox = traitlets.Unicode(SANDBOX).tag(sync=True)
    _title = traitlets.Unicode("A circuit to look around in").tag(sync=True)
    address = traitlets.Unicode("").tag(sync=True)
    height = traitlets.Int(HEIGHT).tag(sync=True)
    selected = traitlets.Unicode(None, allow_none=True)

    def __init__(self, page: str, *, height: int = HEIGHT, selected: str | None = None) -> None:
        """Use `sc.widget`.

        Args:
            page: HTML, as in `report.html`.
        """
        self._nodes: frozenset[str] = _nodes_of(page)
        super().__init__(_page=bridged(page), height=height)
        self.selected = selected

    @property
    def pins(self) -> list[str]:
        """Ids of pinned nodes."""
        return [value for key, value in _entries(self.address) if key == "pin"]

    @property
    def groups(self) -> dict[str, list[str]]:
        """Groups that the page holds, suggested or made by hand: what `sc.draw(groups=)` takes."""
        has_groups = any(key == "group" for key, _ in _entries(self.address))
        return read_groups(f"#{self.address}") if has_groups else {}

    @traitlets.validate("selected")
    def _known(self, proposal: Mapping[str, Any]) -> str | None:
        node = proposal["value"]
        if node is not None and node not in self._nodes:
            raise UnknownNameError("node of the circuit", node, self._nodes)
        return node

    @traitlets.observe("address")
    def _read(self, _: Any) -> None:
        found = dict(_entries(self.address)).get("node")
        self.selected = found if found in self._nodes else None

    @traitlets.observe("selected")
    def _write(self, _: Any) -> None:
        entries = _entries(self.address)
        if dict(entries).get("node") == self.selected:
            return
        kept = [entry for entry in entries if entry[0] not in ("node", "from", "to")]
        self.address = urlencode([*kept, *([("node", self.selected)] if self.selected else [])])


def bridged(page: str) -> str:
    """The page with the bridge in front of its own code, and allowed by its policy."""
    bridge = (_FILES / "bridge.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(bridge.encode()).digest()).decode()
    policy, place = "script-src ", '<div id="app">'
    assert page.count(place) == 1 and policy in page, "the page is not of write_page's form"
    allowed = page.replace(policy, f"{policy}'sha256-{digest}' ", 1)
    return allowed.replace(place, f"<script>{bridge}</script>\n{place}", 1)


def _nodes_of(page: str) -> frozenset[str]:
    found = _DATA.search(page)
    assert found is not None, "the page holds no data"
    return frozenset(json.loads(found[1])["nodes"]["id"])


def _entries(address: str) -> list[tuple[str, str]]:
    return parse_qsl(address, keep_blank_values=True)
