"""`attribute`: from a spliced model and prompt pairs to an attribution graph.

1. the clean run and the baseline of every node, batch by batch (`nodes.contrast`);
2. `dm/dx` at every place by the chosen estimator, and from it every node's effect;
3. the strongest nodes, over all prompts;
4. the direct edges among them and to the metric (`edges.factorised`, or `edges.reference` where
   that does not cover the model; the summary says which);
5. tables, with bootstrap intervals over prompts.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from saecircuits.edges.collecting import EdgeTables
from saecircuits.edges.edge_stage import EdgeJob, edge_stage, engine_for
from saecircuits.edges.graph import AttributionGraph, metric_row, node_table
from saecircuits.edges.graph_scores import SCORES, graph_scores
from saecircuits.edges.memory import plan_memory, targets_at_once
from saecircuits.edges.node_stage import NodeStage, node_stage
from saecircuits.edges.settings import AttributionSettings
from saecircuits.edges.streaming import EdgeFile
from saecircuits.edges.thresholds import longest_unit
from saecircuits.errors import InputError
from saecircuits.nodes.contrast import TOKENS
from saecircuits.nodes.effects import NodeEffects
from saecircuits.nodes.experiment import CARRIED, Experiment, experiment_of
from saecircuits.nodes.fit import checked_fit
from saecircuits.nodes.interventions import Spot
from saecircuits.splicing import SplicedModel
from saecircuits.tasks import Prompts
from saecircuits.torch_state import in_own_state

Progress = Callable[[str, float], None]


def _silent(stage: str, share: float) -> None:
    """No progress shown."""


@in_own_state
def attribute(
    model: SplicedModel | Experiment,
    prompts: Prompts | None = None,
    *,
    settings: AttributionSettings | None = None,
    all_edges: str | Path | None = None,
    progress: Progress = _silent,
    **choices: Any,
) -> AttributionGraph:
    """The attribution graph of a task's prompts: effects of all nodes, edges among the strongest.

    Sign: an effect is the metric with the node clean minus the metric with it at its baseline, in
    logits. Estimators, linearizations, policies and baselines: see `AttributionSettings`, whose
    fields may be given here by name instead (`estimator="gradient"`). For the estimator
    `intervention`, node and edge effects are measured one by one (slow; the reference).

    Args:
        model: the spliced model; or an experiment, with its prompts and choices.
        prompts: the training prompts; keep test prompts for `validate`.
        settings: all choices in one value; or give fields by name.
        all_edges: a Parquet file to write every edge to that is not zero, also those that the
            graph has no room for (`max_edges`); rows in forward order of their targets.
        progress: called with a stage's name and the share done.

    Raises:
        UnknownNameError: a choice that does not exist.
        TaskError: prompts that do not suit `positions`.
        DictionaryError: a dictionary that was loaded explains less than nothing (`nodes.fit`).
        InputError: settings given twice, or others than the experiment's; a memory limit that is
            too small; a file that is there already, or cannot be written.
    """
    if settings is not None and choices:
        raise InputError(
            f"attribute was given settings and also {', '.join(sorted(choices))}; give one of them"
        )
    if isinstance(model, Experiment) and settings is None:
        settings = AttributionSettings(**{name: getattr(model, name) for name in CARRIED} | choices)
    wanted = (settings := settings or AttributionSettings(**choices)).of_experiment
    experiment = experiment_of(model, prompts, function="attribute", **wanted)
    plan = plan_memory(experiment.model, experiment.prompts, settings)
    experiment = experiment.changed(**plan.of_experiment)
    units, fit = experiment.units, checked_fit(experiment)
    found = node_stage(experiment, settings, progress)
    kept = _strongest(found.effects, settings.max_nodes)
    targets = _targets(found.effects, kept, settings)
    engine = engine_for(experiment, settings, targets)
    at_once = targets_at_once(
        plan,
        experiment.model,
        experiment.prompts,
        settings,
        n_source=len(kept),
        n_unit=len(units),
        n_slice=longest_unit(units) if settings.crosses_thresholds else 0,
    )
    job = EdgeJob(kept, targets, found.gradients, engine, at_once)
    with nullcontext() if all_edges is None else EdgeFile(all_edges) as file:
        edges = edge_stage(experiment, settings, job, file=file, progress=progress)
    ends = experiment.ends
    return AttributionGraph(
        nodes=_nodes(experiment, found.effects, edges, seed=settings.seed),
        edges=edges.edges,
        edge_parts=edges.parts,
        settings=settings,
        summary={
            "metric_clean": float(ends[0].mean()),
            "metric_baseline": float(ends[1].mean()),
            "prompts": len(experiment.prompts),
            "edge_engine": engine.described,
            "edge_nodes": len(kept),
            "edge_nodes_share_of_effect": _share(found.effects, kept),
            "edges_computed": edges.computed,
            "edges_kept_share_of_effect": edges.kept_share,
            SCORES: _scores(found, edges, ends, kept, seed=settings.seed),
            "places": found.places,
            "fit": fit,
        },
        provenance=experiment.provenance,
        experiment=experiment,
    )


def _nodes(
    experiment: Experiment, effects: NodeEffects, edges: EdgeTables, *, seed: int
) -> pd.DataFrame:
    """The metric's row, and those of all other nodes, with what edges leave out of their effect."""
    model, units = experiment.model, experiment.units
    nodes = node_table(model, units, effects, seed=seed)
    nodes["left_out"] = nodes["effect"] - nodes["node"].map(edges.out)
    metric = metric_row(model, units, experiment.ends, seed=seed)
    return pd.concat([metric, nodes], ignore_index=True)


def _scores(
    found: NodeStage, edges: EdgeTables, ends: np.ndarray, kept: Sequence[Spot], *, seed: int
) -> dict[str, float | None]:
    has_tokens = any(spot.place == TOKENS for spot in kept)
    return graph_scores(
        edges.scores, found.token_effects, ends, has_tokens=has_tokens, seed=seed
    ).model_dump()


def _strongest(effects: NodeEffects, count: int | None) -> list[Spot]:
    """The nodes of largest |mean effect|, and every token node that has one; in forward order."""
    size = _sizes(effects)
    order = np.argsort(-size, kind="stable")[:count]
    tokens = np.arange(effects.index.size)[effects.index.columns(TOKENS)]
    chosen = np.union1d(order, tokens)
    return [effects.index.spot(int(column)) for column in chosen if size[column] > 0]


def _targets(
    effects: NodeEffects, kept: Sequence[Spot], settings: AttributionSettings
) -> list[Spot]:
    """Those of the kept nodes that are expanded."""
    size = _sizes(effects)
    return [s for s in kept if size[effects.index.column(s)] >= settings.target_threshold]


def _share(effects: NodeEffects, kept: Sequence[Spot]) -> float:
    """The share of the summed |mean effect| of all nodes that the kept ones carry."""
    size = _sizes(effects)
    columns = [effects.index.column(spot) for spot in kept]
    return float(size[columns].sum() / size.sum()) if size.sum() > 0 else 1.0


def _sizes(effects: NodeEffects) -> np.ndarray:
    return np.abs(np.asarray(effects.effects.mean(axis=0)).ravel())
