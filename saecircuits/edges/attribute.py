"""`attribute`: from a spliced model and prompt pairs to an attribution graph.

1. the clean run and the baseline of every node, batch by batch (`nodes.contrast`);
2. `dm/dx` at every place by the chosen estimator, and from it every node's effect;
3. the strongest nodes, over all prompts;
4. the direct edges among them and to the metric (`edges.factorised`, or `edges.reference` where
   that does not cover the model; the summary says which);
5. tables, with bootstrap intervals over prompts.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from saecircuits.edges.factorised import covers, factorised_edge_blocks
from saecircuits.edges.graph import (
    METRIC,
    AttributionGraph,
    edge_table,
    metric_row,
    node_id,
    node_table,
    parse_node_id,
)
from saecircuits.edges.interventions import intervene_on_edges
from saecircuits.edges.reference import EdgeBlock, edge_blocks
from saecircuits.edges.settings import AttributionSettings
from saecircuits.errors import InputError
from saecircuits.nodes.ablation import ablate_all, faithfulness, keep_all, keep_none, keep_spots
from saecircuits.nodes.baselines import unit_means
from saecircuits.nodes.contrast import TOKENS, Contrast, contrasts
from saecircuits.nodes.effects import NodeEffects, joined, node_effects
from saecircuits.nodes.estimators import (
    IntegrationSettings,
    PlaceGradient,
    clean_gradients,
    integrated_gradients,
)
from saecircuits.nodes.interventions import ERROR, Spot, intervene
from saecircuits.nodes.units import Units, make_units
from saecircuits.splicing import SplicedModel
from saecircuits.splicing.operators import FULL
from saecircuits.tasks import Prompts

Progress = Callable[[str, float], None]
Engine = Callable[[Contrast, dict[int, PlaceGradient], Sequence[Spot]], Iterator[EdgeBlock]]


def _silent(stage: str, share: float) -> None:
    """No progress shown."""


def attribute(
    model: SplicedModel,
    prompts: Prompts,
    *,
    settings: AttributionSettings | None = None,
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
        progress: called with a stage's name and the share done.

    Raises:
        UnknownNameError: a choice that does not exist.
        TaskError: prompts that do not suit `positions`.
        InputError: settings given twice.
    """
    if settings is not None and choices:
        raise InputError(
            f"attribute was given settings and also {', '.join(sorted(choices))}; give one of them"
        )
    settings = settings or AttributionSettings(**choices)
    units = make_units(prompts, settings.positions, tokenizer=model.tokenizer)
    batches = list(_batches(model, prompts, units, settings))
    parts, gradients = _node_stage(batches, settings, progress)
    effects = joined(parts)
    nodes = node_table(model, units, effects, seed=settings.seed)
    kept = _strongest(effects, settings.max_nodes)
    engine, blocks_of = _choose_engine(model, settings)
    edges = _edge_stage(batches, gradients, kept, units, settings, progress, blocks_of=blocks_of)
    ends = _ends(as_it_is := _unfrozen(batches))
    sink = metric_row(model, units, ends, seed=settings.seed)
    return AttributionGraph(
        nodes=pd.concat([sink, nodes], ignore_index=True),
        edges=edges,
        settings=settings,
        summary={
            "metric_clean": float(ends[0].mean()),
            "metric_baseline": float(ends[1].mean()),
            "prompts": len(prompts),
            "edge_engine": engine,
            "edge_nodes": len(kept),
            "edge_nodes_share_of_effect": _share(effects, kept),
            "places": _place_summaries(model, gradients),
        },
        provenance={**model.describe(), "prompts": prompts.digest},
        faithfulness=partial(_faithfulness, as_it_is, ends),
    )


