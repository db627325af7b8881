"""What a card says of the dictionaries: how well they describe the model on the task's prompts."""

from saecircuits.circuits import Circuit
from saecircuits.features.texts import NOT_STATED
from saecircuits.publication.markdown import code, table


def fit_section(circuit: Circuit) -> list[str]:
    """A table of the fit, and whose features have signs; each where there is anything to say."""
    return [*_fitted(circuit), *_signed(circuit)]


def _signed(circuit: Circuit) -> list[str]:
    signed = circuit.provenance.get("signed")
    if not signed:
        return []
    return [
        f"Features of {', '.join(map(code, signed))} have signs: they are active where they are "
        "not 0, and a negative one writes the opposite of its direction."
    ]


def _fitted(circuit: Circuit) -> list[str]:
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
