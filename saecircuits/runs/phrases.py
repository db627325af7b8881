"""Sentences that the picture and the card share."""

import math

from saecircuits.runs.records import Example
from saecircuits.shown_text import shortened
from saecircuits.validation import ValidationReport


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
