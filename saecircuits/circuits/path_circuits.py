"""The circuit of some paths: their nodes, and the union of their steps as its edges.

Ablated by edges, a node reads what the paths bring it and nothing else. That is more than the paths
one by one: where two cross at a node, the beginning of either goes on along both ends. Ablated by
nodes, everything between the paths' nodes is kept as well.
"""

from itertools import pairwise

import pandas as pd

from saecircuits.circuits.circuit import Circuit, parts_of
from saecircuits.circuits.paths import Routes
from saecircuits.edges.graph import AttributionGraph
from saecircuits.errors import InputError
from saecircuits.nodes.names import METRIC


def path_circuit(graph: AttributionGraph, routes: Routes) -> Circuit:
    """The circuit of the listed paths, which `validate` ablates by nodes and by edges.

    Args:
        graph: that the paths are of.

    Raises:
        InputError: paths that do not end in the metric; a step that the graph has no edge for.
    """
    if routes.choices["target"] != METRIC:
        raise InputError(
            f"these paths end in {routes.choices['target']!r}; a circuit is of paths to the metric"
        )
    steps = {step for nodes in routes.table["nodes"] for step in pairwise(nodes)}
    ends = pd.MultiIndex.from_frame(graph.edges[["source", "target"]])
    edges = graph.edges[ends.isin(list(steps))].reset_index(drop=True)
    if len(edges) < len(steps):
        gone = min(steps - set(ends))
        raise InputError(
            f"{len(steps) - len(edges)} steps of the paths are no edges of the graph, such as "
            f"{' to '.join(gone)}; give the paths' own graph, with a larger max_edges"
        )
    is_member = graph.nodes["kind"].isin(["feature", "error"])
    on_paths = graph.nodes["node"].isin({node for step in steps for node in step})
    return Circuit(
        nodes=graph.nodes[on_paths | ~is_member].reset_index(drop=True),
        edges=edges,
        edge_parts=parts_of(graph.edge_parts, edges),
        candidates=tuple(graph.nodes.loc[is_member, "node"]),
        settings=graph.settings,
        selection={"by": "paths", "paths": len(routes.table)},
        summary=graph.summary,
        provenance=graph.provenance,
    )
