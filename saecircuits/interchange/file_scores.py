"""Replacement and completeness score of an attribution graph of another program, from its file."""

import numpy as np
import pandas as pd
from scipy import sparse

from saecircuits.edges.graph_scores import GraphScores
from saecircuits.errors import InputError
from saecircuits.nodes.names import METRIC
from saecircuits.theory.graph_scores import unsigned_scores


def file_scores(nodes: pd.DataFrame, edges: pd.DataFrame) -> GraphScores:
    """The scores of the nodes and links that the file has: it is often pruned, and so are they.

    Logits are weighted by their probability, `activation` here; equally where one has none. No
    figure is there for links that go round in a circle, and none by sign: a file has no errors that
    could be held.
    """
    place = {node: number for number, node in enumerate(nodes["node"])}
    ends = edges["target"].map(place), edges["source"].map(place)
    A = sparse.csr_matrix((edges["effect"], ends), shape=(len(nodes), len(nodes)))
    kind = nodes["kind"].to_numpy(str)
    probability = nodes["activation"].to_numpy(float)
    if not np.isfinite(probability[kind == METRIC]).all():
        probability = np.ones(len(nodes))
    readout = np.where(kind == METRIC, probability, 0.0)
    try:
        found = unsigned_scores(
            A, is_token=kind == "token", is_error=kind == "error", readout=readout
        )
    except InputError:
        return GraphScores()
    return GraphScores.of_one(found)
