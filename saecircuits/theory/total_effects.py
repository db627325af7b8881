"""Sums over all paths, by solving with `I - A` and never by enumerating.

In an acyclic graph with weights `A[target, source]`, the sum over all paths from u to v of the
products of their weights is `[(I - A)^-1]_vu = (I + A + A^2 + ...)_vu`, the path of no links
included. Nodes numbered in forward order make A strictly lower triangular, so each sum is one
triangular solve, in time proportional to the number of links.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse
from scipy.sparse.linalg import spsolve_triangular

from saecircuits.errors import InputError


def adjacency(
    source: Int[np.ndarray, " n_link"],
    target: Int[np.ndarray, " n_link"],
    weight: Float[np.ndarray, " n_link"],
    n_node: int,
) -> sparse.csr_matrix:
    """`A[target, source]`, parallel links added up.

    Raises:
        InputError: a link that does not point forward.
    """
    if len(source) and not (source < target).all():
        raise InputError("links must point forward: number nodes so that every source < target")
    return sparse.csr_matrix((weight, (target, source)), shape=(n_node, n_node))


def arriving(A: sparse.csr_matrix, start: Float[np.ndarray, " n_node"]) -> np.ndarray:
    """`x = (I - A)^-1 start`: what comes to every node along all paths, its own start included."""
    return _solve(A, start, is_lower=True)


def influence(A: sparse.csr_matrix, readout: Float[np.ndarray, " n_node"]) -> np.ndarray:
    """`y = (I - A^T)^-1 readout`: what a unit at every node does to the readout along all paths.

    The total effect of a start s is `s . y`; that of node u alone `s_u y_u`.
    """
    return _solve(sparse.csr_matrix(A.T), readout, is_lower=False)


def _solve(A: sparse.csr_matrix, right: np.ndarray, *, is_lower: bool) -> np.ndarray:
    if A.nnz == 0:
        return right.astype(np.float64)
    system = sparse.csr_matrix(sparse.identity(len(right), format="csr") - A)
    return spsolve_triangular(system, right.astype(np.float64), lower=is_lower, unit_diagonal=True)
