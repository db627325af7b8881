"""`validate`: is the circuit real? Node ablation on prompts that did not choose it.

1. the sets of nodes that a report needs: everything, nothing, the circuit, its complement, the
   circuit and all features with errors at baseline, prefixes of its ranking, random circuits;
2. one ablated run of every set on every prompt (`nodes.ablation`);
3. faithfulness of each, with intervals by bootstrap over prompts.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from saecircuits.circuits import Circuit
from saecircuits.edges.graph import parse_node_id
from saecircuits.errors import InputError, UnknownNameError
from saecircuits.nodes.ablation import (
    Kept,
    ablate_all,
    faithfulness,
    keep_all,
    keep_none,
    keep_spots,
)
from saecircuits.nodes.baselines import BaselineKind, check_baseline, unit_means
from saecircuits.nodes.contrast import contrasts
from saecircuits.nodes.units import make_units
from saecircuits.splicing import SplicedModel
from saecircuits.splicing.inference import full_precision
from saecircuits.tasks import Prompts
from saecircuits.validation.random_circuits import random_circuits
from saecircuits.validation.report import ValidationReport

Ablate = Literal["nodes"]
CURVE_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 300, 500, 1000, 2000, 5000)


@full_precision()
def validate(
    model: SplicedModel,
    circuit: Circuit,
    prompts: Prompts,
    *,
    ablate: Ablate = "nodes",
    baseline: BaselineKind = "corrupted",
    reference: Prompts | None = None,
    n_random: int = 20,
    resamples: int = 2000,
    batch_size: int = 32,
    seed: int = 0,
) -> ValidationReport:
    """How much of the behaviour the circuit accounts for by itself, on `prompts`.

    Nodes outside the circuit are set to their baseline, error nodes too; everything downstream is
    recomputed under the circuit's own error policy. The model is used as it is, whatever
    linearization ranked the nodes.

    Args:
        prompts: held-out prompts (`task.test`).
        reference: for `baseline="mean"`, the prompts that supply the means; `prompts` if None.
        n_random: random circuits of the same size and layer profile.
        resamples: of the bootstrap over prompts.

    Raises:
        UnknownNameError: a baseline, ablation, site or span that does not exist.
        InputError: prompts that chose the circuit, or on which the metric does not change.
    """
    if ablate not in get_args(Ablate):
        raise UnknownNameError("ablate", ablate, get_args(Ablate))
    check_baseline(baseline)
    if prompts.digest == circuit.provenance.get("prompts"):
        raise InputError(
            "validate was given the prompts that chose the circuit; give held-out prompts, such "
            "as task.test"
        )
    units = make_units(prompts, circuit.settings.positions, tokenizer=model.tokenizer)
    means = None
    if baseline == "mean":
        source = prompts if reference is None else reference
        means = unit_means(
            model, source, make_units(source, circuit.settings.positions, tokenizer=model.tokenizer)
        )
    batches = contrasts(
        model,
        prompts,
        units,
        baseline=baseline,
        means=means,
        error_policy=circuit.settings.error_policy,
        batch_size=batch_size,
    )
    sizes = [size for size in CURVE_SIZES if size < len(circuit.candidates)]
    sizes.append(len(circuit.candidates))
    drawn = random_circuits(circuit, count=n_random, seed=seed)

    def kept(nodes: Sequence[str]) -> Kept:
        return keep_spots(
            model, len(units), [parse_node_id(model, units.names, node) for node in nodes]
        )

    members = kept(circuit.members)
    prefixes = [kept(circuit.candidates[:size]) for size in sizes]
    everything = keep_all(model, len(units))
    metrics = ablate_all(
        batches,
        [
            everything,
            keep_none(model, len(units)),
            members,
            members.without_errors(),
            everything.without_errors(),
            members.complement(),
            *prefixes,
            *(prefix.without_errors() for prefix in prefixes),
            *(kept(nodes) for nodes in drawn),
        ],
    )
    return _report(metrics, circuit, sizes, baseline=baseline, resamples=resamples, seed=seed)


def _report(
    metrics: NDArray[np.float64],
    circuit: Circuit,
    sizes: Sequence[int],
    *,
    baseline: BaselineKind,
    resamples: int,
    seed: int,
) -> ValidationReport:
    """Figures from the metric of every ablated run, `[set of kept nodes, prompt]`."""
    whole, empty, alone, no_errors, all_features, outside, *others = metrics
    if abs(whole.mean() - empty.mean()) < 1e-6:
        raise InputError(
            f"the metric is {whole.mean():.4g} with every node kept and with every node at its "
            f"{baseline} baseline: there is nothing to explain; use prompts whose corrupted "
            "version changes the answer"
        )
    n = len(sizes)
    prefix, prefix_no_errors, drawn = others[:n], others[n : 2 * n], others[2 * n :]
    low, high = faithfulness_interval(alone, whole, empty, resamples=resamples, seed=seed)
    found = faithfulness(alone, whole, empty)
    found_no_errors = faithfulness(no_errors, whole, empty)
    rows = []
    for size, kept, kept_no_errors in zip(sizes, prefix, prefix_no_errors, strict=True):
        ends = faithfulness_interval(kept, whole, empty, resamples=resamples, seed=seed)
        rows.append(
            {
                "nodes": size,
                "faithfulness": faithfulness(kept, whole, empty),
                "faithfulness_low": ends[0],
                "faithfulness_high": ends[1],
                "faithfulness_without_errors": faithfulness(kept_no_errors, whole, empty),
            }
        )
    values = [faithfulness(metric, whole, empty) for metric in drawn]
    return ValidationReport(
        ablate="nodes",
        baseline=baseline,
        error_policy=circuit.settings.error_policy,
        prompts=metrics.shape[1],
        nodes=circuit.size,
        errors=circuit.n_errors,
        metric_clean=float(whole.mean()),
        metric_baseline=float(empty.mean()),
        faithfulness=found,
        faithfulness_low=low,
        faithfulness_high=high,
        completeness=faithfulness(outside, whole, empty),
        faithfulness_without_errors=found_no_errors,
        all_features_without_errors=faithfulness(all_features, whole, empty),
        error_share=1 - found_no_errors / found if found > 0 else None,
        random=_spread(values),
        curve=pd.DataFrame(rows),
        accuracy={"clean": float((whole > 0).mean()), "circuit": float((alone > 0).mean())},
    )


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


def _spread(values: Sequence[float]) -> dict[str, object]:
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
