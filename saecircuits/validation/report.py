"""What validation found, as one frozen value; `validation.json` has the same keys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import pandas as pd

from saecircuits.nodes.baselines import BaselineKind

_TABLES = ("curve", "ablations")


@dataclass(frozen=True, eq=False)
class ValidationReport:
    """Faithfulness of a circuit on prompts that did not choose it, and what to hold against it.

    Everything downstream of what is ablated is recomputed; intervals are 95% bootstrap intervals
    over prompts. Under `ablate="edges"` the circuit is its edges, and a size is a number of edges.

    Attributes:
        ablate: what all figures but `ablations` speak of: `nodes` or `edges`.
        baseline: what ablated nodes were set to.
        error_policy: what became of kept error nodes.
        prompts: how many prompts.
        nodes: members of the circuit (features and error nodes).
        errors: how many of them are error nodes.
        metric_clean: mean metric with every node kept, in logits.
        metric_baseline: mean metric with every node at its baseline.
        faithfulness: `(m(S) - m(empty)) / (m(all) - m(empty))`.
        completeness: faithfulness of every node (edge) outside the circuit; near 0 if nothing is
            missed.
        faithfulness_without_errors: the circuit with all error nodes at their baseline.
        all_features_without_errors: every feature kept, all error nodes at their baseline: what
            the dictionaries by themselves can carry.
        error_share: share of the circuit's faithfulness that goes with its error nodes; None where
            the circuit has no faithfulness to share.
        random: random circuits of the same size and layer profile: count, median, low (2.5%),
            high (97.5%), values.
        curve: over sizes, along the circuit's own ranking: nodes, faithfulness, its interval, and
            faithfulness_without_errors; and `edges`, where these were ablated.
        accuracy: share of prompts with the right answer above the wrong one: clean, circuit.
        calibration: how well estimated effects follow measured ones, for nodes and for edges; None
            where it was not measured.
        edges: how many edges the circuit has.
        ablations: node and edge faithfulness side by side, for every baseline asked for: baseline,
            ablate, faithfulness, its interval, metric_baseline, and the divergence
            KL(model || circuit) of the next token's distribution, in nats, mean over prompts.
        areas: `cpr`, the mean of the faithfulness curve over fractions of the ranking from 0.001
            to 1, and `cmd`, the mean of its distance from 1, by the trapezoid rule; `fractions`,
            the `sizes` that they come to, and `faithfulness` at these. MIB's (Mueller et al. 2025)
            are the integrals over that range: 0.999 times these.
        minimality: the `least` drop of faithfulness when one member goes, the `node`, and all
            `drops`, node by node from the least; None where it was not measured.
        groups: for each group of members that was asked for, its `nodes`, the `drop` of
            faithfulness when they all go, and its interval (`low`, `high`); None where none was.
    """

    ablate: str
    baseline: BaselineKind
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
    edges: int | None = None
    ablations: pd.DataFrame | None = None
    areas: Mapping[str, Any] | None = None
    minimality: Mapping[str, Any] | None = None
    groups: Sequence[Mapping[str, Any]] | None = None

    def faithfulness_of(self, ablate: str, baseline: str | None = None) -> float | None:
        """Node or edge faithfulness under a baseline (the report's own if None), if measured."""
        if self.ablations is None:
            return self.faithfulness if ablate == self.ablate and baseline is None else None
        rows = self.ablations
        is_wanted = rows["baseline"] == (self.baseline if baseline is None else baseline)
        found = rows.loc[is_wanted & (rows["ablate"] == ablate), "faithfulness"]
        return float(found.iloc[0]) if len(found) else None

    def spread(self, ablate: str = "nodes") -> tuple[float, float] | None:
        """The lowest and highest faithfulness over the baselines; None if it was not measured."""
        if self.ablations is None:
            return None
        found = self.ablations.loc[self.ablations["ablate"] == ablate, "faithfulness"]
        return (float(found.min()), float(found.max())) if len(found) else None

    def to_json(self) -> dict[str, Any]:
        """Plain values by name, tables as lists of rows."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        tables = {
            name: None if values[name] is None else values[name].to_dict(orient="records")
            for name in _TABLES
        }
        return {**values, **tables}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ValidationReport":
        """The inverse of `to_json`."""
        tables = {
            name: None if values[name] is None else pd.DataFrame(values[name])
            for name in _TABLES
            if name in values
        }
        return cls(**{**values, **tables})
