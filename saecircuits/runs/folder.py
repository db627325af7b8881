"""A run's folder: what it holds, and when it may be written to.

    circuit.json        settings, selection, summary, provenance, versions, counts; sha256 of tables
    nodes.parquet       every node of the graph; `in_circuit` says which were kept
    edges.parquet       every edge of the graph; the same
    edge_parts.parquet  the components that carry each of these edges
    validation.json     the report on that circuit
    features.json       automatic labels of its features
    features/           a dashboard for each of them: contexts, histogram, tokens, neighbours
    labels.jsonl        labels that people wrote; never removed
    paths.json          the strongest paths through the graph
    degrees.json        the metric of the task by degree
    graph.json          the circuit as other programs' attribution-graph JSON
    figure.svg          the circuit as a picture
    figure.pdf          the same picture for papers
    report.html         the circuit as a page to look around in
    README.md           the card
    ro-crate-metadata.json  what the files are, with digests, and how they came about

A folder is a run if its `circuit.json` says so. Anything else that is not empty belongs to somebody
and is left alone. Files of different runs or stages are never taken for one run: `circuit.json` is
written last and names the digest of each table, `validation.json` the circuit that it is about, and
`paths.json` the tables that it belongs to.
Equal inputs give equal bytes; no file holds a time but the last one, which has to name the day of
its making.

Whether a folder may be written to is looked at here, before anything is loaded or computed;
`opening` makes it ready.
"""

import json
import os
from pathlib import Path
from typing import Final

from saecircuits.errors import InputError, RunFolderError, cut

RECORD: Final = "circuit.json"
NODES: Final = "nodes.parquet"
EDGES: Final = "edges.parquet"
PARTS: Final = "edge_parts.parquet"
TABLES: Final = (NODES, EDGES, PARTS)
HUMAN_LABELS: Final = "labels.jsonl"
REPORT: Final = "validation.json"
LABELS: Final = "features.json"
PATHS: Final = "paths.json"
DEGREES: Final = "degrees.json"
GRAPH: Final = "graph.json"
FEATURES: Final = "features"
FIGURE: Final = "figure.svg"
FIGURE_PDF: Final = "figure.pdf"
PAGE: Final = "report.html"
CARD: Final = "README.md"
CRATE: Final = "ro-crate-metadata.json"
# The record last: until everything else is gone, the folder is still known to be a run.
FILES: Final = (
    *TABLES, REPORT, LABELS, PATHS, DEGREES, GRAPH, FIGURE, FIGURE_PDF, PAGE, CARD, CRATE, RECORD
)  # fmt: skip
PARTIAL_ENDING: Final = ".partial"
_SHOWN: Final = 120  # characters of a path that a message quotes


def check_folder(path: str | Path, *, overwrite: bool = False, resume: bool = False) -> Path:
    """The folder, if a run may be written there; what `overwrite` and `resume` say of one.

    Raises:
        InputError: both `overwrite` and `resume`.
        RunFolderError: a run is there and neither was asked for; other files are there and no run;
            or it is no folder and cannot become one.
    """
    if overwrite and resume:
        raise InputError("overwrite and resume were both asked for; choose one")
    folder = Path(path)
    names = _names(folder)
    if is_run(folder):
        if not (overwrite or resume):
            raise RunFolderError(
                f"{folder} already holds a run; overwrite it, resume it, or choose another folder"
            )
    elif set(names) - {*TABLES, HUMAN_LABELS} or (names and not (overwrite or resume)):
        # Tables alone are what an interrupted first write may leave, and labels one that overwrote.
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        raise RunFolderError(
            f"{folder} holds other files ({shown}) and no run; choose a new or empty folder"
        )
    return folder


def is_run(folder: Path) -> bool:
    """Whether a run is there, of any version of this format; it need not be readable further.

    Raises:
        RunFolderError: its record cannot be read.
    """
    record = folder / RECORD
    try:
        found = json.loads(record.read_bytes()) if record.is_file() else None
    except (ValueError, RecursionError):
        return False
    except OSError as error:
        raise RunFolderError(f"cannot read {record}: {error.strerror or error}") from None
    return isinstance(found, dict) and str(found.get("format")).startswith("saecircuits/")


def unusable(folder: Path, reason: object) -> RunFolderError:
    """What is said of a folder that the system refuses."""
    return RunFolderError(
        f"cannot use {cut(str(folder), _SHOWN)} as a folder: {reason}; choose another one"
    )


def _names(folder: Path) -> list[str]:
    """What the folder holds, leavings of an interrupted write apart; nothing if there is none."""
    try:
        there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
        if folder.exists() and not folder.is_dir():
            raise RunFolderError(f"{folder} is a file; choose a folder")
        if not there.is_dir():
            raise unusable(folder, f"{there} is a file")
        if not os.access(there, os.W_OK | os.X_OK):
            raise RunFolderError(f"{there} cannot be written to; choose another folder")
        names = sorted(entry.name for entry in folder.iterdir()) if there == folder else []
    except OSError as error:
        raise unusable(folder, error.strerror or error) from None
    except ValueError as error:  # a null character in the path
        raise unusable(folder, error) from None
    return [name for name in names if not _is_leaving(name)]


def _is_leaving(name: str) -> bool:
    return name.startswith(".") and name.endswith(PARTIAL_ENDING)
