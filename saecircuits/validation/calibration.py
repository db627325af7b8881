"""Calibration: do the scores say what interventions say?

A stratified sample of nodes and edges, drawn over the whole range of scores, is measured by
intervention on the graph's own prompts and compared with the estimates: Pearson and Spearman
correlation over the sample, with bootstrap intervals, and how often the sign agrees.

Two effects, two interventions. `single` moves one node to its baseline while the rest stays clean:
what a gradient at the clean run estimates. `joint` is a node's share in the change of its whole
site, its Shapley value: the mean effect of the node when each other node of the site is at its
baseline with probability t, t spread evenly over [0, 1]. Integrated gradients along the site
estimate that.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from saecircuits.edges.graph import METRIC, AttributionGraph, parse_node_id
from saecircuits.edges.interventions import intervene_on_edges
from saecircuits.errors import InputError
from saecircuits.nodes.baselines import baseline_source
from saecircuits.nodes.contrast import Contrast, contrasts
from saecircuits.nodes.estimators import midpoints
from saecircuits.nodes.interventions import (
    Spot,
    clean_run,
    effects_of_changes,
    intervene,
    node_change,
)
from saecircuits.nodes.units import make_units
from saecircuits.splicing import SplicedModel
from saecircuits.splicing.inference import full_precision
from saecircuits.tasks import Prompts

Against: TypeAlias = Literal["single", "joint"]


@full_precision()
def calibrate(
    model: SplicedModel,
    graph: AttributionGraph,
    prompts: Prompts,
    *,
    n_nodes: int = 100,
    n_edges: int = 60,
    against: Against = "single",
    seed: int = 0,
) -> dict[str, Any]:
    """Agreement of estimated with measured effects, for nodes and for edges.

    Args:
        prompts: the prompts that the graph was computed from.
        n_nodes: nodes measured, spread evenly over the ranking by |effect|.
        n_edges: edges measured, likewise; edges have only a `single` effect.
        against: which intervention nodes are compared with.

    Returns:
        `{"nodes": figures, "edges": figures}`; figures: sample, pearson, pearson_low,
        pearson_high, spearman, spearman_low, spearman_high, sign_agreement, and the pairs
        themselves (estimated, measured).

    Raises:
        InputError: other prompts than the graph's.
    """
    if prompts.digest != graph.provenance["prompts"]:
        raise InputError(
            "calibrate was given other prompts than the graph was computed from; give the same"
        )
    batches = _batches(model, graph, prompts)
    units = batches[0].units.names
    members = graph.nodes[graph.nodes["kind"].isin(["feature", "error"])]
    nodes = members.iloc[spread_ranks(len(members), n_nodes)]
    spots = [parse_node_id(model, units, node) for node in nodes["node"]]
    measure = intervene if against == "single" else _joint_effects
    measured = _mean_over_prompts([measure(batch, spots) for batch in batches])
    edges = graph.edges.iloc[spread_ranks(len(graph.edges), n_edges)]
    pairs = [
        (
            parse_node_id(model, units, source),
            None if target == METRIC else parse_node_id(model, units, target),
        )
        for source, target in zip(edges["source"], edges["target"], strict=True)
    ]
    measured_edges = _mean_over_prompts([intervene_on_edges(batch, pairs) for batch in batches])
    return {
        "against": against,
        "nodes": agreement(nodes["effect"].to_numpy(), measured, seed=seed),
        "edges": agreement(edges["effect"].to_numpy(), measured_edges, seed=seed),
    }


def spread_ranks(n_ranked: int, count: int) -> NDArray[np.int64]:
    """`count` ranks spread evenly over `n_ranked`, the first and the last among them."""
    if n_ranked <= count:
        return np.arange(n_ranked)
    return np.unique(np.linspace(0, n_ranked - 1, count).round().astype(np.int64))


def agreement(
    estimated: NDArray[np.float64],
    measured: NDArray[np.float64],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Pearson and Spearman correlation with 95% bootstrap intervals over the sample, and signs.

    `sign_agreement` counts only what is measurably not zero (|measured| over a thousandth of the
    largest). Correlations of fewer than three pairs are None.
    """
    figures: dict[str, Any] = {"sample": len(estimated)}
    generator = np.random.default_rng(seed)
    draws = generator.integers(0, max(1, len(estimated)), size=(resamples, len(estimated)))
    for name, ranked in (("pearson", False), ("spearman", True)):
        (found,) = _correlations(estimated[None], measured[None], ranked=ranked)
        again = _correlations(estimated[draws], measured[draws], ranked=ranked)
        known = again[~np.isnan(again)]
        low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (None, None)
        figures |= {
            name: None if np.isnan(found) else float(found),
            f"{name}_low": None if low is None else float(low),
            f"{name}_high": None if high is None else float(high),
        }
    counts = np.abs(measured) > 1e-3 * np.abs(measured).max(initial=0.0)
    figures["sign_agreement"] = (
        float((np.sign(estimated) == np.sign(measured))[counts].mean()) if counts.any() else None
    )
    figures["estimated"] = [float(value) for value in estimated]
    figures["measured"] = [float(value) for value in measured]
    return figures


