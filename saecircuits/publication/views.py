"""What readers open of a run: picture, page, card and the graph for other programs.

`write_views` makes them all from finished values; `refresh_views` makes them again from what the
folder holds, so that a label that a person wrote is in all of them at once.
"""

from collections.abc import Sequence
from pathlib import Path

from saecircuits.circuits import Circuit, Routes
from saecircuits.edges.graph import AttributionGraph
from saecircuits.features.dashboards import Dashboard
from saecircuits.features.labels import FeatureLabel
from saecircuits.features.looks import HeadLook
from saecircuits.interchange.graph_file import graph_file
from saecircuits.interchange.viewers import viewer_document
from saecircuits.publication.card import write_card
from saecircuits.publication.drawing import Figure, Groups, groups_of, title_of
from saecircuits.publication.figure import draw_figure
from saecircuits.publication.page_data import page_data
from saecircuits.publication.page_file import read_page, write_page
from saecircuits.runs.crate import stored_licence, write_crate
from saecircuits.runs.degrees import read_degrees
from saecircuits.runs.feature_files import read_dashboards
from saecircuits.runs.folder import CARD, FIGURE, FIGURE_PDF, GRAPH, PAGE
from saecircuits.runs.human_labels import merged, read_human_labels
from saecircuits.runs.records import read_record
from saecircuits.runs.storage import to_json, write_together
from saecircuits.runs.stored import read_run
from saecircuits.validation import ValidationReport

VIEWS = (FIGURE, FIGURE_PDF, PAGE, CARD, GRAPH)


def write_views(
    folder: Path,
    circuit: Circuit,
    report: ValidationReport | None,
    labels: Sequence[FeatureLabel],
    *,
    graph: AttributionGraph | None,
    routes: Routes | None,
    dashboards: Sequence[Dashboard],
    looks: Sequence[HeadLook],
    groups: Groups = "suggested",
    licence: str | None = None,
) -> None:
    """Writes the figure (SVG and PDF), `report.html`, `README.md`, `graph.json`, and the metadata.

    Args:
        folder: holds the circuit's record and the metric by degree; labels that people wrote
            there take the place of automatic ones.
        groups: of the picture, see `draw`.
        licence: of the run's files; what the metadata named before if None.

    Raises:
        RunFolderError: no run in the folder, or it cannot be written to.
    """
    record = read_record(folder)
    labels = merged(labels, read_human_labels(folder), record.dictionaries)
    licence = licence or stored_licence(folder)
    title = title_of(record)
    example = None if record.task is None else record.task.example
    drawn = groups_of(circuit, groups, labels)
    figure = Figure(
        draw_figure(circuit, labels, report, title=title, example=example, groups=drawn)
    )
    card = write_card(
        circuit,
        labels,
        report,
        record=record,
        title=title,
        routes=routes,
        corpus=dashboards[0].saecircuits.corpus if dashboards else None,
        licence=licence,
    )
    page = page_data(
        circuit,
        labels,
        report,
        degrees=read_degrees(folder),
        record=record,
        title=title,
        dashboards=dashboards,
        graph=graph,
        routes=routes,
        looks=looks,
    )
    shared = graph_file(circuit, labels=labels, report=report, task=record.task, routes=routes)
    files = {
        FIGURE: figure.svg.encode(),
        FIGURE_PDF: figure.pdf(),
        GRAPH: to_json(viewer_document(shared), indent=None),
        PAGE: write_page(page),
        CARD: card.encode(),
    }
    write_together({folder / name: data for name, data in files.items()})
    write_crate(folder, title=title, licence=licence)


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
    write_views(
        path,
        run.circuit,
        run.report,
        run.labels,
        graph=run.graph if before.pruning.graph_edges is not None else None,
        routes=run.routes,
        dashboards=read_dashboards(path),
        looks=before.looks,
    )
    return VIEWS
