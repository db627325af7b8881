"""`draw`: the figure of a published run, with groups of the reader's own or none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from saecircuits.circuits import Circuit
from saecircuits.errors import InputError, UnknownNameError
from saecircuits.features.labels import FeatureLabel
from saecircuits.new_file import check_new_file
from saecircuits.publication.contents import Contents
from saecircuits.publication.figure import draw_figure
from saecircuits.publication.grouping import Group, given_groups, suggest_groups
from saecircuits.publication.pdf import to_pdf
from saecircuits.runs.crate import write_crate
from saecircuits.runs.folder import FIGURE, FIGURE_PDF
from saecircuits.runs.records import read_record
from saecircuits.runs.storage import write_bytes, write_together
from saecircuits.runs.stored import StoredRun, read_run
from saecircuits.validation import ValidationReport

Groups: TypeAlias = Literal["suggested", "none"] | Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Figure:
    """A picture of a circuit; notebooks show it.

    Attributes:
        svg: its text, complete in itself.
    """

    svg: str

    def pdf(self) -> bytes:
        """The same picture as PDF, with its fonts embedded."""
        return to_pdf(self.svg)

    def save(self, path: str | Path) -> Path:
        """Writes it as `.svg` or `.pdf`, by the path's ending.

        Raises:
            InputError: another ending.
            RunFolderError: the file cannot be written.
        """
        target = check_figure_path(path)
        is_pdf = target.suffix.lower() == ".pdf"
        write_bytes(target, self.pdf() if is_pdf else self.svg.encode())
        return target

    def _repr_svg_(self) -> str:
        return self.svg


def check_figure_path(path: str | Path) -> Path:
    """The path, if a figure can be written there.

    Raises:
        InputError: an ending other than .svg and .pdf.
        RunFolderError: a folder, or in none that can be written to.
    """
    target = Path(path)
    if target.suffix.lower() not in (".svg", ".pdf"):
        raise InputError(f"a figure is written as .svg or .pdf, not {target.suffix!r}: {target}")
    return check_new_file(target)


def draw(
    run: str | Path | StoredRun,
    *,
    groups: Groups = "suggested",
    report: ValidationReport | None = None,
) -> Figure:
    """The figure of a run: its strongest nodes and edges, groups, and what interventions found.

    Args:
        run: a run's folder, or what `read_run` gives.
        groups: as the page suggests them (what a run's own figure shows), none, or ids of nodes by
            the group's name. A group's box holds the drop of faithfulness that
            `validate(groups=)` measured, if the report has it.
        report: to draw instead of the run's own, such as one that measured these groups.

    Raises:
        UnknownNameError: a node that the circuit does not have, or another word for `groups`.
        InputError: a node in two groups, or an empty group.
        RunFolderError: no run, or one that cannot be read.
    """
    stored = run if isinstance(run, StoredRun) else read_run(run)
    return figure_of(stored, groups=groups, report=report or stored.report)


def figure_of(
    run: StoredRun | Contents, *, groups: Groups, report: ValidationReport | None
) -> Figure:
    """The figure of what was read or is at hand; see `draw`."""
    return Figure(
        draw_figure(
            run.circuit,
            run.labels,
            report,
            title=run.record.title,
            example=run.record.example,
            groups=groups_of(run.circuit, groups, run.labels),
        )
    )


def replace_figure(folder: str | Path, figure: Figure) -> list[Path]:
    """Puts another figure in the place of a run's own, as SVG and PDF.

    Raises:
        RunFolderError: no run in the folder, or it cannot be written to.
    """
    path = Path(folder)
    read_record(path)
    files = {path / FIGURE: figure.svg.encode(), path / FIGURE_PDF: figure.pdf()}
    write_together(files)
    write_crate(path)
    return list(files)


def groups_of(
    circuit: Circuit, groups: Groups, labels: Sequence[FeatureLabel] = ()
) -> tuple[Group, ...]:
    """The groups that were asked for; see `draw`."""
    if isinstance(groups, Mapping):
        return given_groups(circuit, groups)
    match groups:
        case "suggested":
            return suggest_groups(circuit, labels)
        case "none":
            return ()
        case other:
            raise UnknownNameError("groups", str(other), ("suggested", "none"))
