"""What a circuit found this way does not show, in plain words, as far as its settings tell."""

from typing import Final

from saecircuits.circuits import Circuit
from saecircuits.validation import ValidationReport

_BASELINE: Final = {
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
_POSITIONS: Final = {
    "each": "Nodes are tied to token positions; prompts of another layout are not covered.",
    "span": (
        "Positions are pooled by named spans: a node is a feature anywhere in its span, and tokens "
        "within a span are not told apart."
    ),
    "sum": "Positions are pooled over the whole prompt: where a feature acts is not told.",
}
_ERRORS: Final = {
    "recompute": "a kept one passes on the error of the changed stream",
    "hold": "a kept one passes on its value on the clean prompt",
}


def _edges(report: ValidationReport | None) -> list[str]:
    found = None if report is None else report.faithfulness_of("edges")
    if found is None:
        return [
            "Ablation is of nodes. That the drawn edges by themselves carry the behaviour was not "
            "tested."
        ]
    return [
        "An edge is everything that passes from one node to another beside all others; edges that "
        "bring a node nothing on the training prompts were not drawn, and are cut in ablation."
    ]


def limit_points(
    circuit: Circuit, report: ValidationReport | None, *, has_labels: bool
) -> list[str]:
    """The limits, one or two sentences each."""
    settings = circuit.settings
    baseline = settings.baseline if report is None else report.baseline
    points = [
        _BASELINE[baseline],
        f"Error nodes are what the dictionaries leave out. They count as nodes ({circuit.n_errors} "
        f"of {circuit.size} here; {_ERRORS[settings.error_policy]}) and have no interpretation: "
        "what they carry is carried by something that these features do not name.",
        _POSITIONS[settings.positions],
        "Nodes are ranked one by one, by their estimated effect on the training prompts. Nodes "
        "that matter only together, or that stand in for each other, can be missed.",
        "Tokens stay clean in every ablation, and BOS and the dictionaries' biases are no nodes.",
        *_edges(report),
        "Faithfulness was measured on prompts like those that chose the circuit; it says nothing "
        "about other text.",
    ]
    if has_labels:
        points.append(
            "Labels are automatic where no author is named: the tokens on which a feature is "
            "strongest, in the text named below and in the task's prompts, and after the bar the "
            "token that it promotes directly, if one stands out. Nobody has looked at these."
        )
    return points
