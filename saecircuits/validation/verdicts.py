"""From the metric of every ablated run to the verdicts of the tests; no model is needed.

Changes that are rounding are set to zero first, so that where nothing happens nothing is found.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy.typing import NDArray

from saecircuits.nodes.effects import bootstrap_interval, sign_stability
from saecircuits.validation.statistics import (
    benjamini_hochberg,
    exceedance_p,
    holm,
    sign_flip_p,
    sign_resampled,
    smallest_effect,
)

# What two runs of one computation may differ by, as a share of the metric's size.
ROUNDING = 1e-5


@dataclass(frozen=True, eq=False)
class Changes:
    """The metric of ablated runs above the metric with every node at its baseline, per prompt.

    Attributes:
        total: with every node kept.
        alone: with the circuit kept.
        outside: with everything but the circuit kept.
        drops: with the circuit kept, less with the circuit without one member.
        inside_random: with each random circuit kept.
        outside_random: with everything but a random circuit kept.
    """

    total: Float[NDArray[np.float64], " prompt"]
    alone: Float[NDArray[np.float64], " prompt"]
    outside: Float[NDArray[np.float64], " prompt"]
    drops: Float[NDArray[np.float64], "member prompt"]
    inside_random: Float[NDArray[np.float64], "draw prompt"]
    outside_random: Float[NDArray[np.float64], "draw prompt"]


def changes(metrics: Float[NDArray[np.float64], "run prompt"], *, members: int) -> Changes:
    """The changes that a table of metrics holds.

    Args:
        metrics: of everything, nothing, the circuit, all but it; the circuit less each member; each
            random circuit; all but each random circuit.
        members: how many members the circuit has.
    """
    whole, empty, alone, outside = metrics[:4]
    without, random = np.split(metrics[4:], [members])
    inside_random, outside_random = np.split(random, 2)
    floor = rounding(whole)
    return Changes(
        total=above(whole - empty, floor),
        alone=above(alone - empty, floor),
        outside=above(outside - empty, floor),
        drops=above(alone - without, floor),
        inside_random=above(inside_random - empty, floor),
        outside_random=above(outside_random - empty, floor),
    )


def rounding(whole: Float[NDArray[np.float64], " prompt"]) -> float:
    """The size below which a change of the metric is taken for rounding, in logits."""
    return ROUNDING * float(np.abs(whole).max())


def above(
    values: Float[NDArray[np.float64], "*lead prompt"], floor: float
) -> Float[NDArray[np.float64], "*lead prompt"]:
    """The values, those that are rounding set to zero."""
    return np.where(np.abs(values) > floor, values, 0.0)


def verdicts(found: Changes, *, bar: float, level: float, seed: int = 0) -> pd.DataFrame:
    """One row a test: what is asked, the value, what it is held against, p, whether rejected."""
    total, alone, outside = found.total, found.alone, found.outside
    inside_random, outside_random = found.inside_random.mean(1), found.outside_random.mean(1)
    scale = total.mean() if total.mean() != 0 else np.nan
    over_prompts = np.stack([total, alone - bar * total, (1 - bar) * total - outside])
    effect, above_bar, little_left = sign_flip_p(over_prompts, seed=seed)
    rows = [
        ("effect", "is there a behaviour to explain?", total.mean(), 0.0, effect),
        (
            "sufficiency",
            "does the circuit keep more than random ones?",
            alone.mean() / scale,
            np.quantile(inside_random, 1 - level) / scale,
            exceedance_p(alone.mean(), inside_random),
        ),
        (
            "necessity",
            "does the model lose more without it than without random ones?",
            1 - outside.mean() / scale,
            1 - np.quantile(outside_random, level) / scale,
            exceedance_p(-outside.mean(), -outside_random),
        ),
        ("bar", "is faithfulness above the bar?", alone.mean() / scale, bar, above_bar),
        (
            "completeness",
            "is the faithfulness of all the rest below 1 - bar?",
            outside.mean() / scale,
            1 - bar,
            little_left,
        ),
    ]
    table = pd.DataFrame(rows, columns=["test", "question", "value", "against", "p"])
    table["rejected"] = table["p"] <= level
    return table


def per_prompt_figures(
    values: Float[NDArray[np.float64], "figure prompt"],
    *,
    signs: NDArray[np.float64] | float = 1.0,
    seed: int,
) -> pd.DataFrame:
    """Interval, how stable the sign is, and corrected p-values of per-prompt figures.

    Args:
        signs: the sign that each mean is tested for.
    """
    low, high = bootstrap_interval(values.T, seed=seed)
    p_values = sign_flip_p(values * np.broadcast_to(signs, len(values))[:, None], seed=seed)
    return pd.DataFrame(
        {
            "low": low,
            "high": high,
            "sign_stability": sign_stability(values.T),
            "sign_resampled": sign_resampled(values, seed=seed),
            "p": p_values,
            "p_holm": holm(p_values),
            "p_fdr": benjamini_hochberg(p_values),
        }
    )


def smallest_seen(found: Changes, *, bar: float, level: float, power: float) -> dict[str, float]:
    """What each test over prompts could have seen, at the spread that these prompts have."""
    total, alone, drops = found.total, found.alone, found.drops
    count = len(total)
    if count < 2:
        return {"effect": np.nan, "faithfulness": np.nan, "drop": np.nan}
    typical = float(np.median(drops.std(1, ddof=1))) if len(drops) else np.nan
    above_bar = smallest_effect(
        float((alone - bar * total).std(ddof=1)), count, level=level, power=power
    )
    return {
        "effect": smallest_effect(float(total.std(ddof=1)), count, level=level, power=power),
        "faithfulness": float(above_bar / total.mean()) if total.mean() > 0 else np.nan,
        "drop": smallest_effect(typical, count, level=level / max(1, len(drops)), power=power),
    }
