"""The card's section on how sure its figures are: intervals, what was left out, calibration."""

from collections.abc import Mapping
from typing import Any

from saecircuits.circuits import Circuit
from saecircuits.publication.markdown import table
from saecircuits.publication.words import LINEARIZATIONS
from saecircuits.runs.phrases import decimal
from saecircuits.shown_text import visible
from saecircuits.validation import ValidationReport

_HEADER = ("estimated against measured", "sample", "Pearson", "Spearman", "same sign", "error")


def certainty(circuit: Circuit, report: ValidationReport | None) -> str:
    """What is known about how far the circuit's estimates can be trusted."""
    settings, summary = circuit.settings, circuit.summary
    share = summary.get("edge_nodes_share_of_effect")
    lines = [
        "Intervals are 95% bootstrap intervals over prompts.",
        "*Sign held*: of the prompts on which the effect is not zero, the share on which it has "
        "the sign of the mean.",
        f"Effects are estimates ({settings.chosen_estimator.description}, "
        f"{LINEARIZATIONS[settings.linearization]}"
        f"{'; edges cross thresholds' if settings.crosses_thresholds else ''}).",
    ]
    if share is not None:
        lines.append(
            f"Edges were computed among {summary['edge_nodes']} nodes, which carry "
            f"{share:.0%} of the summed |effect| of all nodes."
        )
    if settings.target_threshold > 0:
        lines.append(
            "Edges into nodes with an |effect| under "
            f"{settings.target_threshold:g} logits were not computed."
        )
    computed, kept = summary.get("edges_computed", 0), settings.max_edges
    if computed > kept:
        lines.append(
            f"Of {computed:,} edges the strongest {kept:,} were kept, which carry "
            f"{summary['edges_kept_share_of_effect']:.1%} of their summed |effect|."
        )
    calibration = report.calibration if report is not None else None
    if calibration is None:
        return " ".join([*lines, "How well they follow measured effects was not measured."])
    rows = [(what, *_row(calibration[what])) for what in ("nodes", "edges")]
    note = (
        "The sample has as many from every decade of |effect| below the largest; the error is the "
        "sum of what estimates miss over the sum of what was measured, both in absolute values."
    )
    warned = [visible(warning["text"]) for warning in calibration.get("warnings", ())]
    return "\n\n".join(
        [" ".join(lines), table(_HEADER, rows, numbers=len(_HEADER) - 1), " ".join([note, *warned])]
    )


def _row(found: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        str(found["sample"]),
        decimal(found["pearson"]) + _interval_of(found, "pearson"),
        decimal(found["spearman"]) + _interval_of(found, "spearman"),
        _percent(found.get("sign_agreement")) + _interval_of(found, "sign_agreement"),
        _percent(found.get("error")),
    )


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _interval_of(found: Mapping[str, Any], name: str) -> str:
    low, high = found.get(f"{name}_low"), found.get(f"{name}_high")
    return "" if low is None or high is None else f" [{low:.2f}, {high:.2f}]"
