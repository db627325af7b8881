"""What the choices of a run are called in its card: a table for each, with every choice in it."""

from collections.abc import Mapping
from typing import Final

from saecircuits.nodes.baselines import BaselineKind
from saecircuits.nodes.estimators import Estimator
from saecircuits.nodes.units import Positions
from saecircuits.splicing import ErrorPolicy, Linearization

BASELINES: Final[Mapping[BaselineKind, str]] = {
    "corrupted": "their values on the corrupted prompt",
    "mean": "their means over a reference set",
    "zero": "zero",
    "resample": "their values on another prompt, drawn at random",
}
# By text, as reports name their baseline.
BASELINE_LIMITS: Final[Mapping[str, str]] = {
    "corrupted": (
        "Only what differs between the clean and the corrupted prompt is explained. Whatever both "
        "share (that a word of this kind is due at all, say) stays in place under ablation and is "
        "no part of the circuit."
    ),
    "mean": (
        "Only what differs from the mean over the reference prompts is explained. Whatever these "
        "have in common stays in place under ablation and is no part of the circuit."
    ),
    "resample": (
        "Only what differs from prompt to prompt of the reference set is explained. Whatever these "
        "have in common stays in place under ablation and is no part of the circuit."
    ),
    "zero": (
        "Setting nodes to zero takes the model to states that no prompt leads to. Part of an "
        "effect may be damage rather than information."
    ),
}
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
ESTIMATORS: Final[Mapping[Estimator, str]] = {
    "gradient": "gradient",
    "integrated_gradients": "integrated gradients",
    "intervention": "intervention",
}
LINEARIZATIONS: Final[Mapping[Linearization, str]] = {
    "full": "full linearization",
    "frozen": "frozen linearization",
    "secant": "secant linearization",
}
