"""Replacement and completeness score of a weighted graph, by influence without signs.

The definitions are circuit-tracer's (`compute_graph_scores`, version 0.5.0; Ameisen et al. 2025,
"Circuit Tracing", on replacement scores). With `A[target, source]` the direct effects and every row
divided by the sum of its absolute values,

    B[v, u]      = |A[v, u]| / sum over w of |A[v, w]|        0 in rows without inputs
    influence    = r (B + B^2 + ...)                  r: the readout, on the metric or on logits
    replacement  = T / (T + E)                        T, E: influence of tokens, of error nodes
    completeness = sum over v of (influence_v + r_v) (1 - sum over errors u of B[v, u])
                   / sum over v of (influence_v + r_v)

Rows of error nodes are taken to be empty: what is known of an error begins there. So influence is
followed back from the readout, as shares of inputs, until it ends in a token, in an error, or in a
feature without inputs; of what ends in tokens or errors, replacement is the share of tokens.
Completeness gives every node credit for the share of its inputs that is no error. Its sums are over
all nodes, tokens and error nodes among them, which have no inputs and count as complete: a graph
with nothing but error nodes before its metric has a completeness of 1/2. Both lie between 0 and 1.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import sparse

from saecircuits.errors import InputError


class UnsignedScores(NamedTuple):
    """Both scores of a graph; NaN where its readout has no inputs that end in tokens or errors."""

    replacement: float
    completeness: float


def unsigned_scores(
    A: sparse.csr_matrix,
    *,
    is_token: Bool[np.ndarray, " n_node"],
    is_error: Bool[np.ndarray, " n_node"],
    readout: Float[np.ndarray, " n_node"],
) -> UnsignedScores:
    """Replacement and completeness score of the graph with these direct effects; see above.

    Args:
        A: `[target, source]`, any sign and unit, nodes in any order.
        readout: weights of the nodes that all is about, such as 1 for the metric alone, or the
            probabilities of several logits. Their scale cancels.

    Raises:
        InputError: links that go round in a circle.
    """
    size = sparse.csr_matrix(abs(A).multiply(~is_error[:, None]))
    total = np.asarray(size.sum(axis=1)).ravel()
    shares = sparse.csr_matrix(size.multiply((1 / np.where(total > 0, total, 1.0))[:, None]))
    current, influence, steps = readout @ shares, np.zeros(len(readout)), 0
    while current.any():
        if steps > len(readout):
            raise InputError("the links of this graph go round in a circle; influence has no end")
        influence, current, steps = influence + current, current @ shares, steps + 1
    tokens, errors = influence[is_token].sum(), influence[is_error].sum()
    weight = influence + readout
    explained = 1 - np.asarray(shares[:, is_error].sum(axis=1)).ravel()
    if tokens + errors == 0:
        return UnsignedScores(float("nan"), float("nan"))
    return UnsignedScores(
        float(tokens / (tokens + errors)), float(weight @ explained / weight.sum())
    )
