"""Exchange: what members add against what outsiders would, until no fewer nodes will do.

What a node adds depends on which others are kept: effects are measured in the whole model, masks
are learned among half-kept nodes. Here nodes are ranked by what they add to the circuit itself.

1. `adds`: what every node adds to the circuit at hand, to first order (`soft_ablation.Marginals`).
2. A node's score is the running mean of what it added to the circuits met so far.
3. The next circuit is a prefix of all nodes by score: as long as the smallest found so far, then
   shorter while it reaches what is wanted, or longer until it does; measured by node ablation.
4. Again from 1, until `patience` circuits in a row were no smaller (and, of equal size, no more
   faithful) than the best.

At a circuit that stays, no member adds less than an outsider would: no exchange looks better to
first order. Nothing is proved about exchanges of several nodes that only help together.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

PATIENCE: Final = 8
# A circuit that cannot be reached with half as many nodes again is no step towards a smaller one.
_LONGEST: Final = 1.5
# The least weight of the newest circuit in the running mean.
_NEWEST: Final = 0.1


def exchanged(
    members: Sequence[str],
    wanted: float,
    *,
    adds: Callable[[Sequence[str]], Mapping[str, float]],
    measure: Callable[[Sequence[str]], float],
    patience: int = PATIENCE,
) -> list[str]:
    """The smallest circuit met that reaches `wanted`, and of equal ones the most faithful.

    Never larger than `members`; it holds whenever they do that `measure` of it reaches `wanted`.

    Args:
        members: a set that reaches `wanted`.
        adds: from a circuit to what each node that may be kept adds to it, to first order.
        measure: faithfulness of a set of nodes.
    """
    best, reached = list(members), measure(members)
    score = dict(adds(best))
    met, idle = 1, 0
    while idle < patience:
        order = sorted(score, key=lambda node: -score[node])
        circuit, faithful = _prefix_near(order, len(best), wanted, measure)
        is_better = faithful >= wanted and (len(circuit), -faithful) < (len(best), -reached)
        if is_better:
            best, reached = circuit, faithful
        idle = 0 if is_better else idle + 1
        met += 1
        weight = max(_NEWEST, 1 / met)
        for node, added in adds(circuit).items():
            score[node] += weight * (added - score[node])
    return best


def _prefix_near(
    order: Sequence[str], length: int, wanted: float, measure: Callable[[Sequence[str]], float]
) -> tuple[list[str], float]:
    """A prefix near this length that reaches `wanted`, or the longest tried; and its measure."""
    found = measure(order[:length])
    if found >= wanted:
        while length > 1 and (shorter := measure(order[: length - 1])) >= wanted:
            length, found = length - 1, shorter
        return list(order[:length]), found
    longest, step = min(len(order), int(length * _LONGEST)), 1
    while not found >= wanted and length < longest:
        length, step = min(longest, length + step), min(8, 2 * step)
        found = measure(order[:length])
    return list(order[:length]), found
