"""Runs, circuits and graphs in a notebook: the page of `report.html`, in a frame.

`show` gives a page that a notebook displays; nothing has to be installed for it. `widget` is the
same page with its state in Python (extra `notebook`). A run shows itself; circuits and graphs,
which know nothing of publication, do after `%load_ext saecircuits`.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from saecircuits.circuits import Circuit, prune
from saecircuits.edges.graph import AttributionGraph
from saecircuits.errors import MissingExtraError, RunFolderError
from saecircuits.publication.contents import Contents
from saecircuits.publication.page_data import page_data
from saecircuits.publication.page_file import write_page
from saecircuits.runs.embedding import HEIGHT, framed
from saecircuits.runs.folder import PAGE
from saecircuits.runs.records import read_record
from saecircuits.runs.storage import read_bytes, write_bytes
from saecircuits.runs.stored import StoredRun
from saecircuits.runs.writing import write_circuit

if TYPE_CHECKING:
    from saecircuits.publication.notebook.circuit_widget import CircuitWidget

Shown: TypeAlias = str | Path | StoredRun | Circuit | AttributionGraph
# Of a graph, which can have a hundred thousand edges: the strongest nodes and edges among them.
GRAPH_NODES: Final = 300
GRAPH_EDGES: Final = 5_000


@dataclass(frozen=True)
class Page:
    """A page that notebooks show.

    Attributes:
        html: the whole page, as in `report.html`.
        height: of its frame, in pixels.
    """

    html: str
    height: int = HEIGHT

    def save(self, path: str | Path) -> Path:
        """Writes the page as a file that opens by itself.

        Raises:
            RunFolderError: it cannot be written.
        """
        write_bytes(Path(path), self.html.encode())
        return Path(path)

    def _repr_html_(self) -> str:
        return framed(self.html, title="A circuit to look around in", height=self.height)


def show(shown: Shown, *, height: int = HEIGHT) -> Page:
    """The page of a run, circuit or graph, for a notebook to display.

    Args:
        shown: a run's folder, or what `read_run` gives; a circuit, which has no labels or report of
            its own; or a graph, of which the 300 strongest nodes and their 5,000 strongest edges
            are shown.
        height: of the frame, in pixels.

    Raises:
        RunFolderError: a folder without a page.
    """
    if isinstance(shown, AttributionGraph):
        shown = prune(shown, nodes=GRAPH_NODES, edges=GRAPH_EDGES)
    if isinstance(shown, Circuit):
        return Page(_page_of(shown), height)
    folder = shown.folder if isinstance(shown, StoredRun) else Path(shown)
    if folder is None:
        raise RunFolderError("the run was not read from a folder; give its folder instead")
    return Page(read_bytes(folder / PAGE).decode("utf-8"), height)


def widget(shown: Shown, *, selected: str | None = None, height: int = HEIGHT) -> "CircuitWidget":
    """The page as a widget whose state Python reads and sets; see `CircuitWidget`.

    Args:
        shown: as for `show`.
        selected: id of the node that is open at first.
        height: of the frame, in pixels.

    Raises:
        MissingExtraError: anywidget is not installed.
        UnknownNameError: a node that the page does not have.
        RunFolderError: a folder without a page.
    """
    page = show(shown, height=height)
    try:
        from saecircuits.publication.notebook.circuit_widget import CircuitWidget
    except ModuleNotFoundError as error:
        raise MissingExtraError("sc.widget", str(error.name), "notebook") from None
    return CircuitWidget(page.html, height=height, selected=selected)


def register(ipython: Any) -> None:
    """Makes a notebook show circuits and graphs as pages; what `%load_ext saecircuits` calls.

    Args:
        ipython: the running shell.
    """
    formatter = ipython.display_formatter.formatters["text/html"]
    for kind in (Circuit, AttributionGraph):
        formatter.for_type(kind, _as_html)


def _as_html(shown: Circuit | AttributionGraph) -> str:
    return show(shown)._repr_html_()


def _page_of(circuit: Circuit) -> str:
    """The page of a circuit that was not published."""
    with tempfile.TemporaryDirectory() as name:
        write_circuit(Path(name), circuit)
        record = read_record(name)
    contents = Contents(circuit, record)
    return write_page(page_data(contents, title=record.title)).decode("utf-8")
