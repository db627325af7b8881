"""Reads a run back, and refuses what is missing, half-written, foreign or mixed up."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from saecircuits.circuits import Circuit, Routes, parts_of
from saecircuits.edges.columns import IN_CIRCUIT
from saecircuits.edges.graph import AttributionGraph
from saecircuits.errors import RunFolderError
from saecircuits.features.labels import FeatureLabel
from saecircuits.runs.embedding import page_in_frame
from saecircuits.runs.feature_files import read_labels_if_any
from saecircuits.runs.folder import EDGES, NODES, PARTS, PATHS, RECORD, REPORT, TABLES
from saecircuits.runs.parquet import STORED, from_parquet
from saecircuits.runs.records import (
    CircuitRecord,
    PathsFile,
    ReportFile,
    read_record,
)
from saecircuits.runs.storage import read_bytes, read_json, sha256
from saecircuits.validation import ValidationReport


@dataclass(frozen=True, eq=False)
class StoredRun:
    """Everything in a run's folder.

    Attributes:
        report: None if the circuit was not validated.
        labels: with those that people wrote in the place of automatic ones; empty if the features
            were not labelled.
        routes: the strongest paths; None if none were looked for.
        folder: where it was read from; notebooks show its `report.html`.
    """

    record: CircuitRecord
    graph: AttributionGraph
    circuit: Circuit
    report: ValidationReport | None
    labels: tuple[FeatureLabel, ...]
    routes: Routes | None
    folder: Path | None = None

    @property
    def task_name(self) -> str | None:
        """The name of the task; None if the graph was made without one."""
        return self.record.task_name

    def _repr_html_(self) -> str | None:
        return page_in_frame(self.folder)


def read_run(folder: str | Path) -> StoredRun:
    """A run with its circuit, and with its report, labels and paths if they are there.

    Raises:
        RunFolderError: as `read_circuit`, or a report, labels or paths that cannot be used.
    """
    path = Path(folder)
    record = read_record(path)
    tables = _tables(path, record)
    return StoredRun(
        record=record,
        graph=_graph(record, tables),
        circuit=_circuit(path, record, tables),
        report=read_report(path) if (path / REPORT).exists() else None,
        labels=read_labels_if_any(path),
        routes=read_paths(path) if (path / PATHS).exists() else None,
        folder=path,
    )


def read_graph(folder: str | Path) -> AttributionGraph:
    """The graph; it cannot measure faithfulness any more.

    Raises:
        RunFolderError: as `read_record`, or a table that is not the record's.
    """
    record = read_record(folder)
    return _graph(record, _tables(Path(folder), record))


def read_circuit(folder: str | Path) -> Circuit:
    """The circuit.

    Raises:
        RunFolderError: as `read_graph`, or no circuit was chosen yet.
    """
    record = read_record(folder)
    return _circuit(Path(folder), record, _tables(Path(folder), record))


def read_report(folder: str | Path) -> ValidationReport:
    """The report on the folder's circuit.

    Raises:
        RunFolderError: missing, half-written, with unknown keys, or about another circuit.
    """
    path = Path(folder) / REPORT
    found = read_json(path, ReportFile)
    if found.circuit_digest != read_record(folder).circuit_digest:
        raise RunFolderError(
            f"{path} is about another circuit than {RECORD}; validate this circuit again"
        )
    return found


def read_paths(folder: str | Path) -> Routes:
    """The strongest paths.

    Raises:
        RunFolderError: missing, half-written, with unknown keys, or of other tables.
    """
    path = Path(folder) / PATHS
    found = read_json(path, PathsFile)
    if found.tables != read_record(folder).files:
        raise RunFolderError(f"{path} belongs to other tables than {RECORD}; publish the run again")
    return found


def members(nodes: pd.DataFrame) -> tuple[str, ...]:
    """Ids of the features and error nodes of a node table, in its order."""
    return tuple(nodes.loc[nodes["kind"].isin(["feature", "error"]), "node"])


def _graph(record: CircuitRecord, tables: Mapping[str, pd.DataFrame]) -> AttributionGraph:
    return AttributionGraph(
        nodes=tables[NODES].drop(columns=IN_CIRCUIT),
        edges=tables[EDGES].drop(columns=IN_CIRCUIT),
        edge_parts=tables[PARTS],
        settings=record.settings,
        summary=record.summary,
        provenance=record.provenance,
    )


def _circuit(folder: Path, record: CircuitRecord, tables: Mapping[str, pd.DataFrame]) -> Circuit:
    if record.selection is None:
        raise RunFolderError(f"{folder} holds a graph but no circuit yet; prune and write it first")
    edges, candidates = _kept(tables[EDGES]), record.candidates
    return Circuit(
        nodes=_kept(tables[NODES]),
        edges=edges,
        edge_parts=parts_of(tables[PARTS], edges),
        candidates=members(tables[NODES]) if candidates is None else candidates,
        settings=record.settings,
        selection=record.selection,
        summary=record.summary,
        provenance=record.provenance,
    )


def _tables(folder: Path, record: CircuitRecord) -> dict[str, pd.DataFrame]:
    """The tables as they are in the files, `in_circuit` included."""
    unknown = [name for name in TABLES if name not in record.files]
    if unknown:
        raise RunFolderError(
            f"{folder} has no {' and no '.join(unknown)}: an earlier version wrote it; write the "
            "run again, with overwrite"
        )
    data = {name: read_bytes(folder / name) for name in TABLES}
    for name, content in data.items():
        if record.files.get(name) != sha256(content):
            raise RunFolderError(
                f"{folder / name} is not the table that {RECORD} names (sha256 differs); a run was "
                "interrupted there or the file was changed: write the run again"
            )
    return {
        name: from_parquet(content, STORED[name], name=str(folder / name))
        for name, content in data.items()
    }


def _kept(table: pd.DataFrame) -> pd.DataFrame:
    kept = table.loc[table[IN_CIRCUIT]]
    return kept.drop(columns=IN_CIRCUIT).reset_index(drop=True)
