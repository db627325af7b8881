"""How well estimates follow what was measured: correlations, signs, and what is missed."""

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import stats


def agreement(
    estimated: NDArray[np.float64],
    measured: NDArray[np.float64],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """`plain_agreement` with 95% bootstrap intervals over the sample (`_low`, `_high`).

    The pairs themselves are there too: `estimated` and `measured`.
    """
    figures = plain_agreement(estimated, measured)
    generator = np.random.default_rng(seed)
    draws = generator.integers(0, max(1, len(estimated)), size=(resamples, len(estimated)))
    values = {
        name: _correlations(estimated[draws], measured[draws], ranked=name == "spearman")
        for name in ("pearson", "spearman")
    }
    is_right, counts = _signs(estimated, measured)
    hits, counted = (is_right & counts)[draws].sum(1), counts[draws].sum(1)
    values["sign_agreement"] = np.divide(
        hits, counted, out=np.full(resamples, np.nan), where=counted > 0
    )
    for name, drawn in values.items():
        known = drawn[~np.isnan(drawn)]
        low, high = np.quantile(known, [0.025, 0.975]).tolist() if len(known) else (None, None)
        figures |= {f"{name}_low": low, f"{name}_high": high}
    figures["estimated"] = [float(value) for value in estimated]
    figures["measured"] = [float(value) for value in measured]
    return figures


def plain_agreement(
    estimated: NDArray[np.float64], measured: NDArray[np.float64]
) -> dict[str, Any]:
    """How well estimates follow what was measured, in four figures and the size of the sample.

    Returns:
        sample; pearson and spearman, None of fewer than three pairs or where nothing varies;
        sign_agreement, the share of right signs among what is measurably not zero (|measured| over
        a thousandth of the largest), None where nothing is; error, `sum |measured - estimated| /
        sum |measured|`, None where nothing was measured but zero.
    """
    (pearson,), (spearman,) = (
        _correlations(estimated[None], measured[None], ranked=ranked) for ranked in (False, True)
    )
    is_right, counts = _signs(estimated, measured)
    size = float(np.abs(measured).sum())
    return {
        "sample": len(estimated),
        "pearson": None if np.isnan(pearson) else float(pearson),
        "spearman": None if np.isnan(spearman) else float(spearman),
        "sign_agreement": float(is_right[counts].mean()) if counts.any() else None,
        "error": float(np.abs(measured - estimated).sum()) / size if size > 0 else None,
    }


def _signs(
    estimated: NDArray[np.float64], measured: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which signs are right, and which count."""
    counts = np.abs(measured) > 1e-3 * np.abs(measured).max(initial=0.0)
    return np.sign(estimated) == np.sign(measured), counts


def _correlations(
    first: Float[NDArray[np.float64], "draw pair"],
    second: Float[NDArray[np.float64], "draw pair"],
    *,
    ranked: bool,
) -> Float[NDArray[np.float64], " draw"]:
    """Pearson's correlation of every row, of ranks if wanted; NaN where one side does not vary."""
    if first.shape[1] < 3:
        return np.full(len(first), np.nan)
    varies = (np.ptp(first, axis=1) > 0) & (np.ptp(second, axis=1) > 0)
    if ranked:
        first, second = stats.rankdata(first, axis=1), stats.rankdata(second, axis=1)
    first, second = (side - side.mean(1, keepdims=True) for side in (first, second))
    size = np.sqrt((first**2).sum(1) * (second**2).sum(1))
    product = (first * second).sum(1)
    return np.divide(product, size, out=np.full(len(first), np.nan), where=varies).clip(-1, 1)
