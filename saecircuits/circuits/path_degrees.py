"""`path_degrees`: what all paths of a graph carry, by how many components and features they pass.

Paths are those of `paths`, by parts: a step is one component of an edge. All of them are counted,
by one pass over the cells of the graph (`theory.path_degrees`), so nothing depends on how many
paths somebody lists.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from saecircuits.circuits.paths import ends_of
from saecircuits.edges.graph import AttributionGraph
from saecircuits.edges.linear import UNSPLIT, linear_graph
from saecircuits.edges.parts import Part
from saecircuits.errors import InputError
from saecircuits.nodes.experiment import Experiment
from saecircuits.nodes.names import METRIC
from saecircuits.theory.path_degrees import sums_by_degree
from saecircuits.theory.total_effects import adjacency
from saecircuits.torch_state import in_own_state


@in_own_state
def path_degrees(
    graph: AttributionGraph,
    experiment: Experiment | None = None,
    *,
    source: str | Sequence[str] | None = None,
    target: str = METRIC,
) -> pd.DataFrame:
    """All paths through a graph's features, added up by degree.

    Returns:
        One row for each `degree` (components passed: heads, MLPs, skip weights) and number of
        `features` between the ends that some path has. `effect`: the sum of these paths' signed
        effects, which over all rows is `paths(graph).total`. `absolute`: the sum of the absolute
        effects of the same paths taken prompt by prompt and token by token, which do not cancel.
        Both are means over prompts, in logits (in units of the activation for paths to a
        feature), against the graph's baseline.

    Args:
        graph: from `attribute`, or read from disk; of its prompts, baseline, linearization and
            error policy, among the nodes that its edges join.
        experiment: as in `paths`.
        source: where paths begin, as in `paths`.
        target: where they end: the metric, or the id of a feature node.

    Raises:
        InputError: as `paths` by parts; or an edge whose components are not told apart all the way
            (`L1.H0>later`), so that its degree is not known.
        UnknownNameError: a node that does not exist.
    """
    linear = linear_graph(graph, experiment, is_split=True)
    pooled = linear.pooled
    start, readout, _ = ends_of(linear, graph, source=source, target=target)
    degrees = np.array([_degree(part) for part in linear.parts])
    by_entry = degrees[pooled.entry_link]
    sums = []
    for is_absolute in (False, True):
        change = np.abs if is_absolute else np.asarray
        weight = change(pooled.entry_weight)
        links = {
            int(degree): adjacency(
                pooled.entry_column[by_entry == degree],
                pooled.entry_row[by_entry == degree],
                weight[by_entry == degree],
                pooled.n_cell,
            )
            for degree in np.unique(by_entry)
        }
        sums.append(sums_by_degree(links, change(start), change(readout)))
    signed, absolute = sums
    n_links, degree = np.nonzero(absolute)
    return pd.DataFrame(
        {
            "degree": degree,
            "features": n_links - 1,
            "effect": signed[n_links, degree],
            "absolute": absolute[n_links, degree],
        }
    )


def _degree(part: str) -> int:
    if part == UNSPLIT:  # its effect is zero
        return 0
    degree = Part(part).degree
    if degree is None:
        raise InputError(
            f"an edge goes by {part!r}, whose components are not told apart, so its paths have no "
            "known degree; splice dictionaries at every residual site between its ends"
        )
    return degree
