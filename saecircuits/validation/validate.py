"""`validate`: is the circuit real? Ablation on prompts that did not choose it.

1. the sets of nodes, or of edges, that a report needs: everything, nothing, the circuit, its
   complement, the circuit without error nodes, prefixes of its ranking, random circuits (`plan`);
2. one ablated run of every set on every prompt (`nodes.ablation`, `edges.ablation`); the circuit
   by itself in both ways, and under every baseline asked for;
3. figures of each, with intervals by bootstrap over prompts (`figures`).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy.typing import NDArray

from saecircuits.choices import name_of
from saecircuits.circuits import Circuit
from saecircuits.errors import InputError, UnknownNameError, check_seed
from saecircuits.nodes.ablation import faithfulness
from saecircuits.nodes.baselines import Baseline, baseline_of
from saecircuits.nodes.experiment import Experiment
from saecircuits.splicing import SplicedModel
from saecircuits.tasks import Prompts
from saecircuits.torch_state import in_own_state
from saecircuits.validation.figures import (
    areas,
    faithfulness_interval,
    group_drops,
    minimality,
    share_of_errors,
    spread,
)
from saecircuits.validation.plan import (
    Runs,
    Sizes,
    Wanted,
    edge_sets,
    ends_of,
    node_sets,
    pairs_of,
    run_sets,
    wire_pairs,
)
from saecircuits.validation.report import ValidationReport

Ablate: TypeAlias = Literal["nodes", "edges"]


@in_own_state
def validate(
    model: SplicedModel | Experiment,
    circuit: Circuit,
    prompts: Prompts | None = None,
    *,
    ablate: Ablate = "nodes",
    baseline: str | Baseline | Sequence[str | Baseline] | None = None,
    reference: Prompts | None = None,
    n_random: int = 20,
    with_drops: bool = False,
    groups: Sequence[Sequence[str]] = (),
    resamples: int = 2000,
    batch_size: int | None = None,
    seed: int = 0,
) -> ValidationReport:
    """How much of the behaviour the circuit accounts for by itself, on `prompts`.

    By nodes: those outside the circuit are set to their baseline, error nodes too; everything
    downstream is recomputed under the circuit's own error policy (`nodes.ablation`). By edges:
    every node of the circuit reads its parents in the circuit alone, all else at baseline
    (`edges.ablation`). The circuit's faithfulness is measured in both ways, whatever `ablate` says
    of the other figures. The model is used as it is, whatever linearization ranked the nodes.

    Args:
        model: the spliced model; or an experiment on held-out prompts, with its own choices.
        prompts: held-out prompts (`task.test`).
        baseline: one, or several: the first is that of all figures, and the circuit by itself is
            measured under each (`report.ablations`). By default the experiment's, or `corrupted`.
        reference: the prompts that supply the baselines `mean` and `resample`; `prompts` if None.
        n_random: random circuits of the same size and layer profile.
        with_drops: also measure what each member adds (`report.minimality`): one run of the circuit
            for each.
        groups: ids of members that are ablated together, each group from the whole circuit
            (`report.groups`): one run for each.
        resamples: of the bootstrap over prompts.
        seed: of the bootstrap, the random circuits and the baseline `resample`.

    Raises:
        UnknownNameError: a baseline, ablation, site or span that does not exist, or a group's node
            that is no member.
        InputError: another model than the circuit's, prompts that chose the circuit, or on which
            the metric does not change.
    """
    kinds = [baseline] if isinstance(baseline, str | Baseline) else list(baseline or ())
    check_ways(ablate, None if baseline is None else kinds)
    check_seed(seed)
    experiment = circuit.held_out(
        model,
        prompts,
        function="validate",
        baseline=None if isinstance(model, Experiment) or not kinds else kinds[0],
        reference=reference,
        batch_size=batch_size,
        seed=seed,
    )
    kinds = kinds or [experiment.baseline]
    for node in {node for group in groups for node in group} - set(circuit.members):
        raise UnknownNameError("member of the circuit", node, circuit.members)
    wanted = Wanted(n_random=n_random, with_drops=with_drops, groups=groups, seed=seed)
    alone_by_nodes = {"alone": [experiment.keep(circuit.members)]}
    alone_by_edges = {"alone": [wire_pairs(experiment, pairs_of(circuit))]}
    by_nodes = node_sets(circuit, experiment, wanted) if ablate == "nodes" else alone_by_nodes
    by_edges = edge_sets(circuit, experiment, wanted) if ablate == "edges" else alone_by_edges
    ends = ends_of(experiment)
    runs = run_sets(experiment.changed(baseline=kinds[0]), {**ends, **by_nodes}, by_edges)
    first, *others = map(name_of, kinds)
    _check_changes(runs[0], first)
    rows = [*_ablations(first, *runs, resamples, seed)]
    for kind, name in zip(kinds[1:], others, strict=True):
        other = experiment.changed(baseline=kind)
        found = run_sets(other, {**ends, **alone_by_nodes}, alone_by_edges)
        rows += _ablations(name, *found, resamples, seed)
    return _report(
        runs[0] if ablate == "nodes" else {**runs[0], **runs[1]},
        circuit,
        ablate=ablate,
        baseline=first,
        groups=groups,
        ablations=pd.DataFrame(rows),
        resamples=resamples,
        seed=seed,
    )


def check_ways(ablate: str, baselines: Sequence[str | Baseline] | None) -> None:
    """Refuses a way to ablate, or baselines, that do not exist; see `validate`.

    Args:
        baselines: None where nothing is said about them.

    Raises:
        UnknownNameError: no such ablation or baseline.
        InputError: a list of no baseline.
    """
    if ablate not in get_args(Ablate):
        raise UnknownNameError("ablate", ablate, get_args(Ablate))
    if baselines is not None and not baselines:
        raise InputError("validate was given no baseline; give at least one")
    for kind in baselines or ():
        baseline_of(kind)


def _check_changes(found: Runs, baseline: str) -> None:
    whole, empty = found["whole"].mean(), found["empty"].mean()
    if abs(whole - empty) < 1e-6:
        raise InputError(
            f"the metric is {whole:.4g} with every node kept and with every node at its "
            f"{baseline} baseline: there is nothing to explain; use prompts whose corrupted "
            "version changes the answer"
        )


def _ablations(
    baseline: str,
    by_nodes: Runs,
    by_edges: Runs,
    divergence: Float[NDArray[np.float64], "2 prompt"],
    resamples: int,
    seed: int,
) -> list[dict[str, Any]]:
    """The circuit by itself, by nodes and by edges, under one baseline."""
    whole, empty = by_nodes["whole"][0], by_nodes["empty"][0]
    rows = []
    for ablate, runs, gone in zip(
        ("nodes", "edges"), (by_nodes, by_edges), divergence, strict=True
    ):
        alone = runs["alone"][0]
        low, high = faithfulness_interval(alone, whole, empty, resamples=resamples, seed=seed)
        rows.append(
            {
                "baseline": baseline,
                "ablate": ablate,
                "faithfulness": faithfulness(alone, whole, empty),
                "faithfulness_low": low,
                "faithfulness_high": high,
                "metric_baseline": float(empty.mean()),
                "accuracy": float((alone > 0).mean()),
                "divergence": float(gone.mean()),
            }
        )
    return rows


def _report(
    found: Runs,
    circuit: Circuit,
    *,
    ablate: Ablate,
    baseline: str,
    groups: Sequence[Sequence[str]],
    ablations: pd.DataFrame,
    resamples: int,
    seed: int,
) -> ValidationReport:
    """Figures from the metric of every ablated run."""
    whole, empty, alone = (found[name][0] for name in ("whole", "empty", "alone"))
    of = partial(faithfulness, whole=whole, empty=empty)
    interval = partial(
        faithfulness_interval, whole=whole, empty=empty, resamples=resamples, seed=seed
    )
    low, high = interval(alone)
    faithful, no_errors = of(alone), of(found["no_errors"][0])
    total = len(circuit.candidates) if ablate == "nodes" else len(circuit.edges)
    sizes = Sizes.along(total)
    rows = []
    for size, kept, kept_no_errors in zip(
        sizes.curve, found["curve"], found["curve_no_errors"], strict=True
    ):
        ends = interval(kept)
        rows.append(
            {
                "nodes": size if ablate == "nodes" else _members(circuit, size),
                "faithfulness": of(kept),
                "faithfulness_low": ends[0],
                "faithfulness_high": ends[1],
                "faithfulness_without_errors": of(kept_no_errors),
                **({"edges": size} if ablate == "edges" else {}),
            }
        )
    return ValidationReport(
        ablate=ablate,
        baseline=baseline,
        error_policy=circuit.settings.error_policy,
        prompts=len(whole),
        nodes=circuit.size,
        errors=circuit.n_errors,
        metric_clean=float(whole.mean()),
        metric_baseline=float(empty.mean()),
        faithfulness=faithful,
        faithfulness_low=low,
        faithfulness_high=high,
        completeness=of(found["outside"][0]),
        faithfulness_without_errors=no_errors,
        all_features_without_errors=of(found["all_features"][0]),
        error_share=share_of_errors(faithful, low, no_errors),
        random=spread([of(metric) for metric in found["random"]]),
        curve=pd.DataFrame(rows),
        accuracy={"clean": float((whole > 0).mean()), "circuit": float((alone > 0).mean())},
        edges=len(circuit.edges),
        ablations=ablations,
        areas=areas([of(kept) for kept in found["areas"]], sizes.areas),
        minimality=minimality(found["drops"], circuit.members, alone, whole, empty)
        if "drops" in found
        else None,
        groups=group_drops(
            found["groups"], groups, alone, whole, empty, resamples=resamples, seed=seed
        )
        if groups
        else None,
    )


def _members(circuit: Circuit, n_edges: int) -> int:
    """How many of the circuit's members its strongest edges join."""
    edges = circuit.strongest_edges(n_edges)
    return len({*edges["source"], *edges["target"]} & set(circuit.members))
