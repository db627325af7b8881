"""Sentences that commands, picture, page and card share."""

import math
from collections.abc import Mapping
from typing import Any, Final

from saecircuits.edges.graph_scores import GraphScores
from saecircuits.runs.records import Example
from saecircuits.shown_text import shortened
from saecircuits.validation import ValidationReport

# Why scores and error share are two things.
SCORES_NOTE: Final = (
    "The share carried by error nodes is measured by ablating them while the circuit's features "
    "stay and can make up for them; the scores follow ways through the graph from the tokens, to "
    "first order, and a way that meets an error node anywhere does not count as the features'."
)


def score_rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a graph's scores are called, and their values; nothing for one without scores."""
    scores = GraphScores.of(summary)
    if scores is None:
        return []
    share = _with_interval(
        scores.features_share, scores.features_share_low, scores.features_share_high
    )
    rows = [
        (
            "replacement score (of influence)",
            _with_interval(scores.replacement, scores.replacement_low, scores.replacement_high),
        ),
        (
            "completeness score (of inputs)",
            _with_interval(scores.completeness, scores.completeness_low, scores.completeness_high),
        ),
    ]
    if scores.tokens is not None and scores.by_features is not None:
        logits = f"{effect_number(scores.by_features)} of {effect_number(scores.tokens)} logits"
        rows.append(("linear effect by features alone", f"{share}: {logits}"))
    return rows


def _with_interval(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "not defined"
    ends = "" if low is None or high is None else interval(low, high)
    return f"{value:.3f}{ends}"


def effect_number(value: float) -> str:
    """A signed effect with about three digits."""
    size = abs(value)
    if size < 5e-4:
        return "0"
    shown = f"{size:.1f}" if size >= 10 else f"{size:.2f}" if size >= 0.095 else f"{size:.1g}"
    return f"+{shown}" if value >= 0 else f"\u2212{shown}"


def quoted(token: str) -> str:
    """A prompt or token in quotation marks, its spaces kept."""
    return f"\u201c{token}\u201d"


def pair_phrase(example: Example, *, longest: int | None = None) -> str:
    """The prompt pair and what should follow.

    Args:
        longest: characters of a prompt that are shown; None for all.
    """
    clean, corrupted = (
        quoted(text if longest is None else shortened(text, longest))
        for text in (example.clean, example.corrupted)
    )
    answer, wrong = (
        " or ".join(quoted(token) for token in tokens) for tokens in (example.answer, example.wrong)
    )
    return f"Example: {clean} \u2192 {answer}; corrupted: {corrupted} \u2192 {wrong}."


def interval(low: float, high: float) -> str:
    """An interval in brackets; empty where there is none."""
    return "" if low != low else f" [{low:.2f}, {high:.2f}]"


def faithfulness_phrase(report: ValidationReport | None) -> str:
    """What ablation found, in one line."""
    if report is None:
        return "Not validated: no faithfulness was measured."
    spread = interval(report.faithfulness_low, report.faithfulness_high)
    random = report.random.get("median")
    others = "" if random is None else f"; random circuits of this size {random:.2f} (median)"
    return (
        f"Faithfulness {report.faithfulness:.2f}{spread} on {report.prompts} held-out prompts "
        f"(all other nodes at their {report.baseline} baseline); "
        f"{report.faithfulness_without_errors:.2f} with every error node at its baseline too"
        f"{others}."
    )


def decimal(value: float | None) -> str:
    """A share or a correlation with three decimals; "none" where there is none."""
    return "none" if value is None or math.isnan(value) else f"{value:.3f}"
