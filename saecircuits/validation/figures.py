"""Figures of a report, from the metric of ablated runs, prompt by prompt."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from saecircuits.edges.graph_scores import LEAST_SHARED
from saecircuits.nodes.ablation import faithfulness
from saecircuits.validation.report import (
    Areas,
    GroupDrop,
    Minimality,
    NodeDrop,
    RandomCircuits,
)

# The sizes of the MIB benchmark's circuits, as shares of all edges (of all nodes).
FRACTIONS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def faithfulness_interval(
    metric: NDArray[np.float64],
    whole: NDArray[np.float64],
    empty: NDArray[np.float64],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of faithfulness: prompts drawn anew, the ratio formed again.

    NaN for a single prompt, which has no spread.
    """
    n_prompt = len(metric)
    if n_prompt < 2:
        return float("nan"), float("nan")
    counts = np.random.default_rng(seed).multinomial(
        n_prompt, np.full(n_prompt, 1 / n_prompt), size=resamples
    )
    ratios = (counts @ (metric - empty)) / (counts @ (whole - empty))
    low, high = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def share_of_errors(faithful: float, low: float, no_errors: float) -> float | None:
    """`1 - no_errors / faithful`: how much of a circuit's faithfulness goes with its error nodes.

    Under 0 where they work against it, above 1 where the features alone do. None where there is
    little or nothing to share: the interval of faithfulness reaches 0 (or there is none, over one
    prompt), or it is under `LEAST_SHARED`, where the ratio would be of thousands.

    Args:
        faithful: the circuit's faithfulness, and `low`, where its 95% interval begins.
        no_errors: the same with the error nodes at their baseline.
    """
    return 1 - no_errors / faithful if low > 0 and faithful >= LEAST_SHARED else None


def sizes_of(fractions: Sequence[float], total: int) -> list[int]:
    """How many of `total` each share is: rounded, and at least 1."""
    return [max(1, round(share * total)) for share in fractions]


def areas(faithful: Sequence[float], sizes: Sequence[int]) -> Areas:
    """CPR and CMD: means of f and of |1 - f| over the shares `FRACTIONS`, by the trapezoid rule.

    A circuit that is faithful at every size has CPR 1 and CMD 0. The MIB benchmark (Mueller et al.
    2025, section 3) integrates over the same shares without dividing by their range, 0.999.

    Args:
        faithful: faithfulness at each share.
        sizes: what each share comes to.
    """
    shares, found = np.array(FRACTIONS), np.array(faithful)
    width = shares[-1] - shares[0]
    return {
        "cpr": float(np.trapezoid(found, shares) / width),
        "cmd": float(np.trapezoid(np.abs(1 - found), shares) / width),
        "fractions": list(FRACTIONS),
        "sizes": list(sizes),
        "faithfulness": [float(value) for value in found],
    }


def minimality(
    drops: Float[NDArray[np.float64], "n_member prompt"],
    members: Sequence[str],
    alone: NDArray[np.float64],
    whole: NDArray[np.float64],
    empty: NDArray[np.float64],
) -> Minimality:
    """What faithfulness loses when one member goes, for each, from the least.

    Args:
        drops: the metric without each member.
        alone: the metric of the circuit.
    """
    found = faithfulness(alone, whole, empty)
    rows: list[NodeDrop] = [
        {"node": member, "drop": found - faithfulness(metric, whole, empty)}
        for member, metric in zip(members, drops, strict=True)
    ]
    rows.sort(key=lambda row: (row["drop"], row["node"]))
    if not rows:
        return {"least": None, "node": None, "drops": []}
    return {"least": rows[0]["drop"], "node": rows[0]["node"], "drops": rows}


def group_drops(
    without: Float[NDArray[np.float64], "n_group prompt"],
    groups: Sequence[Sequence[str]],
    alone: NDArray[np.float64],
    whole: NDArray[np.float64],
    empty: NDArray[np.float64],
    *,
    resamples: int,
    seed: int,
) -> list[GroupDrop]:
    """What faithfulness loses when a group's members all go, with its 95% interval.

    Faithfulness is linear in the metric, so the drop is that of the metric
    `alone - without + empty`.

    Args:
        without: the metric without each group.
        alone: the metric of the circuit.
    """
    rows: list[GroupDrop] = []
    for nodes, metric in zip(groups, without, strict=True):
        lost = alone - metric + empty
        low, high = faithfulness_interval(lost, whole, empty, resamples=resamples, seed=seed)
        drop = faithfulness(lost, whole, empty)
        rows.append({"nodes": list(nodes), "drop": drop, "low": low, "high": high})
    return rows


def spread(values: Sequence[float]) -> RandomCircuits:
    """Count, median, 2.5% and 97.5% points, and the values."""
    if not values:
        return {"count": 0, "median": None, "low": None, "high": None, "values": []}
    low, median, high = np.quantile(values, [0.025, 0.5, 0.975])
    return {
        "count": len(values),
        "median": float(median),
        "low": float(low),
        "high": float(high),
        "values": [float(value) for value in values],
    }
