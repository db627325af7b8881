"""Writes the data of a run: tables, record, report and labels.

Tables and record go together: all of them are on the disk before the first takes its place, and
`circuit.json`, which names the digest of each table, comes last.
"""

import hashlib
import platform
from importlib import metadata
from pathlib import Path

import pandas as pd
import torch

from saecircuits.circuits import Circuit, Routes
from saecircuits.edges.columns import IN_CIRCUIT
from saecircuits.edges.graph import AttributionGraph
from saecircuits.errors import InputError, RunFolderError
from saecircuits.runs.folder import EDGES, NODES, PARTS, PATHS, RECORD, REPORT
from saecircuits.runs.opening import remove_files
from saecircuits.runs.parquet import STORED, to_parquet
from saecircuits.runs.records import (
    CircuitRecord,
    Counts,
    PathsFile,
    ReportFile,
    TaskRecord,
    Versions,
    read_record,
)
from saecircuits.runs.storage import (
    plain,
    read_json,
    sha256,
    to_json,
    write_json,
    write_together,
)
from saecircuits.runs.stored import members
from saecircuits.schema import FORMAT
from saecircuits.validation import ValidationReport


def write_graph(
    folder: Path,
    graph: AttributionGraph,
    *,
    task: TaskRecord | None = None,
    command: str | None = None,
) -> None:
    """Writes the tables and `circuit.json`, with no circuit chosen yet.

    Args:
        folder: from `open_folder`.
        task: what was asked, from `describe_task`.
        command: the command line that repeats the run.

    Raises:
        RunFolderError: the folder cannot be written to.
    """
    _write(folder, graph, circuit=None, task=task, command=command)


def write_circuit(
    folder: Path,
    circuit: Circuit,
    *,
    graph: AttributionGraph | None = None,
    task: TaskRecord | None = None,
    command: str | None = None,
) -> None:
    """Writes the tables with the circuit marked in them, and `circuit.json`.

    A report on another circuit that is there is removed.

    Args:
        graph: what the circuit was chosen from; without it the tables hold the circuit alone.
        task, command: as for `write_graph`.

    Raises:
        InputError: the circuit has a node or edge that the graph has not.
        RunFolderError: the folder cannot be written to.
    """
    _write(folder, graph or _graph_of(circuit), circuit=circuit, task=task, command=command)


def write_report(folder: Path, report: ValidationReport | None) -> None:
    """Writes `validation.json`, tied to the circuit that the folder now holds; None removes it.

    Raises:
        RunFolderError: no circuit in the folder, or it cannot be written to.
    """
    if report is None:
        remove_files(folder, [REPORT])
        return
    digest = read_record(folder).circuit_digest
    if digest is None:
        raise RunFolderError(f"{folder} holds no circuit yet; write the circuit before its report")
    content = {**report.to_json(), "circuit_digest": digest, "format": FORMAT}
    write_json(folder / REPORT, content, ReportFile)


def write_paths(folder: Path, routes: Routes | None) -> None:
    """Writes `paths.json`, tied to the tables that the folder now holds; None removes it.

    Raises:
        RunFolderError: no run in the folder, or it cannot be written to.
    """
    if routes is None:
        remove_files(folder, [PATHS])
        return
    content = {**routes.to_json(), "tables": read_record(folder).files, "format": FORMAT}
    write_json(folder / PATHS, content, PathsFile)


def circuit_digest(circuit: Circuit) -> str:
    """sha256 over the ids of the circuit's nodes and edges, whatever their order."""
    edges = zip(circuit.edges["source"], circuit.edges["target"], strict=True)
    named = [sorted(circuit.nodes["node"]), sorted(list(edge) for edge in edges)]
    return hashlib.sha256(to_json(named)).hexdigest()


def _write(
    folder: Path,
    graph: AttributionGraph,
    *,
    circuit: Circuit | None,
    task: TaskRecord | None,
    command: str | None,
) -> None:
    nodes = _marked(graph.nodes, ["node"], circuit and circuit.nodes)
    edges = _marked(graph.edges, ["source", "target"], circuit and circuit.edges)
    frames = {NODES: nodes, EDGES: edges, PARTS: graph.edge_parts}
    tables = {name: to_parquet(frame, STORED[name]) for name, frame in frames.items()}
    ranked = members(graph.nodes)
    candidates = None if circuit is None else tuple(circuit.candidates)
    record = CircuitRecord(
        versions=_versions(),
        task=task,
        prompts=graph.provenance["prompts"],
        command=command,
        seed=graph.settings.seed,
        dtype=graph.provenance["dtype"],
        settings=graph.settings,
        selection=None if circuit is None else plain(circuit.selection),
        summary=plain(graph.summary),
        provenance=plain(graph.provenance),
        counts=Counts(
            nodes=len(nodes),
            edges=len(edges),
            members=0 if circuit is None else circuit.size,
            errors=0 if circuit is None else circuit.n_errors,
            circuit_edges=int(edges[IN_CIRCUIT].sum()),
        ),
        candidates=None if candidates == ranked else candidates,
        circuit_digest=None if circuit is None else circuit_digest(circuit),
        files={name: sha256(data) for name, data in tables.items()},
    )
    folder = Path(folder)
    contents = {**tables, RECORD: to_json(record)}
    write_together({folder / name: data for name, data in contents.items()})
    # What is about another circuit, or belongs to other tables, is no part of this run.
    for name, schema, key, wanted in (
        (REPORT, ReportFile, "circuit_digest", record.circuit_digest),
        (PATHS, PathsFile, "tables", record.files),
    ):
        try:
            found = getattr(read_json(folder / name, schema), key)
        except RunFolderError:
            found = None
        if found is None or found != wanted:
            remove_files(folder, [name])


def _marked(table: pd.DataFrame, key: list[str], kept: pd.DataFrame | None) -> pd.DataFrame:
    """The table with `in_circuit`: whether a row is among the kept ones."""
    if kept is None:
        return table.assign(**{IN_CIRCUIT: False})
    wanted = pd.MultiIndex.from_arrays([kept[name] for name in key])
    known = pd.MultiIndex.from_arrays([table[name] for name in key])
    foreign = wanted[~wanted.isin(known)]
    if len(foreign):
        raise InputError(
            f"the circuit has {len(foreign)} rows that the graph has not, the first of them "
            f"{' -> '.join(foreign[0])}; give the graph that it was pruned from"
        )
    return table.assign(**{IN_CIRCUIT: known.isin(wanted)})


def _graph_of(circuit: Circuit) -> AttributionGraph:
    return AttributionGraph(
        nodes=circuit.nodes,
        edges=circuit.edges,
        edge_parts=circuit.edge_parts,
        settings=circuit.settings,
        summary=circuit.summary,
        provenance=circuit.provenance,
    )


def _versions() -> Versions:
    return Versions(
        saecircuits=version_of("saecircuits"),
        torch=torch.__version__,
        transformer_lens=version_of("transformer-lens"),
        python=platform.python_version(),
    )


def version_of(package: str) -> str:
    """The installed version of a package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"  # run from a checkout
