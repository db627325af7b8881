"""Sums over all paths by what they pass: a polynomial pass over a graph, never an enumeration.

Links of an acyclic graph carry a *degree* each (for edges between features: how many components
they pass). With `A_d[target, source]` the links of degree d, the paths of n links and degree k from
a start to a readout add up to

    G[n, k] = readout . coefficient of t^k in (sum over d of t^d A_d)^n start

The sum over all n and k is `readout . ((I - A)^-1 - I) start` (`theory.total_effects`): a path has
one link at least. With `|A_d|`, |start| and |readout| in their places it is the sum of the absolute
effects of all paths, which says where effects lie that cancel in the sum.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from scipy import sparse


def sums_by_degree(
    links: Mapping[int, sparse.csr_matrix],
    start: Float[np.ndarray, " n_node"],
    readout: Float[np.ndarray, " n_node"],
) -> Float[np.ndarray, "n_links_and_one degree"]:
    """`G[n, k]`: all paths of n links and of degree k, added up; the row of 0 links is 0.

    Args:
        links: by degree, `A_d[target, source]`, strictly lower triangular.
        start: what a path begins with at each node.
        readout: the weight of each node as an end.
    """
    most = max(links, default=0)
    here = {0: start.astype(np.float64)}
    rows: list[np.ndarray] = [np.zeros(1)]
    while here:
        following: dict[int, np.ndarray] = {}
        for done, values in here.items():
            for degree, matrix in links.items():
                moved: np.ndarray = matrix @ values
                if moved.any():
                    following.setdefault(done + degree, np.zeros_like(moved))
                    following[done + degree] += moved
        here = following
        row = np.zeros(1 + most * len(rows))
        for degree, values in here.items():
            row[degree] = readout @ values
        rows.append(row)
    table = np.zeros((len(rows), max(map(len, rows))))
    for number, row in enumerate(rows):
        table[number, : len(row)] = row
    return table
