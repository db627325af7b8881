"""What a card says of the dictionaries: how well they describe the model on the task's prompts."""

from saecircuits.circuits import Circuit
from saecircuits.features.texts import NOT_STATED
from saecircuits.publication.markdown import code, table


def fit_section(circuit: Circuit) -> list[str]:
    """A sentence and a table; nothing for a circuit whose dictionaries were not measured."""
    fits = circuit.summary.get("fit")
    if not fits:
        return []
    rows = [
        (
            code(fit["site"]),
            f"{fit['variance_explained']:.3f}",
            _stated(fit["stated_variance_explained"], 3),
            f"{fit['l0']:.1f}",
            _stated(fit["stated_l0"], 1),
        )
        for fit in fits
    ]
    heads = ("dictionary", "variance explained", "as its source says", "L0", "as its source says")
    return [
        f"How well the dictionaries describe the model, on {fits[0]['tokens']} tokens of the "
        f"training prompts:\n\n{table(heads, rows)}"
    ]


def _stated(value: float | None, digits: int) -> str:
    return NOT_STATED if value is None else f"{value:.{digits}f}"
