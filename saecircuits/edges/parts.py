"""The components that carry an edge, and what they are called.

residual        nothing is passed: what one site writes the other reads in the same stream
L3.H5           a head, from its source's token to its target's
L3.MLP          an MLP, at one token
L3.H5>L3.MLP    one after the other, the earlier first
L1.skip         the skip weights of a transcoder
L1.H0>later     everything between an attention layer that was passed densely and the target,
                which is told apart no further
threshold       what all of these together do not say: the target falls below its threshold
                (`edges.thresholds`)
"""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

RESIDUAL: Final = "residual"
LATER: Final = "later"
THRESHOLD: Final = "threshold"
# Stands for the number of a head in a name that is the same for all heads of a layer.
HEADS: Final = "H*"

Through: TypeAlias = Literal["", "value", "key", "query"]


@dataclass(frozen=True)
class Part:
    """A component, or components passed in turn, and how a head passes the edge on.

    Attributes:
        through: what of a head depends on the source: its values, or, where patterns move, its
            pattern by way of keys or queries. Empty for what is no head.
    """

    name: str
    through: Through = ""

    @property
    def degree(self) -> int | None:
        """How many components are passed; None where not all of them are told apart."""
        if self.name == RESIDUAL:
            return 0
        names = self.name.split(">")
        return None if LATER in names or self.name == THRESHOLD else len(names)


def head_parts(name: str, n_head: int, *, is_held: bool) -> list[Part]:
    """The parts of a layer's heads: values, then keys, then queries, each head by head."""
    ways: tuple[Through, ...] = ("value",) if is_held else ("value", "key", "query")
    return [Part(name.replace(HEADS, f"H{head}", 1), way) for way in ways for head in range(n_head)]
