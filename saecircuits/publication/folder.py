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
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from saecircuits.edges.settings import AttributionSettings
from saecircuits.errors import RunFolderError
from saecircuits.publication.files import parse_json, read_bytes
from saecircuits.publication.records import CircuitRecord
from saecircuits.run_folder import (
    EDGES as EDGES,
)
from saecircuits.run_folder import (
    HUMAN_LABELS as HUMAN_LABELS,
)
from saecircuits.run_folder import (
    NODES as NODES,
)
from saecircuits.run_folder import (
    PARTIAL_ENDING,
    TABLES,
    check_folder,
    unusable,
)
from saecircuits.run_folder import (
    PARTS as PARTS,
)
from saecircuits.run_folder import (
    RECORD as RECORD,
)
from saecircuits.run_folder import (
    is_run as is_run,
)

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


def open_folder(
    path: str | Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    identity: Mapping[str, Any] | None = None,
) -> Path:
    """The folder, made if it is not there, and ready for a run.

    Args:
        overwrite: a run that is there is removed; other files beside it stay.
        resume: a run that is there is kept, if it is the same.
        identity: with `resume`, what the run must agree with; from `run_identity`.

    Raises:
        InputError: both `overwrite` and `resume`.
        RunFolderError: a run is there and neither was asked for; other files are there and no run;
            with `resume`, a run of another task, model or setting; or the folder cannot be made.
    """
    folder = check_folder(path, overwrite=overwrite, resume=resume)
    if is_run(folder):
        if resume:
            _check_same(folder, identity or {})
        else:
            remove_features(folder)
            remove_files(folder, FILES)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unusable(folder, error.strerror or error) from None
    remove_files(folder, [entry.name for entry in folder.glob(f".*{PARTIAL_ENDING}")])
    return folder


@contextmanager
def nothing_left_behind(path: str | Path) -> Iterator[None]:
    """Folders that come to be inside, and are empty when an exception passes, are removed again."""
    folder = Path(path)
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        yield
    except BaseException:
        for place in new:
            with suppress(OSError):  # not there, or no longer empty
                place.rmdir()
        raise


def run_identity(
    settings: AttributionSettings, provenance: Mapping[str, Any], task: str | None
) -> dict[str, Any]:
    """What two runs must agree in for one to continue the other, by dotted name.

    Args:
        provenance: of a graph or circuit.
        task: name of the task.
    """
    dictionaries = provenance.get("dictionaries", {})
    return {
        "task": task,
        **{key: provenance.get(key) for key in ("prompts", "model", "model_digest", "dtype")},
        **{f"dictionaries.{hook}": digest for hook, digest in sorted(dictionaries.items())},
        **{f"settings.{name}": value for name, value in settings.model_dump().items()},
    }


def _check_same(folder: Path, identity: Mapping[str, Any]) -> None:
    record = parse_json(read_bytes(folder / RECORD), CircuitRecord, path=folder / RECORD)
    task = record.task.name if record.task is not None else None
    stored = run_identity(record.settings, record.provenance, task)
    for key in [*identity, *(key for key in stored if identity and key not in identity)]:
        if stored.get(key) != identity.get(key):
            raise RunFolderError(
                f"{folder} holds a run with {key} {stored.get(key)!r}, but {identity.get(key)!r} "
                "is asked for; resume with the same, overwrite it, or choose another folder"
            )


def remove_files(folder: Path, names: Sequence[str]) -> None:
    """Removes files of a run; those that are not there are passed by.

    Raises:
        RunFolderError: one cannot be removed.
    """
    try:
        for name in names:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise RunFolderError(
            f"cannot remove {name} from {folder}: {error.strerror or error}"
        ) from None


def remove_features(folder: Path) -> None:
    """Removes the dashboards of a run, and their folder if nothing else is in it.

    Raises:
        RunFolderError: one cannot be removed.
    """
    place = folder / FEATURES
    if place.is_dir():
        remove_files(place, [path.name for path in place.glob("*.json")])
        with suppress(OSError):  # something of somebody's is in it
            place.rmdir()
