"""What the choices of a run are called in its card: a table for each, with every choice in it."""

from collections.abc import Mapping
from typing import Final

from saecircuits.nodes.units import Positions
from saecircuits.splicing import ErrorPolicy, Linearization

POSITION_LIMITS: Final[Mapping[Positions, str]] = {
    "each": "Nodes are tied to token positions; prompts of another layout are not covered.",
    "span": (
        "Positions are pooled by named spans: a node is a feature anywhere in its span, and tokens "
        "within a span are not told apart."
    ),
    "sum": "Positions are pooled over the whole prompt: where a feature acts is not told.",
}
KEPT_ERRORS: Final[Mapping[ErrorPolicy, str]] = {
    "recompute": "a kept one passes on the error of the changed stream",
    "hold": "a kept one passes on its value on the clean prompt",
}
LINEARIZATIONS: Final[Mapping[Linearization, str]] = {
    "full": "full linearization",
    "frozen": "frozen linearization",
    "secant": "secant linearization",
}