def measurable(graph: AttributionGraph, model: SplicedModel, prompts: Prompts) -> AttributionGraph:
    """A graph read from disk, able again to measure faithfulness on its own prompts.

    Raises:
        InputError: a model or prompts other than the graph's.
    """
    expected = {**model.describe(), "prompts": prompts.digest}
    for key, value in expected.items():
        if graph.provenance.get(key) != value:
            raise InputError(
                f"the graph was computed with {key} {graph.provenance.get(key)!r}, but "
                f"{value!r} was given; give the graph's own model and prompts"
            )
    units = make_units(prompts, graph.settings.positions, tokenizer=model.tokenizer)
    batches = _unfrozen(_batches(model, prompts, units, graph.settings))
    return replace(graph, faithfulness=partial(_faithfulness, batches, _ends(batches)))


def _unfrozen(batches: Iterable[Contrast]) -> list[Contrast]:
    """The same contrasts on the model as it is: whatever ranks nodes, circuits run in the model."""
    return [replace(batch, operator=FULL) for batch in batches]


def _ends(batches: Sequence[Contrast]) -> NDArray[np.float64]:
    """The metric of every prompt with every node clean, and with every node at its baseline."""
    model, units = batches[0].model, batches[0].units
    return ablate_all(batches, [keep(model, len(units)) for keep in (keep_all, keep_none)])


def _batches(
    model: SplicedModel, prompts: Prompts, units: Units, settings: AttributionSettings
) -> Iterator[Contrast]:
    means = unit_means(model, prompts, units) if settings.baseline == "mean" else None
    return contrasts(
        model,
        prompts,
        units,
        baseline=settings.baseline,
        means=means,
        linearization=settings.linearization,
        error_policy=settings.error_policy,
        batch_size=settings.batch_size,
    )


def _node_stage(
    batches: Sequence[Contrast], settings: AttributionSettings, progress: Progress
) -> tuple[list[NodeEffects], list[dict[int, PlaceGradient]]]:
    parts, gradients = [], []
    for number, batch in enumerate(batches):
        if settings.estimator == "integrated_gradients":
            found = integrated_gradients(batch, IntegrationSettings(tolerance=settings.tolerance))
        else:
            found = clean_gradients(batch)
        effects = node_effects(batch, found)
        if settings.estimator == "intervention":
            effects = _measured(batch, effects)
        parts.append(effects)
        gradients.append(found)
        progress("nodes", (number + 1) / len(batches))
    return parts, gradients


def _measured(batch: Contrast, estimated: NodeEffects) -> NodeEffects:
    """The same nodes with their effects measured by intervention instead."""
    # A gradient of zero does not say that an effect is: closed gates may open.
    changed = np.union1d(
        (estimated.activations - estimated.baselines).nonzero()[1],
        estimated.effects.nonzero()[1],
    )
    spots = [estimated.index.spot(int(column)) for column in changed]
    measured = intervene(batch, spots).T.double().cpu().numpy()
    n_prompt = measured.shape[0]
    rows, columns = np.repeat(np.arange(n_prompt), len(changed)), np.tile(changed, n_prompt)
    return NodeEffects(
        estimated.index,
        sparse.csr_matrix((measured.ravel(), (rows, columns)), shape=estimated.effects.shape),
        estimated.activations,
        estimated.baselines,
    )


def _strongest(effects: NodeEffects, count: int) -> list[Spot]:
    """The nodes of largest |mean effect|, and every token node that has one; in forward order."""
    size = np.abs(np.asarray(effects.effects.mean(axis=0)).ravel())
    order = np.argsort(-size, kind="stable")[:count]
    tokens = np.arange(effects.index.size)[effects.index.columns(TOKENS)]
    chosen = np.union1d(order, tokens)
    return [effects.index.spot(int(column)) for column in chosen if size[column] > 0]


