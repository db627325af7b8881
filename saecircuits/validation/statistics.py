"""Tests over prompts and against random circuits, from figures that were already measured.

Every test is one-sided and makes no assumption of normality:

- *over prompts* (`sign_flip_p`): is a mean above zero? Under the hypothesis that a prompt's value
  is as likely as its negative, signs can be exchanged (Fisher 1935); exact where all 2^n of them
  can be tried, otherwise by random signs;
- *against random draws* (`exceedance_p`): `(1 + number of draws at least as large) / (1 + draws)`,
  which is valid for any number of draws (Phipson and Smyth 2010);
- *many at once*: `holm` bounds the chance of a single false finding (Holm 1979),
  `scipy.stats.false_discovery_control` the share of false ones (Benjamini and Hochberg 1995).
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import optimize, stats

from saecircuits.nodes.effects import resample_counts

FLIPS = 9999
# Two sums of the same numbers in another order differ by less than this share of their size.
_TIE = 1e-12


def sign_flip_p(
    values: Float[NDArray[np.float64], "test prompt"], *, flips: int = FLIPS, seed: int = 0
) -> Float[NDArray[np.float64], " test"]:
    """P-values of `mean over prompts > 0`, by exchanging signs.

    Args:
        values: any per-prompt figures, one row a test.
        flips: random signs, if there are more than that many in all (then the smallest p-value is
            `1 / (1 + flips)`).

    Returns:
        1 for a row of zeros.
    """
    n_prompt = values.shape[1]
    if 2**n_prompt <= flips + 1:
        bits = np.arange(2**n_prompt)[:, None] >> np.arange(n_prompt)
        signs, own = 1.0 - 2.0 * (bits & 1), 0  # no flip at all is among them
    else:
        draw = np.random.default_rng(seed).integers(0, 2, size=(flips, n_prompt))
        signs, own = 1.0 - 2.0 * draw, 1
    found = values.sum(1)
    slack = _TIE * np.abs(values).sum(1)
    p_values = np.empty(len(values))
    for row, (value, each, room) in enumerate(zip(found, values, slack, strict=True)):
        as_large = int((signs @ each >= value - room).sum())
        p_values[row] = (own + as_large) / (own + len(signs))
    return p_values


def exceedance_p(found: float, drawn: NDArray[np.float64]) -> float:
    """`(1 + number of drawn >= found) / (1 + number drawn)`."""
    return float((1 + (drawn >= found).sum()) / (1 + len(drawn)))


def holm(p_values: Float[NDArray[np.float64], " test"]) -> Float[NDArray[np.float64], " test"]:
    """Adjusted p-values: rejecting those up to a level, one of them is wrong at most that often.

    The k-th smallest of n is multiplied by `n - k + 1`, and none is less than one before it.
    """
    order = np.argsort(p_values, kind="stable")
    steps = p_values[order] * (len(p_values) - np.arange(len(p_values)))
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def benjamini_hochberg(
    p_values: Float[NDArray[np.float64], " test"],
) -> Float[NDArray[np.float64], " test"]:
    """Adjusted p-values: of those up to a level, at most that share is wrong, on average."""
    return stats.false_discovery_control(p_values) if len(p_values) else p_values


def sign_resampled(
    values: Float[NDArray[np.float64], "figure prompt"], *, resamples: int = 1000, seed: int = 0
) -> Float[NDArray[np.float64], " figure"]:
    """The share of bootstrap resamples over prompts in which the mean keeps its sign.

    1 for a figure whose sign no resample changes, about 0.5 for one that is as often positive as
    negative, 0 for one that is zero throughout.
    """
    counts = resample_counts(values.shape[1], resamples=resamples, seed=seed)
    again = np.sign(values @ counts.T)
    own = np.sign(values.sum(1))
    return ((again == own[:, None]) & (own[:, None] != 0)).mean(1)


def smallest_effect(deviation: float, n_prompt: int, *, level: float, power: float) -> float:
    """The smallest mean that a one-sided test over prompts finds with this power, in its units.

    By the noncentral t distribution; the sign-flip test has the same power up to a few per cent
    where values are near normal. NaN for a single prompt.

    Args:
        deviation: the standard deviation over prompts.
        level: of the test, corrected for how many are made.
    """
    if n_prompt < 2:
        return float("nan")
    degrees = n_prompt - 1
    bar = stats.t.ppf(1 - level, degrees)

    def short(shift: float) -> float:
        return float(stats.nct.sf(bar, degrees, shift)) - power

    shift = optimize.root_scalar(short, bracket=(0.0, 2 * bar + 20.0)).root
    return float(shift) * deviation / n_prompt**0.5
