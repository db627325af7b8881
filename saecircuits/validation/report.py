"""What validation found, as one frozen value: `validation.json` holds it key by key."""

from typing import Annotated, Literal

import pandas as pd
from typing_extensions import NotRequired, TypedDict

from saecircuits.schema import Cell, Count, Findings, Number, RowsOf


class CurveRow(TypedDict):
    """Faithfulness of the strongest `nodes` members of the ranking (of so many `edges`)."""

    nodes: Count
    faithfulness: Cell
    faithfulness_low: Cell
    faithfulness_high: Cell
    faithfulness_without_errors: Cell
    edges: NotRequired[Count | None]


class AblationRow(TypedDict):
    """The circuit by itself, by nodes or by edges, under one baseline."""

    baseline: str
    ablate: str
    faithfulness: Cell
    faithfulness_low: Cell
    faithfulness_high: Cell
    metric_baseline: Cell
    accuracy: Cell
    divergence: Cell


class Areas(TypedDict):
    """CPR and CMD, and the curve that they are of."""

    cpr: Number
    cmd: Number
    fractions: list[float]
    sizes: list[int]
    faithfulness: list[Number]


class NodeDrop(TypedDict):
    """What faithfulness loses without one member."""

    node: str
    drop: Cell


class Minimality(TypedDict):
    """The least drop, and all."""

    least: Number
    node: str | None
    drops: list[NodeDrop]


class GroupDrop(TypedDict):
    """What faithfulness loses without a group of members, with its interval."""

    nodes: list[str]
    drop: Cell
    low: Cell
    high: Cell


class RandomCircuits(TypedDict):
    """Faithfulness of random circuits; `size` is left out where it is the circuit's own."""

    size: NotRequired[Count | None]
    count: Count
    median: Number
    low: Number
    high: Number
    values: list[float]


class PlainAgreement(TypedDict):
    """Estimated against measured effects over some members of a sample."""

    sample: Count
    pearson: Number
    spearman: Number
    sign_agreement: NotRequired[Number]
    error: NotRequired[Number]


class StratumAgreement(PlainAgreement):
    """Members whose |effect| is at least this share of the largest, and in no stratum before."""

    least: float


class LayerAgreement(PlainAgreement):
    """Members of one layer; -1 for edges from tokens."""

    layer: int


class Agreement(PlainAgreement):
    """The same over the whole sample, with 95% intervals."""

    pearson_low: NotRequired[Number]
    pearson_high: NotRequired[Number]
    spearman_low: Number
    spearman_high: Number
    sign_agreement_low: NotRequired[Number]
    sign_agreement_high: NotRequired[Number]
    estimated: NotRequired[list[float]]
    measured: NotRequired[list[float]]
    strata: NotRequired[list[StratumAgreement]]
    layers: NotRequired[list[LayerAgreement]]


class CalibrationWarning(LayerAgreement):
    """A layer whose estimates do not follow what was measured, and what makes them miss.

    `cause` is the non-linearity that does most (None where none was found), `share` its share of
    what all kinds of non-linearity do, `text` the same in a sentence or two.
    """

    of: Literal["nodes", "edges"]
    cause: str | None
    share: Number
    text: str


class Calibration(TypedDict):
    """Agreement for nodes and edges, and which of the two node effects was measured."""

    against: NotRequired[str | None]
    nodes: Agreement
    edges: Agreement
    warnings: NotRequired[list[CalibrationWarning]]


class ValidationReport(Findings):
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
        error_share: share of the circuit's faithfulness that goes with its error nodes; None, not
            defined, where faithfulness is under 0.1 or its interval reaches 0.
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
    baseline: str
    error_policy: str
    prompts: Count
    nodes: Count
    errors: Count
    metric_clean: Cell
    metric_baseline: Cell
    faithfulness: Cell
    faithfulness_low: Cell
    faithfulness_high: Cell
    completeness: Cell
    faithfulness_without_errors: Cell
    all_features_without_errors: Cell
    error_share: Number
    random: RandomCircuits
    curve: Annotated[pd.DataFrame, RowsOf(CurveRow)]
    accuracy: dict[str, Cell]
    calibration: Calibration | None = None
    edges: Count | None = None
    ablations: Annotated[pd.DataFrame, RowsOf(AblationRow)] | None = None
    areas: Areas | None = None
    minimality: Minimality | None = None
    groups: list[GroupDrop] | None = None

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