def _edge_stage(
    batches: Sequence[Contrast],
    gradients: Sequence[dict[int, PlaceGradient]],
    kept: Sequence[Spot],
    units: Units,
    settings: AttributionSettings,
    progress: Progress,
    *,
    blocks_of: Engine,
) -> pd.DataFrame:
    """Direct edges among the kept nodes, prompts side by side."""
    model = batches[0].model
    names = {spot: node_id(model, units.names, spot) for spot in kept}
    found: dict[tuple[str, str], tuple[bool, list[NDArray[np.float64]], list[float]]] = {}
    for number, (batch, gradient) in enumerate(zip(batches, gradients, strict=True)):
        for block in blocks_of(batch, gradient, kept):
            effects = block.effects.detach().double().cpu().numpy()
            weights = block.weights.detach().double().cpu().numpy()
            if settings.estimator == "intervention":
                effects = _measured_edges(batch, block.sources, block.targets)
            for row, target in enumerate(block.targets or (None,)):
                for column, source in enumerate(block.sources):
                    key = (names[source], METRIC if target is None else names[target])
                    is_linear = source.feature != ERROR and (
                        target is None or target.feature != ERROR
                    )
                    _, per_prompt, direct = found.setdefault(key, (is_linear, [], []))
                    per_prompt.append(effects[row, column])
                    direct.append(float(weights[row, column].sum()))
        progress("edges", (number + 1) / len(batches))
    n_prompt = sum(len(batch.prompts) for batch in batches)
    return edge_table(
        [source for source, _ in found],
        [target for _, target in found],
        np.array([np.concatenate(parts) for _, parts, _ in found.values()]).reshape(
            len(found), n_prompt
        ),
        np.array([sum(d) / n_prompt if linear else np.nan for linear, _, d in found.values()]),
        seed=settings.seed,
    )


def _choose_engine(model: SplicedModel, settings: AttributionSettings) -> tuple[str, Engine]:
    """The engine that computes the edges, and what files say of it."""
    reason = covers(model) if settings.engine != "reference" else "asked for"
    if reason is None:
        return "factorised", factorised_edge_blocks
    if settings.engine == "factorised":
        raise InputError(
            f"the factorised engine does not cover this model ({reason}); use engine='auto' or "
            "'reference'"
        )
    return f"reference ({reason})", edge_blocks


def _measured_edges(
    batch: Contrast, sources: Sequence[Spot], targets: Sequence[Spot] | None
) -> NDArray[np.float64]:
    pairs = [(source, target) for target in targets or (None,) for source in sources]
    measured = intervene_on_edges(batch, pairs).double().cpu().numpy()
    return measured.reshape(len(targets or (None,)), len(sources), -1)


def _faithfulness(
    batches: Sequence[Contrast], ends: NDArray[np.float64], nodes: Sequence[str]
) -> float:
    """Node faithfulness of a set of node ids on the graph's own prompts."""
    model, units = batches[0].model, batches[0].units.names
    spots = [parse_node_id(model, units, node) for node in nodes]
    kept = keep_spots(model, len(units), spots)
    return faithfulness(ablate_all(batches, [kept])[0], whole=ends[0], empty=ends[1])


def _share(effects: NodeEffects, kept: Sequence[Spot]) -> float:
    """The share of the summed |mean effect| of all nodes that the kept ones carry."""
    size = np.abs(np.asarray(effects.effects.mean(axis=0)).ravel())
    columns = [effects.index.column(spot) for spot in kept]
    return float(size[columns].sum() / size.sum()) if size.sum() > 0 else 1.0


def _place_summaries(
    model: SplicedModel, gradients: Sequence[dict[int, PlaceGradient]]
) -> list[dict[str, Any]]:
    """Per place: integration steps, and the completeness gap relative to the true joint change."""
    summaries = []
    for place in gradients[0]:
        parts = [gradient[place] for gradient in gradients]
        name = "hook_embed" if place == TOKENS else model.hooks[place]
        summary: dict[str, Any] = {"site": name, "steps": max(part.steps for part in parts)}
        measured = [(part.explained, part.actual) for part in parts if part.actual is not None]
        if measured:
            gap = sum(float((explained - actual).abs().sum()) for explained, actual in measured)
            scale = sum(float(actual.abs().sum()) for _, actual in measured)
            summary["completeness_gap"] = gap / scale if scale > 0 else 0.0
        summaries.append(summary)
    return summaries
