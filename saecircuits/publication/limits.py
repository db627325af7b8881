"""What a circuit found this way does not show, in plain words, as far as its settings tell."""

from saecircuits.circuits import Circuit
from saecircuits.nodes.baselines import told
from saecircuits.publication.words import KEPT_ERRORS, POSITION_LIMITS
from saecircuits.tasks.prepending import recorded
from saecircuits.validation import ValidationReport


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


def _in_front(circuit: Circuit) -> str:
    front = recorded(circuit.provenance)
    if front is None or front.is_own:
        return "BOS and "
    return f"the {front.name} in front of every prompt and " if front.width else ""


def limit_points(
    circuit: Circuit, report: ValidationReport | None, *, has_labels: bool
) -> list[str]:
    """The limits, one or two sentences each."""
    settings = circuit.settings
    baseline = settings.baseline if report is None else report.baseline
    points = [
        told(baseline).limit,
        f"Error nodes are what the dictionaries leave out. They count as nodes ({circuit.n_errors} "
        f"of {circuit.size} here; {KEPT_ERRORS[settings.error_policy]}) and have no "
        "interpretation: what they carry is carried by something that these features do not name.",
        POSITION_LIMITS[settings.positions],
        "Nodes are ranked one by one, by their estimated effect on the training prompts. Nodes "
        "that matter only together, or that stand in for each other, can be missed.",
        "Tokens stay clean in every ablation, and "
        f"{_in_front(circuit)}the dictionaries' biases are no nodes.",
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
