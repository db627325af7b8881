"""Effects of all nodes, batch by batch, by the chosen estimator."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from saecircuits.edges.settings import AttributionSettings
from saecircuits.errors import ModelError
from saecircuits.nodes.contrast import TOKENS, Contrast
from saecircuits.nodes.effects import NodeEffects, joined
from saecircuits.nodes.estimators import PlaceGradient
from saecircuits.nodes.experiment import Experiment
from saecircuits.nodes.features_alone import token_effects
from saecircuits.splicing import SplicedModel
from saecircuits.splicing.sites import TOKEN_HOOK


class NodeStage(NamedTuple):
    """What the edges and the graph need of the nodes.

    Attributes:
        gradients: `dm/dx` at every place of every batch; None where they are made anew.
        places: figures about every place, for the summary.
        token_effects: `[2, prompt]`: the tokens' linear effect, and what goes by features alone.
    """

    effects: NodeEffects
    gradients: Sequence[dict[int, PlaceGradient]] | None
    places: list[dict[str, Any]]
    token_effects: NDArray[np.float64]


def node_stage(
    experiment: Experiment, settings: AttributionSettings, progress: Callable[[str, float], None]
) -> NodeStage:
    """The effect of every node on every prompt."""
    estimator = settings.chosen_estimator

    def of(batch: Contrast) -> tuple[NodeEffects, dict[int, PlaceGradient], Tensor]:
        found = estimator.gradients(batch)
        effects = estimator.effects(batch, found)
        progress("nodes", (batch.number + 1) / experiment.n_batch)
        is_slope = estimator.is_slope and not batch.holds_errors
        tokens = token_effects(batch, found[TOKENS] if is_slope else None)
        return effects, found if experiment.keeps_runs else _without_gradient(found), tokens

    parts, gradients, tokens = zip(*experiment.over_batches(of), strict=True)
    places = _place_summaries(experiment.model, gradients)
    _check_finite(experiment.model, parts)
    kept = gradients if experiment.keeps_runs else None
    by_prompt = np.concatenate([some.double().numpy() for some in tokens], axis=1)
    return NodeStage(joined(parts), kept, places, by_prompt)


def _check_finite(model: SplicedModel, parts: Sequence[NodeEffects]) -> None:
    for part in parts:
        wrong = np.flatnonzero(~np.isfinite(part.effects.data))
        if not len(wrong):
            continue
        place = part.index.spot(int(part.effects.indices[wrong[0]])).place
        site = TOKEN_HOOK if place == TOKENS else model.hooks[place]
        raise ModelError(
            f"effects of {len(wrong)} nodes are NaN or infinite, the first of them at {site}: the "
            "metric has no derivative there on these prompts in this dtype; choose one with a "
            "larger range, or other prompts"
        )


def _without_gradient(found: dict[int, PlaceGradient]) -> dict[int, PlaceGradient]:
    return {place: replace(each, gradient=each.gradient[:, :0]) for place, each in found.items()}


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
