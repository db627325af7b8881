"""GraphML, GEXF, Cytoscape JSON and node-link JSON, by networkx.

One directed graph serves all four: nodes and edges carry the flat rows as attributes, the graph
carries the record. `effect` is signed; nothing here takes its size for it.
"""

import io
import json
from typing import Any, Final

import networkx as nx
from networkx.readwrite import gexf

from saecircuits.interchange.flat import Flat, Row, escaped, flatten, unescaped, unflatten
from saecircuits.interchange.graph_file import GraphFile
from saecircuits.interchange.own import OWN
from saecircuits.runs.storage import to_json, understood

_ENDS: Final = ("source", "target")
# What networkx calls an edge's ends and a graph's edges in node-link JSON changes with its version.
_LINKS: Final = "links"


def to_networkx(graph: GraphFile | Flat) -> Any:
    """A `networkx.DiGraph`: ids as in the circuit, columns as attributes, rows in their order."""
    flat = flatten(graph) if isinstance(graph, GraphFile) else graph
    network: Any = nx.DiGraph()
    network.graph[OWN] = flat.record
    for number, row in enumerate(flat.nodes):
        network.add_node(row["node"], **_without(row, ("node",)), order=number)
    for number, row in enumerate(flat.edges):
        network.add_edge(row["source"], row["target"], **_without(row, _ENDS), order=number)
    return network


def from_networkx(network: Any, *, where: str = "the network") -> GraphFile:
    """The inverse of `to_networkx`.

    Raises:
        InputError: a network of another program.
    """
    return unflatten(_flat(network), where=where)


def write_graphml(graph: GraphFile) -> bytes:
    """GraphML."""
    file = io.BytesIO()
    nx.write_graphml(to_networkx(flatten(graph).mapped(escaped)), file)
    return file.getvalue()


def write_gexf(graph: GraphFile) -> bytes:
    """GEXF 1.2. The record stands in the description, because GEXF has no attributes of graphs."""
    flat = flatten(graph).mapped(escaped)
    network = to_networkx(flat)
    del network.graph[OWN]
    writer = gexf.GEXFWriter(encoding="utf-8", prettyprint=True, version="1.2draft")
    writer.add_graph(network)
    root: Any = writer.xml
    (meta,) = [element for element in root if element.tag.endswith("meta")]
    meta.attrib.clear()  # the day of writing: equal graphs are equal files
    for element in list(meta):
        meta.remove(element)
    description = meta.makeelement("description", {})
    description.text = flat.record
    meta.append(description)
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


def write_cytoscape(graph: GraphFile) -> bytes:
    """Cytoscape JSON (.cyjs)."""
    return to_json(nx.cytoscape_data(to_networkx(graph)), indent=None)


def write_node_link(graph: GraphFile) -> bytes:
    """Node-link JSON, as `networkx.node_link_graph(data, edges="links")` reads it."""
    return to_json(nx.node_link_data(to_networkx(graph), edges=_LINKS), indent=None)


def read_graphml(data: bytes, *, where: str) -> GraphFile:
    """The inverse of `write_graphml`."""
    with understood(where, "GraphML"):
        network = nx.read_graphml(io.BytesIO(data))
        return unflatten(_flat(network).mapped(unescaped), where=where)


def read_gexf(data: bytes, *, where: str) -> GraphFile:
    """The inverse of `write_gexf`."""
    from xml.etree import ElementTree

    with understood(where, "GEXF"):
        root = ElementTree.fromstring(data)
        network = nx.read_gexf(io.BytesIO(data), version="1.2draft")
        records = [one.text or "" for one in root.iter() if one.tag.endswith("}description")]
        network.graph[OWN] = records[0] if records and records[0].startswith("{") else ""
        return unflatten(_flat(network).mapped(unescaped), where=where)


def read_cytoscape(content: dict[str, Any], *, where: str) -> GraphFile:
    """The inverse of `write_cytoscape`."""
    with understood(where, "Cytoscape JSON"):
        return from_networkx(nx.cytoscape_graph(content), where=where)


def read_node_link(content: dict[str, Any], *, where: str) -> GraphFile:
    """The inverse of `write_node_link`."""
    with understood(where, "node-link JSON"):
        return from_networkx(nx.node_link_graph(content, edges=_LINKS), where=where)


def _flat(network: Any) -> Flat:
    nodes = [{**values, "node": name} for name, values in network.nodes(data=True)]
    edges = [
        {**values, "source": source, "target": target}
        for source, target, values in network.edges(data=True)
    ]
    return Flat(tuple(_ordered(nodes)), tuple(_ordered(edges)), str(network.graph.get(OWN, "")))


def _ordered(rows: list[Row]) -> list[Row]:
    """Graphs do not keep the order of edges."""
    return sorted(rows, key=lambda row: row.get("order", 0))


def _without(row: Row, names: tuple[str, ...]) -> Row:
    return {key: value for key, value in row.items() if key not in names}


def is_json_of(content: Any) -> str | None:
    """Which JSON of graphs this is: `viewer`, `cytoscape`, `node-link`, or None."""
    if not isinstance(content, dict):
        return None
    if "metadata" in content and "links" in content:
        return "viewer"
    if "elements" in content:
        return "cytoscape"
    return "node-link" if "nodes" in content and _LINKS in content else None


def loads(data: bytes, *, where: str) -> Any:
    """JSON.

    Raises:
        InputError: no JSON.
    """
    with understood(where, "JSON"):
        return json.loads(data)
