"""Effects of all nodes, batch by batch, by the chosen estimator."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from saecircuits.edges.settings import AttributionSettings
from saecircuits.nodes.contrast import TOKENS, Batches, Contrast
from saecircuits.nodes.effects import NodeEffects, joined, node_effects
from saecircuits.nodes.estimators import (
    IntegrationSettings,
    PlaceGradient,
    clean_gradients,
    integrated_gradients,
)
from saecircuits.nodes.interventions import intervene
from saecircuits.splicing import SplicedModel
from saecircuits.splicing.sites import TOKEN_HOOK


class NodeStage(NamedTuple):
    """What the edges and the graph need of the nodes.

    Attributes:
        gradients: `dm/dx` at every place of every batch; None where they are made anew.
        places: figures about every place, for the summary.
    """

    effects: NodeEffects
    gradients: list[dict[int, PlaceGradient]] | None
    places: list[dict[str, Any]]


def node_stage(
    batches: Batches, settings: AttributionSettings, progress: Callable[[str, float], None]
) -> NodeStage:
    """The effect of every node on every prompt."""
    parts: list[NodeEffects] = []
    gradients: list[dict[int, PlaceGradient]] = []
    for number in range(len(batches)):
        batch = batches[number]
        found = estimate(batch, settings)
        effects = node_effects(batch, found)
        if settings.estimator == "intervention":
            effects = _measured(batch, effects)
        parts.append(effects)
        gradients.append(found if batches.is_kept else _without_gradient(found))
        progress("nodes", (number + 1) / len(batches))
    places = _place_summaries(batch.model, gradients)
    return NodeStage(joined(parts), gradients if batches.is_kept else None, places)


def estimate(batch: Contrast, settings: AttributionSettings) -> dict[int, PlaceGradient]:
    """`dm/dx` at every place by the estimator; by the gradient where effects are measured."""
    if settings.estimator == "integrated_gradients":
        return integrated_gradients(batch, IntegrationSettings(tolerance=settings.tolerance))
    return clean_gradients(batch)


def _without_gradient(found: dict[int, PlaceGradient]) -> dict[int, PlaceGradient]:
    return {place: replace(each, gradient=each.gradient[:, :0]) for place, each in found.items()}


def _measured(batch: Contrast, estimated: NodeEffects) -> NodeEffects:
    """The same nodes with their effects measured by intervention instead."""
    # A gradient of zero does not say that an effect is: closed gates may open.
    changed = np.union1d(
        (estimated.activations - estimated.baselines).nonzero()[1],
        estimated.effects.nonzero()[1],
    )
    spots = [estimated.index.spot(int(column)) for column in changed]
    measured = intervene(batch, spots).T.cpu().double().numpy()
    n_prompt = measured.shape[0]
    rows, columns = np.repeat(np.arange(n_prompt), len(changed)), np.tile(changed, n_prompt)
    return NodeEffects(
        estimated.index,
        sparse.csr_matrix((measured.ravel(), (rows, columns)), shape=estimated.effects.shape),
        estimated.activations,
        estimated.baselines,
    )


def _place_summaries(
    model: SplicedModel, gradients: Sequence[dict[int, PlaceGradient]]
) -> list[dict[str, Any]]:
    """Per place: integration steps, and the completeness gap relative to the true joint change."""
    summaries = []
    for place in gradients[0]:
        parts = [gradient[place] for gradient in gradients]
        name = TOKEN_HOOK if place == TOKENS else model.hooks[place]
        summary: dict[str, Any] = {"site": name, "steps": max(part.steps for part in parts)}
        measured = [(part.explained, part.actual) for part in parts if part.actual is not None]
        if measured:
            gap = sum(float((explained - actual).abs().sum()) for explained, actual in measured)
            scale = sum(float(actual.abs().sum()) for _, actual in measured)
            summary["completeness_gap"] = gap / scale if scale > 0 else 0.0
        summaries.append(summary)
    return summaries
