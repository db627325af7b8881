"""Which components carry an edge, in words.

Shares are of the edge's effect: over all components they add up to 100%, and one that works against
the others has a negative share.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from saecircuits.edges.columns import Row
from saecircuits.edges.parts import LATER, THRESHOLD
from saecircuits.publication.markdown import code

_LISTED: Final = 3
_PART_LISTED: Final = 0.1  # of the edge
_WAY_LISTED: Final = 0.2  # of the head's part
_ROUNDED: Final = 0.005
_WAYS: Final = ("value", "key", "query")


def through_phrase(parts: Sequence[Row], effect: float) -> str:
    """Such as "`L2.H0` 58% (value 37%, key 22%), `residual` 41%", as Markdown.

    The largest component, and up to two others with a share of at least 10%. Of a head, what
    carries at least a fifth of its part; without a share where that is one thing alone.

    Args:
        parts: of one edge; rows of `AttributionGraph.edge_parts`.
        effect: of the edge.
    """
    if not parts or effect == 0:  # of parts that cancel there are no shares
        return ""
    by_name = {part["part"]: part for part in parts}
    shares = {name: part["effect"] / effect for name, part in by_name.items()}
    return ", ".join(
        f"{code(name)}{_share(shares[name])}{_ways(by_name[name], effect)}"
        for name in _largest(shares, least=_PART_LISTED)
    )


def through_note(parts: Sequence[str]) -> str:
    """What the phrases mean.

    Args:
        parts: names of all components that are shown.
    """
    note = (
        "\u201cThrough\u201d names the components that carry most of an edge, with their shares "
        "in its effect; over all its components these add up to 100%, and a negative one works "
        "against the rest. `residual` is the residual stream, with nothing between; `L2.H0` is "
        "head 0 of block 2 and `L2.MLP` that block's MLP; `L2.H0>L2.MLP` is the one and then the "
        "other. A head passes an edge on by its `value`, what it copies from one token to another, "
        "or by its `key` or `query`: the source changes where the head looks."
    )
    if any(LATER in name.split(">") for name in parts):
        note += f" `{LATER}` stands for all that comes behind a layer, not told apart."
    if THRESHOLD in parts:
        note += (
            f" `{THRESHOLD}` is what the target's threshold adds to the others, which hold every "
            "gate, or takes from them: a feature goes off or wakes up when the source goes."
        )
    return note


def _ways(part: Row, effect: float) -> str:
    """What of a head carries its part; nothing where there is no head."""
    shares = {way: part[way] / effect for way in _WAYS if not math.isnan(part[way])}
    if not shares:
        return ""
    listed = _largest(shares, least=_WAY_LISTED * sum(map(abs, shares.values())))
    if len(listed) == 1:
        return f" ({listed[0]})"
    return f" ({', '.join(f'{way}{_share(shares[way])}' for way in listed)})"


def _largest(shares: Mapping[str, float], *, least: float) -> list[str]:
    first, *others = sorted(shares, key=lambda name: -abs(shares[name]))[:_LISTED]
    return [first, *(name for name in others if abs(shares[name]) >= least)]


def _share(share: float) -> str:
    """Nothing for the whole."""
    if abs(share - 1) < _ROUNDED:
        return ""
    sign = "\u2212" if share < 0 else ""
    return f" {sign}{abs(share):.0%}"
