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
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from saecircuits.edges.edge_stage import choose_engine, edge_stage
from saecircuits.edges.graph import (
    AttributionGraph,
    metric_row,
    node_table,
    parse_node_id,
)
from saecircuits.edges.memory import plan_memory, targets_at_once
from saecircuits.edges.node_stage import node_stage
from saecircuits.edges.settings import AttributionSettings
from saecircuits.edges.streaming import EdgeFile
from saecircuits.edges.thresholds import longest_unit
from saecircuits.errors import InputError
from saecircuits.nodes.ablation import ablate_all, faithfulness, keep_all, keep_none, keep_spots
from saecircuits.nodes.baselines import baseline_source
from saecircuits.nodes.contrast import TOKENS, Batches, Contrast, contrasts
from saecircuits.nodes.effects import NodeEffects
from saecircuits.nodes.interventions import Spot
from saecircuits.nodes.units import Units, make_units
from saecircuits.splicing import SplicedModel, require_same_model
from saecircuits.splicing.operators import FULL
from saecircuits.tasks import Prompts
from saecircuits.torch_state import in_own_state

Progress = Callable[[str, float], None]


def _silent(stage: str, share: float) -> None:
    """No progress shown."""


@in_own_state
def attribute(
    model: SplicedModel,
    prompts: Prompts,
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
        prompts: the training prompts; keep test prompts for `validate`.
        settings: all choices in one value; or give fields by name.
        all_edges: a Parquet file to write every edge to that is not zero, also those that the
            graph has no room for (`max_edges`); rows in forward order of their targets.
        progress: called with a stage's name and the share done.

    Raises:
        UnknownNameError: a choice that does not exist.
        TaskError: prompts that do not suit `positions`.
        InputError: settings given twice; a memory limit that is too small; a file that is there
            already, or cannot be written.
    """
    if settings is not None and choices:
        raise InputError(
            f"attribute was given settings and also {', '.join(sorted(choices))}; give one of them"
        )
    settings = settings or AttributionSettings(**choices)
    units = make_units(prompts, settings.positions, tokenizer=model.tokenizer)
    plan = plan_memory(model, prompts, settings)
    batches = _batches(
        model, prompts, units, settings, batch_size=plan.batch_size, is_kept=plan.is_kept
    )
    effects, gradients, places = node_stage(batches, settings, progress)
    nodes = node_table(model, units, effects, seed=settings.seed)
    kept = _strongest(effects, settings.max_nodes)
    engine = choose_engine(model, settings)
    with nullcontext() if all_edges is None else EdgeFile(all_edges) as file:
        found = edge_stage(
            batches,
            gradients,
            kept,
            _targets(effects, kept, settings),
            units,
            settings,
            n_prompt=len(prompts),
            engine=engine,
            targets_at_once=targets_at_once(
                plan,
                model,
                prompts,
                settings,
                n_source=len(kept),
                n_unit=len(units),
                n_slice=longest_unit(units) if settings.crosses_thresholds else 0,
            ),
            file=file,
            progress=progress,
        )
    nodes["left_out"] = nodes["effect"] - nodes["node"].map(found.out)
    ends = _ends(as_it_is := batches.with_operator(FULL))
    sink = metric_row(model, units, ends, seed=settings.seed)
    return AttributionGraph(
        nodes=pd.concat([sink, nodes], ignore_index=True),
        edges=found.edges,
        edge_parts=found.parts,
        settings=settings,
        summary={
            "metric_clean": float(ends[0].mean()),
            "metric_baseline": float(ends[1].mean()),
            "prompts": len(prompts),
            "edge_engine": engine.described,
            "edge_nodes": len(kept),
            "edge_nodes_share_of_effect": _share(effects, kept),
            "edges_computed": found.computed,
            "edges_kept_share_of_effect": found.kept_share,
            "places": places,
        },
        provenance={**model.describe(), "prompts": prompts.digest},
        faithfulness=partial(_faithfulness, as_it_is, ends),
        batches=partial(_batches, model, prompts, units, settings),
    )


@in_own_state
def measurable(graph: AttributionGraph, model: SplicedModel, prompts: Prompts) -> AttributionGraph:
    """A graph read from disk, able again to measure and to compute on its own prompts.

    Raises:
        InputError: a model or prompts other than the graph's.
    """
    require_same_model(model, graph.provenance, what="graph")
    if graph.provenance.get("prompts") != prompts.digest:
        raise InputError(
            "the graph was computed from other prompts than those given; give the graph's own, "
            "such as task.train, all of them"
        )
    units = make_units(prompts, graph.settings.positions, tokenizer=model.tokenizer)
    plan = plan_memory(model, prompts, graph.settings)
    again = partial(_batches, model, prompts, units, graph.settings)
    batches = again(batch_size=plan.batch_size, is_kept=plan.is_kept).with_operator(FULL)
    return replace(
        graph, faithfulness=partial(_faithfulness, batches, _ends(batches)), batches=again
    )


def _ends(batches: Sequence[Contrast]) -> NDArray[np.float64]:
    """The metric of every prompt with every node clean, and with every node at its baseline."""
    model, units = batches[0].model, batches[0].units
    return ablate_all(batches, [keep(model, len(units)) for keep in (keep_all, keep_none)])


def _batches(
    model: SplicedModel,
    prompts: Prompts,
    units: Units,
    settings: AttributionSettings,
    *,
    batch_size: int,
    is_kept: bool = False,
) -> Batches:
    """The prompts as contrasts; whatever ranks nodes, circuits run in the model as it is."""
    source = baseline_source(
        model, prompts, settings.positions, kind=settings.baseline, seed=settings.seed
    )
    return contrasts(
        model,
        prompts,
        units,
        baseline=settings.baseline,
        source=source,
        linearization=settings.linearization,
        error_policy=settings.error_policy,
        batch_size=batch_size,
        is_kept=is_kept,
    )


def _strongest(effects: NodeEffects, count: int | None) -> list[Spot]:
    """The nodes of largest |mean effect|, and every token node that has one; in forward order."""
    size = np.abs(np.asarray(effects.effects.mean(axis=0)).ravel())
    order = np.argsort(-size, kind="stable")[:count]
    tokens = np.arange(effects.index.size)[effects.index.columns(TOKENS)]
    chosen = np.union1d(order, tokens)
    return [effects.index.spot(int(column)) for column in chosen if size[column] > 0]


def _faithfulness(
    batches: Sequence[Contrast], ends: NDArray[np.float64], nodes: Sequence[str]
) -> float:
    """Node faithfulness of a set of node ids on the graph's own prompts."""
    model, units = batches[0].model, batches[0].units.names
    spots = [parse_node_id(model, units, node) for node in nodes]
    kept = keep_spots(model, len(units), spots)
    return faithfulness(ablate_all(batches, [kept])[0], whole=ends[0], empty=ends[1])


def _targets(
    effects: NodeEffects, kept: Sequence[Spot], settings: AttributionSettings
) -> list[Spot]:
    """Those of the kept nodes that are expanded."""
    size = np.abs(np.asarray(effects.effects.mean(axis=0)).ravel())
    return [s for s in kept if size[effects.index.column(s)] >= settings.target_threshold]


def _share(effects: NodeEffects, kept: Sequence[Spot]) -> float:
    """The share of the summed |mean effect| of all nodes that the kept ones carry."""
    size = np.abs(np.asarray(effects.effects.mean(axis=0)).ravel())
    columns = [effects.index.column(spot) for spot in kept]
    return float(size[columns].sum() / size.sum()) if size.sum() > 0 else 1.0
