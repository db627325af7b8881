"""`export`: a run's circuit as a file of another program's format, and `read_graph_file`, back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from saecircuits.errors import RunFolderError, UnknownNameError
from saecircuits.interchange.csv_and_dot import NODES_CSV, read_csv, write_csv, write_dot
from saecircuits.interchange.foreign import from_foreign, groups_of
from saecircuits.interchange.graph_checks import require_sound
from saecircuits.interchange.graph_file import GraphFile, Group, of_run
from saecircuits.interchange.networks import (
    is_json_of,
    loads,
    read_cytoscape,
    read_gexf,
    read_graphml,
    read_node_link,
    write_cytoscape,
    write_gexf,
    write_graphml,
    write_node_link,
)
from saecircuits.interchange.own import OWN, from_own
from saecircuits.interchange.viewers import viewer_bundle, viewer_document
from saecircuits.runs.feature_files import read_dashboards
from saecircuits.runs.folder import RECORD
from saecircuits.runs.storage import read_bytes, to_json, understood, write_together
from saecircuits.runs.stored import StoredRun, read_run

_FILES: Final[dict[str, tuple[str, Callable[[GraphFile], bytes]]]] = {
    "graphml": (".graphml", write_graphml),
    "gexf": (".gexf", write_gexf),
    "dot": (".dot", write_dot),
    "cytoscape": (".cyjs", write_cytoscape),
    "node-link": (".node-link.json", write_node_link),
}
_MOST_BYTES: Final = 2**28  # of a file that is read; twice what the hosted viewer takes, and more
# Formats of one file, then those of a folder.
TARGETS: Final = ("neuronpedia", "circuit-tracer", *_FILES, "csv")


def export(
    run: str | Path | StoredRun | GraphFile,
    target: str,
    out: str | Path | None = None,
    *,
    pins: Sequence[str] | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    overwrite: bool = False,
) -> Path:
    """The file, or folder for `circuit-tracer` and `csv`, that holds the circuit in this format.

    Targets: `neuronpedia` and `circuit-tracer` (attribution-graph JSON for the two viewers, the
    second with the features' dashboards), `graphml`, `gexf`, `dot`, `cytoscape`, `node-link`,
    `csv`. All but `dot` read back equal by `read_graph_file`. Effects keep their sign.

    Args:
        run: a run's folder, what `read_run` gives, or what `read_graph_file` gives.
        out: where; by default beside the caller, named after model and task.
        pins: ids of nodes that the two viewers show pinned; by default those of the three
            strongest paths.
        groups: names of groups with ids of their nodes, which viewers show as one node.
        overwrite: replace what is there.

    Raises:
        UnknownNameError: no such target, or a pinned or grouped node that is not in the circuit.
        RunFolderError: a run that cannot be read, or something that is in the way.
        InputError: a graph that would not open in the viewer; it says why.
    """
    if target not in TARGETS:
        raise UnknownNameError("target", target, TARGETS)
    folder = Path(run) if isinstance(run, (str, Path)) else None
    stored = read_run(run) if isinstance(run, (str, Path)) else run
    graph = stored if isinstance(stored, GraphFile) else of_run(stored, pins=pins, groups=groups)
    if isinstance(stored, GraphFile):
        # What was read from a file may hold what no other format can.
        with understood(f"the graph {graph.title}", target, verb="written"):
            return _exported(graph, target, out, folder, overwrite)
    return _exported(graph, target, out, folder, overwrite)


def _exported(
    graph: GraphFile, target: str, out: str | Path | None, folder: Path | None, overwrite: bool
) -> Path:
    match target:
        case "neuronpedia":
            document = viewer_document(graph, "neuronpedia")
            require_sound(document, target="neuronpedia")
            return _write_file(to_json(document, indent=None), f"{graph.slug}.json", out, overwrite)
        case "circuit-tracer":
            boards = {} if folder is None else _dashboards(folder)
            require_sound(viewer_document(graph, "circuit-tracer"), target="circuit-tracer")
            files = viewer_bundle(graph, boards)
            return _write_folder(files, f"{graph.slug}-circuit-tracer", out, overwrite)
        case "csv":
            return _write_folder(write_csv(graph), f"{graph.slug}-csv", out, overwrite)
        case _:
            ending, write = _FILES[target]
            return _write_file(write(graph), f"{graph.slug}{ending}", out, overwrite)


def read_graph_file(path: str | Path) -> GraphFile:
    """A graph from any file that `export` writes but DOT, or attribution-graph JSON of others.

    A run's folder is read too, its circuit with labels and report. What had to be mended is said in
    `notes`.

    Raises:
        InputError: another format, or a file that cannot be read.
    """
    place = Path(path)
    where = str(place)
    if place.is_dir():
        if (place / RECORD).exists():
            return of_run(read_run(place))
        if (place / NODES_CSV).exists():
            return read_csv(place)
        bundled = [one for one in sorted(place.glob("*.json")) if one.name != "graph-metadata.json"]
        if len(bundled) != 1:
            raise RunFolderError(
                f"{place} holds neither a run nor {NODES_CSV} nor one graph; give a file"
            )
        place = bundled[0]
    data = read_bytes(place, most=_MOST_BYTES)
    match place.suffix:
        case ".graphml":
            return read_graphml(data, where=where)
        case ".gexf":
            return read_gexf(data, where=where)
        case _:
            content = loads(data, where=where)
    match is_json_of(content):
        case "viewer":
            return from_viewer(content, where=where)
        case "cytoscape":
            return read_cytoscape(content, where=where)
        case "node-link":
            return read_node_link(content, where=where)
        case _:
            raise RunFolderError(
                f"{place} is no graph that can be read; give attribution-graph JSON, or what "
                "`export` writes: .json, .graphml, .gexf, .cyjs, .node-link.json, or a folder of "
                "CSV tables"
            )


def from_viewer(document: Mapping[str, Any], *, where: str) -> GraphFile:
    """Attribution-graph JSON, ours or of another program.

    Raises:
        InputError: it cannot be read; it says why.
    """
    with understood(where, "an attribution graph"):
        return (
            _from_own(document, where) if OWN in document else from_foreign(document, where=where)
        )


def _from_own(document: Mapping[str, Any], where: str) -> GraphFile:
    names = {node["node_id"]: node[OWN]["node"] for node in document["nodes"]}
    edges = [
        {
            **link[OWN],
            "source": names[link["source"]],
            "target": names[link["target"]],
            "effect": link["weight"],
        }
        for link in document["links"]
    ]
    nodes = [node[OWN] for node in document["nodes"]]
    graph = from_own(document[OWN], nodes, edges, where=where)
    # Viewers save here what a reader has pinned and grouped.
    asked = document.get("qParams") or {}
    groups, empty = groups_of(asked.get("supernodes"), where)
    known = tuple(
        Group(group.label, tuple(names[one] for one in group.nodes if one in names))
        for group in groups
    )
    pins = tuple(names[one] for one in asked.get("pinnedIds") or () if one in names)
    return replace(graph, pins=pins, groups=known, notes=tuple(empty))


def _dashboards(folder: Path) -> dict[tuple[str, int], dict[str, Any]]:
    return {
        (board.saecircuits.site, board.saecircuits.feature): board.model_dump()
        for board in read_dashboards(folder)
    }


def _write_file(data: bytes, name: str, out: str | Path | None, overwrite: bool) -> Path:
    path = Path(name if out is None else out)
    if path.is_dir():
        path = path / name
    if path.exists() and not overwrite:
        raise RunFolderError(f"{path} exists; overwrite it, or choose another name")
    _make(path.parent)
    write_together({path: data})
    return path


def _write_folder(
    files: Mapping[str, bytes], name: str, out: str | Path | None, overwrite: bool
) -> Path:
    folder = Path(name if out is None else out)
    if folder.is_file():
        raise RunFolderError(f"{folder} is a file; choose a folder")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise RunFolderError(f"{folder} is not empty; overwrite it, or choose another folder")
    for parent in {(folder / one).parent for one in files}:
        _make(parent)
    write_together({folder / one: data for one, data in files.items()})
    return folder


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(
            f"cannot use {folder} as a folder: {error.strerror or error}; choose another one"
        ) from None
