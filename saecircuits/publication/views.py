"""What readers open of a run: picture, page, card and the graph for other programs.

`write_views` makes them all from finished values; `refresh_views` makes them again from what the
folder holds, so that a label that a person wrote is in all of them at once.
"""

from dataclasses import replace
from pathlib import Path

from saecircuits.interchange.graph_file import graph_file
from saecircuits.interchange.viewers import viewer_document
from saecircuits.publication.card import write_card
from saecircuits.publication.contents import Contents
from saecircuits.publication.drawing import Groups, figure_of
from saecircuits.publication.page_data import page_data
from saecircuits.publication.page_file import read_page, write_page
from saecircuits.runs.crate import stored_licence, write_crate
from saecircuits.runs.degrees import read_degrees
from saecircuits.runs.feature_files import read_dashboards
from saecircuits.runs.folder import CARD, FIGURE, FIGURE_PDF, GRAPH, PAGE
from saecircuits.runs.human_labels import merged, read_human_labels
from saecircuits.runs.storage import to_json, write_together
from saecircuits.runs.stored import read_run

VIEWS = (FIGURE, FIGURE_PDF, PAGE, CARD, GRAPH)


def write_views(folder: Path, contents: Contents, *, groups: Groups = "suggested") -> None:
    """Writes the figure (SVG and PDF), `report.html`, `README.md`, `graph.json`, and the metadata.

    Labels that people wrote into the folder take the place of automatic ones. A licence that is not
    given is that which the metadata named before.

    Args:
        groups: of the picture, see `draw`.

    Raises:
        RunFolderError: no run in the folder, or it cannot be written to.
    """
    record = contents.record
    contents = replace(
        contents,
        labels=merged(contents.labels, read_human_labels(folder), record.dictionaries),
        licence=contents.licence or stored_licence(folder),
    )
    figure = figure_of(contents, groups=groups, report=contents.report)
    shared = graph_file(
        contents.circuit,
        labels=contents.labels,
        report=contents.report,
        task=record.task,
        routes=contents.routes,
    )
    files = {
        FIGURE: figure.svg.encode(),
        FIGURE_PDF: figure.pdf(),
        GRAPH: to_json(viewer_document(shared), indent=None),
        PAGE: write_page(page_data(contents, title=record.title)),
        CARD: write_card(contents, title=record.title).encode(),
    }
    write_together({folder / name: data for name, data in files.items()})
    write_crate(folder, title=record.title, licence=contents.licence)


def refresh_views(folder: str | Path) -> tuple[str, ...]:
    """Makes these files again with the labels that the folder now holds; names of what it wrote.

    Nothing is computed: what needs the model is taken from the page that is there. A folder that
    was not published yet has no such files, and gets none; its metadata are written all the same.

    Raises:
        RunFolderError: a file of the run that cannot be used.
    """
    path = Path(folder)
    before = read_page(path / PAGE) if (path / PAGE).exists() else None
    if before is None:
        write_crate(path)
        return ()
    run = read_run(path)
    contents = Contents(
        circuit=run.circuit,
        record=run.record,
        report=run.report,
        labels=run.labels,
        graph=run.graph if before.pruning.graph_edges is not None else None,
        routes=run.routes,
        dashboards=read_dashboards(path),
        looks=before.looks,
        degrees=read_degrees(path),
    )
    write_views(path, contents)
    return VIEWS
