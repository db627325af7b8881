"""Ways to choose a circuit's nodes: an order of all nodes, and the smallest part that will do.

    effect   by |effect|, as estimated: what a threshold on effects keeps
    signed   by effect with its sign, so that nodes which work against the metric come last
    paths    as the strongest paths through the graph come to them (`paths`); the rest by |effect|
    greedy   by |effect| to twice what is needed; then again and again by what each member is
             measured to add, until no fewer will do
    masks    by learned masks (`masks`), or by |effect| if that needs fewer; then the exact check:
             exchange of members for outsiders (`exchange`), and what each member is measured
             to add, as `greedy`

Whatever the order, the circuit is its smallest tried prefix (`smallest_prefix`) with the wanted
faithfulness, measured by node ablation on the graph's own prompts. By node ablation is by edge
ablation of all edges between them.
"""

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

from saecircuits.circuits.exchange import exchanged
from saecircuits.circuits.masks import rank_by_masks
from saecircuits.circuits.paths import paths
from saecircuits.circuits.soft_ablation import Marginals
from saecircuits.edges.graph import AttributionGraph
from saecircuits.nodes.experiment import Experiment

Method: TypeAlias = Literal["effect", "signed", "paths", "greedy", "masks"]
_PATHS = 1000


def smallest_prefix(
    ranked: Sequence[str], wanted: float, measure: Callable[[Sequence[str]], float]
) -> int | None:
    """The smallest tried length of a prefix of `ranked` whose measure reaches `wanted`, or None.

    Lengths grow by 1.25 until one reaches it; the gap to the last one that did not is then halved
    until it closes. The measure need not be monotone: the result reaches `wanted`, and the prefix
    one shorter was found not to, but a much shorter one might.
    """
    below, length = 0, 1
    while not measure(ranked[:length]) >= wanted:  # so written that NaN reaches nothing
        if length >= len(ranked):
            return None
        below, length = length, min(len(ranked), max(length + 1, int(length * 1.25)))
    while length - below > 1:
        middle = (below + length) // 2
        if measure(ranked[:middle]) >= wanted:
            length = middle
        else:
            below = middle
    return length


def by_paths(graph: AttributionGraph, ranked: Sequence[str], experiment: Experiment) -> list[str]:
    """The nodes in the order in which the strongest paths meet them, and then as ranked."""
    found = paths(graph, experiment, k=_PATHS)
    met = dict.fromkeys(node for way in found.table["nodes"] for node in way)
    known = set(ranked)
    return list(dict.fromkeys([*(node for node in met if node in known), *ranked]))


def greedily(ranked: Sequence[str], wanted: float, experiment: Experiment) -> list[str] | None:
    """What is left of twice the smallest prefix when members that add least have gone."""
    count = smallest_prefix(ranked, wanted, experiment.faithfulness)
    if count is None:
        return None
    wide = list(ranked[: 2 * count])
    start = wide if experiment.faithfulness(wide) >= wanted else list(ranked[:count])
    return thinned(start, wanted, experiment)


def by_masks(ranked: Sequence[str], wanted: float, experiment: Experiment) -> list[str] | None:
    """The smallest prefix by learned masks, searched on for smaller ones (`refined`).

    Where the masks' is no shorter than that of `ranked`, the search begins there.
    """
    prefixes = [
        order[:count]
        for order in (rank_by_masks(experiment, ranked, wanted), list(ranked))
        if (count := smallest_prefix(order, wanted, experiment.faithfulness)) is not None
    ]
    return refined(min(prefixes, key=len), ranked, wanted, experiment) if prefixes else None


def refined(
    members: Sequence[str], ranked: Sequence[str], wanted: float, experiment: Experiment
) -> list[str]:
    """Members exchanged for outsiders while fewer do (`exchange`), and then `thinned`.

    Never more nodes than it was given.

    Args:
        members: a set that reaches `wanted`.
        ranked: all nodes that may be kept.
    """
    adds = Marginals(experiment, ranked).of
    found = exchanged(members, wanted, adds=adds, measure=experiment.faithfulness)
    return thinned(found, wanted, experiment)


def thinned(members: Sequence[str], wanted: float, experiment: Experiment) -> list[str]:
    """Members by what each is measured to add, cut where the rest will do; again until none goes.

    Args:
        members: a set that reaches `wanted`.
    """
    kept = list(members)
    while True:
        whole = experiment.faithfulness(kept)
        without = experiment.faithfulness_of([[n for n in kept if n != gone] for gone in kept])
        adds = dict(zip(kept, (whole - less for less in without), strict=True))
        order = sorted(kept, key=lambda node: -adds[node])
        count = smallest_prefix(order, wanted, experiment.faithfulness)
        if count is None or count >= len(kept):
            return kept
        kept = order[:count]