def _correlations(
    first: Float[NDArray[np.float64], "draw pair"],
    second: Float[NDArray[np.float64], "draw pair"],
    *,
    ranked: bool,
) -> Float[NDArray[np.float64], " draw"]:
    """Pearson's correlation of every row, of ranks if wanted; NaN where one side does not vary."""
    if first.shape[1] < 3:
        return np.full(len(first), np.nan)
    varies = (np.ptp(first, axis=1) > 0) & (np.ptp(second, axis=1) > 0)
    if ranked:
        first, second = stats.rankdata(first, axis=1), stats.rankdata(second, axis=1)
    first, second = (side - side.mean(1, keepdims=True) for side in (first, second))
    size = np.sqrt((first**2).sum(1) * (second**2).sum(1))
    product = (first * second).sum(1)
    return np.divide(product, size, out=np.full(len(first), np.nan), where=varies).clip(-1, 1)


def _batches(model: SplicedModel, graph: AttributionGraph, prompts: Prompts) -> list[Contrast]:
    settings = graph.settings
    units = make_units(prompts, settings.positions, tokenizer=model.tokenizer)
    source = baseline_source(
        model, prompts, settings.positions, kind=settings.baseline, seed=settings.seed
    )
    # Measured on the model as it is, whatever the operator of the estimate.
    return list(
        contrasts(
            model,
            prompts,
            units,
            baseline=settings.baseline,
            source=source,
            error_policy=settings.error_policy,
            batch_size=settings.batch_size,
        )
    )


def _mean_over_prompts(parts: Sequence[Tensor]) -> NDArray[np.float64]:
    return torch.cat(list(parts), dim=1).double().mean(1).cpu().numpy()


@torch.no_grad()
def _joint_effects(contrast: Contrast, spots: Sequence[Spot], *, coalitions: int = 8) -> Tensor:
    """Shapley values of nodes in their sites, by one random coalition for each of several t."""
    generator = torch.Generator().manual_seed(0)
    clean = clean_run(contrast)
    effects = []
    for spot in spots:
        node = node_change(contrast, spot)
        others = [
            _absent_others(contrast, spot, float(share), generator)
            for share in midpoints(coalitions)
        ]
        changes = [
            (spot.place, partial(torch.add, absent, node, alpha=alpha))
            for alpha in (0, 1)
            for absent in others
        ]
        measured = effects_of_changes(contrast, changes, clean=clean)
        without, with_node = measured.unflatten(0, (2, coalitions))
        effects.append((with_node - without).mean(0))
    return torch.stack(effects)


def _absent_others(
    contrast: Contrast, spot: Spot, share: float, generator: torch.Generator
) -> Tensor:
    """What every other node of the site takes away, each absent with probability `share`."""
    units, place = contrast.units, spot.place
    d_sae = contrast.model.splices[place].dictionary.d_sae
    is_absent = torch.rand(len(units), d_sae + 1, generator=generator) < share
    is_absent[spot.unit, spot.feature] = False  # ERROR, -1, is the last column
    there = is_absent[units.clean.clamp(min=0).cpu()].to(contrast.tokens.device)
    features = contrast.feature_change(place).dense() * there[..., :-1]
    error = contrast.error_change(place) * there[..., -1:]
    return features @ contrast.model.splices[place].dictionary.W_dec + error
