"""Calibration: do the scores say what interventions say?

A stratified sample of nodes and edges is measured by intervention on the graph's own prompts and
compared with the estimates. Strata are decades of |effect|, as a share of the largest: from 0.1 up,
from 0.01, from 0.001, and below; each gives as many, spread evenly over its own ranking. Over the
sample, by stratum and by layer: Pearson and Spearman correlation, how often the sign agrees, and
the error, `sum |measured - estimated| / sum |measured|`. Where a layer's figures are low, a warning
names the non-linearity that makes its estimates miss (`validation.causes`).

Two effects, two interventions. `single` moves one node to its baseline while the rest stays clean:
what a gradient at the clean run estimates. `joint` is a node's share in the change of its whole
site, its Shapley value: the mean effect of the node when each other node of the site is at its
baseline with probability t, t spread evenly over [0, 1]. Integrated gradients along the site
estimate that.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from saecircuits.edges.graph import AttributionGraph
from saecircuits.edges.interventions import intervene_on_edges
from saecircuits.errors import check_seed
from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.estimators import midpoints
from saecircuits.nodes.experiment import Experiment, experiment_of
from saecircuits.nodes.interventions import (
    Spot,
    clean_run,
    effects_of_changes,
    intervene,
    node_change,
)
from saecircuits.splicing import SplicedModel
from saecircuits.splicing.carrying import all_decoded
from saecircuits.tasks import Prompts
from saecircuits.torch_state import in_own_state
from saecircuits.validation.agreement import agreement, plain_agreement
from saecircuits.validation.causes import Cause, cause_of_edges, cause_of_nodes

Against: TypeAlias = Literal["single", "joint"]
# Where strata begin, as shares of the largest |effect|.
STRATA: Final = (0.1, 0.01, 0.001, 0.0)
# A layer with this many members in the sample is warned of below this correlation or agreement.
_ENOUGH: Final = 8
_LOW: Final = 0.9
# What a cause is looked for among.
_WORST: Final = 4
_PROMPTS: Final = 16
# Of a large model on fewer prompts: one pass on them takes about so many operations.
_OPERATIONS: Final = 7e10
_FEWEST_PROMPTS: Final = 2


@in_own_state
def calibrate(
    model: SplicedModel | Experiment,
    graph: AttributionGraph,
    prompts: Prompts | None = None,
    *,
    n_nodes: int = 100,
    n_edges: int = 60,
    against: Against = "single",
    seed: int = 0,
) -> dict[str, Any]:
    """Agreement of estimated with measured effects, for nodes and for edges.

    Args:
        model: the spliced model; or the graph's experiment (`graph.on(model, prompts)`).
        prompts: the prompts that the graph was computed from.
        n_nodes: nodes measured, over all strata.
        n_edges: edges measured, likewise; edges have only a `single` effect.
        against: which intervention nodes are compared with.

    Returns:
        `{"against": ..., "nodes": figures, "edges": figures, "warnings": [...]}`; figures: those of
        `agreement` over the sample, and the same without intervals for every one of `strata` (with
        `least`, where it begins) and of `layers` (with `layer`; of an edge its source's). Warnings,
        of `single` effects of graphs by the gradient of the model as it is: `of` (nodes or edges),
        `layer`, the figures of that layer, the `cause` with its `share`, and all that as a `text`;
        one at most of either, for the layer of lowest correlation.

    Raises:
        InputError: another model, or other prompts, than the graph's.
    """
    check_seed(seed)
    given = experiment_of(
        model,
        prompts,
        function="calibrate",
        **({} if isinstance(model, Experiment) else graph.settings.of_experiment),
    )
    # Measured on the model as it is, whatever the operator of the estimate.
    experiment = graph.checked(given)
    members = graph.nodes[graph.nodes["kind"].isin(["feature", "error"])]
    nodes = members.iloc[stratified(members["effect"].to_numpy(), n_nodes)]
    spots = [experiment.spot(node) for node in nodes["node"]]
    measure = intervene if against == "single" else _joint_effects
    measured = _mean(experiment.measured(lambda batch: measure(batch, spots)))
    edges = graph.edges.iloc[stratified(graph.edges["effect"].to_numpy(), n_edges)]
    pairs = [experiment.edge(*pair) for pair in zip(edges["source"], edges["target"], strict=True)]
    found = experiment.measured(lambda batch: intervene_on_edges(batch, pairs))
    measured_edges = _mean(found)
    layer_of = dict(zip(graph.nodes["node"], graph.nodes["layer"], strict=True))
    samples = {
        "nodes": _Sample.of(nodes["effect"], nodes["layer"], measured, members["effect"]),
        "edges": _Sample.of(
            edges["effect"], edges["source"].map(layer_of), measured_edges, graph.edges["effect"]
        ),
    }
    settings = graph.settings
    warnings = []
    is_slope = settings.chosen_estimator.is_slope and settings.linearization == "full"
    if against == "single" and is_slope:
        some = experiment.first(_afforded(experiment)).as_it_is
        crosses = settings.crosses_thresholds
        causes = {
            "nodes": lambda rows: cause_of_nodes(some, [spots[row] for row in rows]),
            "edges": lambda rows: cause_of_edges(
                some, [pairs[row] for row in rows], crosses=crosses
            ),
        }
        warnings = [
            warning
            for of, sample in samples.items()
            if (warning := sample.warning(of, causes[of])) is not None
        ]
    figures = {of: sample.figures(seed) for of, sample in samples.items()}
    return {"against": against, **figures, "warnings": warnings}


@dataclass(frozen=True, eq=False)
class _Sample:
    """Members of a sample: estimated and measured effects, layers, and shares of the largest."""

    estimated: NDArray[np.float64]
    measured: NDArray[np.float64]
    layers: NDArray[np.int64]
    shares: NDArray[np.float64]

    @classmethod
    def of(
        cls, estimated: pd.Series, layers: pd.Series, measured: NDArray[np.float64], all_: pd.Series
    ) -> "_Sample":
        values = estimated.to_numpy(dtype=np.float64)
        largest = float(all_.abs().max()) if len(all_) else 0.0
        shares = np.abs(values) / largest if largest > 0 else np.zeros_like(values)
        return cls(values, measured, layers.to_numpy(dtype=np.int64), shares)

    def figures(self, seed: int) -> dict[str, Any]:
        stratum = _stratum(self.shares)
        return {
            **agreement(self.estimated, self.measured, seed=seed),
            "strata": [
                {"least": least, **self._some(stratum == number)}
                for number, least in enumerate(STRATA)
            ],
            "layers": [
                {"layer": int(layer), **self._some(self.layers == layer)}
                for layer in np.unique(self.layers)
            ],
        }

    def warning(
        self, of: str, cause: Callable[[Sequence[int]], Cause | None]
    ) -> dict[str, Any] | None:
        """What is wrong with the layer of lowest correlation; None where no layer is low."""
        low = []
        for layer in np.unique(self.layers):
            rows = np.flatnonzero(self.layers == layer)
            found = self._some(rows)
            figures = [found[name] for name in ("spearman", "sign_agreement")]
            if len(rows) >= _ENOUGH and any(x is not None and x < _LOW for x in figures):
                low.append((min(x for x in figures if x is not None), int(layer), rows, found))
        if not low:
            return None
        _, layer, rows, found = min(low, key=lambda one: one[:2])
        misses = np.abs(self.measured[rows] - self.estimated[rows])
        named = cause(rows[np.argsort(-misses, kind="stable")[:_WORST]].tolist())
        return {
            "of": of,
            "layer": layer,
            **found,
            "cause": None if named is None else named.text,
            "share": None if named is None else named.share,
            "text": _sentence(of, layer, found, named),
        }

    def _some(self, rows: NDArray[Any]) -> dict[str, Any]:
        return plain_agreement(self.estimated[rows], self.measured[rows])


def _afforded(experiment: Experiment) -> int:
    """How many prompts a cause is looked for on."""
    each = 2 * experiment.model.n_weights * experiment.prompts.clean_tokens.shape[1]
    return max(_FEWEST_PROMPTS, min(_PROMPTS, int(_OPERATIONS / each)))


def _sentence(of: str, layer: int, figures: dict[str, Any], cause: Cause | None) -> str:
    where = "edges from tokens" if layer < 0 else f"{of} {'from' if of == 'edges' else 'in'} "
    where += "" if layer < 0 else f"layer {layer}"
    parts = [
        f"Spearman {figures['spearman']:.2f}" if figures["spearman"] is not None else "",
        f"right sign {figures['sign_agreement']:.0%}"
        if figures["sign_agreement"] is not None
        else "",
    ]
    found = ", ".join(filter(None, parts))
    sample = f"{figures['sample']} {of}"
    text = f"Estimates of {where} do not follow measured effects ({found}; {sample})."
    if cause is None:
        return text
    return (
        f"{text} Most of what the worst of them miss comes from {cause.text} "
        f"({cause.share:.0%} of what each kind of non-linearity does by itself)."
    )


def stratified(effects: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """About `count` places in `effects`: each stratum gives as many, or all that it has.

    Within a stratum they are spread evenly over its ranking by |effect|.
    """
    size = np.abs(effects)
    if not len(size):
        return np.zeros(0, dtype=np.int64)
    stratum = _stratum(size / size.max() if size.max() > 0 else size)
    strata = [np.flatnonzero(stratum == number) for number in range(len(STRATA))]
    chosen, left = [], min(count, len(size))
    # The smallest first, so that the others share what it cannot give.
    for number, members in enumerate(sorted(strata, key=len)):
        ranked = members[np.argsort(-size[members], kind="stable")]
        some = spread_ranks(len(ranked), left // (len(strata) - number))
        chosen.append(ranked[some])
        left -= len(some)
    return np.sort(np.concatenate(chosen))


def _stratum(shares: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.sum([shares < least for least in STRATA[:-1]], axis=0).astype(np.int64)


def spread_ranks(n_ranked: int, count: int) -> NDArray[np.int64]:
    """`count` ranks spread evenly over `n_ranked`, the first and the last among them."""
    if n_ranked <= count:
        return np.arange(n_ranked)
    if count < 1:
        return np.zeros(0, dtype=np.int64)
    return np.unique(np.linspace(0, n_ranked - 1, count).round().astype(np.int64))


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return torch.as_tensor(values, device="cpu").mean(1).numpy()


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
    is_absent = torch.rand(len(units), d_sae + 1, generator=generator, device="cpu") < share
    is_absent[spot.unit, spot.feature] = False  # ERROR, -1, is the last column
    there = is_absent[units.clean.clamp(min=0).cpu()].to(contrast.tokens.device)
    change, dictionary = contrast.feature_change(place), contrast.model.splices[place].dictionary
    is_gone = there.flatten(0, 1)[change.token, change.feature]
    absent = change.weighted(is_gone.to(change.value))
    error = contrast.error_change(place) * there[..., -1:]
    return all_decoded(dictionary, absent) + contrast.alone(place, error)
