"""What validation found, as one frozen value; `validation.json` has the same keys."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import pandas as pd


@dataclass(frozen=True, eq=False)
class ValidationReport:
    """Faithfulness of a circuit on prompts that did not choose it, and what to hold against it.

    All figures are from node ablation with everything downstream recomputed; intervals are 95%
    bootstrap intervals over prompts.

    Attributes:
        ablate: what was ablated: `nodes`.
        baseline: what ablated nodes were set to.
        error_policy: what became of kept error nodes.
        prompts: how many prompts.
        nodes: members of the circuit (features and error nodes).
        errors: how many of them are error nodes.
        metric_clean: mean metric with every node kept, in logits.
        metric_baseline: mean metric with every node at its baseline.
        faithfulness: `(m(S) - m(empty)) / (m(all) - m(empty))`.
        completeness: faithfulness of every node outside the circuit; near 0 if nothing is missed.
        faithfulness_without_errors: the circuit with all error nodes at their baseline.
        all_features_without_errors: every feature kept, all error nodes at their baseline: what
            the dictionaries by themselves can carry.
        error_share: share of the circuit's faithfulness that goes with its error nodes; None where
            the circuit has no faithfulness to share.
        random: random circuits of the same size and layer profile: count, median, low (2.5%),
            high (97.5%), values.
        curve: over sizes, along the circuit's own ranking: nodes, faithfulness, its interval, and
            faithfulness_without_errors.
        accuracy: share of prompts with the right answer above the wrong one: clean, circuit.
        calibration: how well estimated effects follow measured ones, for nodes and for edges; None
            where it was not measured.
    """

    ablate: str
    baseline: str
    error_policy: str
    prompts: int
    nodes: int
    errors: int
    metric_clean: float
    metric_baseline: float
    faithfulness: float
    faithfulness_low: float
    faithfulness_high: float
    completeness: float
    faithfulness_without_errors: float
    all_features_without_errors: float
    error_share: float | None
    random: Mapping[str, Any]
    curve: pd.DataFrame
    accuracy: Mapping[str, float]
    calibration: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values by name, the curve as a list of rows."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**values, "curve": self.curve.to_dict(orient="records")}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ValidationReport":
        """The inverse of `to_json`."""
        return cls(**{**values, "curve": pd.DataFrame(values["curve"])})
