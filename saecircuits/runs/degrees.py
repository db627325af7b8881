"""`degrees.json`: the task's metric by degree, as the page draws it."""

from pathlib import Path
from typing import Final, Literal

import numpy as np

from saecircuits.expansion.metric_degrees import metric_degrees
from saecircuits.nodes.effects import bootstrap_interval
from saecircuits.runs.folder import DEGREES
from saecircuits.runs.opening import remove_files
from saecircuits.runs.storage import read_json, to_json, write_bytes
from saecircuits.schema import FORMAT, Count, Number, Record
from saecircuits.splicing import SplicedModel
from saecircuits.splicing.anatomy import NotCoveredError
from saecircuits.tasks import Task

PROMPTS: Final = 16
NOTE: Final = (
    "Exact for each prompt's frozen operator (attention patterns, norm scales and secant gates "
    "held at their values there), and of the whole model, not of the circuit. Degrees may have "
    "opposite signs: a sum that stops early is no estimate."
)


class DegreeRow(Record):
    """Paths that pass `degree` components.

    Attributes:
        paths: how many there are, an attention layer being one component, as an MLP is.
        effect: what they give to the metric, mean over prompts, in logits.
        effect_low, effect_high: 95% bootstrap interval over prompts; None for a single one.
        share: of the sum over degrees of |effect| of each prompt, mean over prompts; the constant
            is no degree.
    """

    degree: Count
    paths: Count
    effect: float
    effect_low: Number
    effect_high: Number
    share: float


class DegreesRecord(Record):
    """The metric on clean training prompts by degree, means over prompts, in logits.

    Attributes:
        operator: what was expanded; see `MetricDegrees`.
        prompts: how many, the first of the training prompts.
        prompts_digest: of all training prompts, as in `circuit.json`.
        value: the metric on these prompts, before any soft-cap: the sum of `effect` and `constant`.
        note: what the figures are and are not, in words.
    """

    format: Literal["saecircuits/1"] = FORMAT
    operator: str
    unit: Literal["logits"] = "logits"
    prompts: Count
    prompts_digest: str
    value: float
    constant: float
    degrees: tuple[DegreeRow, ...]
    note: str


def degrees_of(model: SplicedModel, task: Task) -> DegreesRecord | None:
    """The metric by degree on the first training prompts; None for a model that is not covered."""
    chosen = task.train.subset(range(min(PROMPTS, len(task.train))))
    try:
        found = metric_degrees(model, chosen)
    except NotCoveredError:
        return None
    terms = found.terms.double().numpy()
    sizes = np.abs(terms)
    shares = (sizes / np.maximum(sizes.sum(1, keepdims=True), np.finfo(float).tiny)).mean(0)
    low, high = bootstrap_interval(terms)
    rows = zip(found.paths, terms.mean(0), low, high, shares, strict=True)
    return DegreesRecord(
        operator=found.operator,
        prompts=len(chosen),
        prompts_digest=task.train.digest,
        value=_digits(float(found.value.double().mean())),
        constant=_digits(float(found.constant.double().mean())),
        degrees=tuple(
            DegreeRow(
                degree=degree,
                paths=paths,
                effect=_digits(mean),
                effect_low=None if np.isnan(below) else _digits(below),
                effect_high=None if np.isnan(above) else _digits(above),
                share=_digits(share),
            )
            for degree, (paths, mean, below, above, share) in enumerate(rows)
        ),
        note=NOTE,
    )


def write_degrees(folder: Path, degrees: DegreesRecord | None) -> None:
    """Writes `degrees.json`, or removes what is there if there is none to write.

    Raises:
        RunFolderError: the folder cannot be written to.
    """
    if degrees is None:
        remove_files(folder, [DEGREES])
    else:
        write_bytes(folder / DEGREES, to_json(degrees))


def read_degrees(folder: str | Path) -> DegreesRecord | None:
    """The metric by degree of a run; None if it has none.

    Raises:
        RunFolderError: half-written, or with unknown keys.
    """
    path = Path(folder) / DEGREES
    return read_json(path, DegreesRecord) if path.exists() else None


def _digits(value: float) -> float:
    return float(f"{value:.6g}")
