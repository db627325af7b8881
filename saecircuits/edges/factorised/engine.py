"""Direct effects without autograd: the factorised engine.

The same edges as `edges.reference`, from one cached forward pass. A target's cotangent is a vector
at its own token, and stays one through the MLP and the norms; attention alone moves it to other
tokens, through heads that are d_head wide. So:

1. the run is taken apart (`model`);
2. targets become rows, one vector per active token (`rows`);
3. each row walks back over the stations of its way, from its site to the nearest cut of the whole
   stream: sites hand over their sources, MLPs and norms apply their vector-Jacobian products, and
   an attention layer is crossed into its heads (`attention`);
4. at every site rows meet the sources (`meeting`), which were projected into the same
   heads once for all rows (`sources`).

Where dictionaries cut the stream at every layer, nothing is ever dense in targets, tokens and
d_model. A way that passes another MLP or attention layer after one has been crossed is followed
as exactly, but densely from there on. `covers` says what stands against a model; then
`edges.reference` is the engine to take.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from saecircuits.edges.factorised.checks import NotCoveredError
from saecircuits.edges.factorised.model import take_apart
from saecircuits.edges.factorised.walk import HEADS, Met, Walk
from saecircuits.edges.reference import EdgeBlock
from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.estimators import PlaceGradient
from saecircuits.nodes.interventions import ERROR, Spot
from saecircuits.splicing import SplicedModel
from saecircuits.splicing.operators import FULL


@dataclass(frozen=True, eq=False)
class EdgeParts:
    """One block of edges, split by the components that carry them.

    Attributes:
        targets: None for the metric.
        parts: `residual`, `L3.H5`, `L3.MLP`, or what is passed in turn: `L3.H5>L3.MLP`. A head's
            share is through its values and, where patterns move, its keys and queries. `L1.skip`
            are a transcoder's skip weights; everything after an attention layer that was passed
            densely is told apart no further and called `later`: `L1.H0>later`.
        effects: `[target, source, part, batch]`; over parts they add up to the edges.
    """

    sources: tuple[Spot, ...]
    targets: tuple[Spot, ...] | None
    parts: tuple[str, ...]
    effects: Float[Tensor, "n_target n_source n_part batch"]


def covers(model: SplicedModel) -> str | None:
    """None if the engine is exact for this model and these sites; otherwise what stands against it.

    Runs the model on a few tokens, to see that its weights reproduce its activations.
    """
    size = min(7, model.n_ctx)
    tokens = torch.arange(2 * size, device=model.device) % int(model.bridge.cfg.d_vocab)
    try:
        take_apart(model, tokens.unflatten(0, (2, size)), FULL)
    except NotCoveredError as error:
        return str(error)
    return None


def factorised_edge_blocks(
    contrast: Contrast,
    gradients: dict[int, PlaceGradient],
    nodes: Sequence[Spot],
    *,
    targets_at_once: int = 128,
) -> Iterator[EdgeBlock]:
    """All direct edges among `nodes`, and from `nodes` to the metric, block by block.

    Args:
        gradients: `dm/dx` at every place, from the estimator that ranks the nodes.
        nodes: sources and targets; error nodes are targets under the policy `recompute` alone.
        targets_at_once: it bounds memory.

    Raises:
        NotCoveredError: the model's weights do not reproduce what it computes; see `covers`.
    """
    for targets, met in _meetings(contrast, gradients, nodes, targets_at_once, is_split=False):
        shape = (-1, len(contrast.prompts), len(met.sources))
        effects, weights = (sums[0].reshape(shape).transpose(1, 2) for sums in met.sums[""])
        yield EdgeBlock(met.sources, targets, effects, weights)


def factorised_edge_parts(
    contrast: Contrast,
    gradients: dict[int, PlaceGradient],
    nodes: Sequence[Spot],
    *,
    targets_at_once: int = 32,
) -> Iterator[EdgeParts]:
    """The edges of `factorised_edge_blocks`, each split by the heads and MLPs that carry it."""
    for targets, met in _meetings(contrast, gradients, nodes, targets_at_once, is_split=True):
        n_target = 1 if targets is None else len(targets)
        names, sums = [], []
        for name, (effects, _) in met.sums.items():
            names += [name.replace(HEADS, f"H{head}", 1) for head in range(len(effects))]
            sums.append(effects)
        shape = (len(names), n_target, len(contrast.prompts), len(met.sources))
        effects = torch.cat(sums).reshape(shape).permute(1, 3, 0, 2)
        yield EdgeParts(met.sources, targets, tuple(names), effects)


@torch.no_grad()
def _meetings(
    contrast: Contrast,
    gradients: dict[int, PlaceGradient],
    nodes: Sequence[Spot],
    targets_at_once: int,
    *,
    is_split: bool,
) -> Iterator[tuple[tuple[Spot, ...] | None, Met]]:
    """Targets, None for the metric, and what they have in common with the sources of one place."""
    walk = Walk(contrast, nodes, is_split=is_split)
    yield from ((None, met) for met in walk.back_from_metric())
    for place in contrast.places[1:]:
        targets = [
            spot
            for spot in nodes
            if spot.place == place
            and (spot.feature != ERROR or contrast.error_policy == "recompute")
        ]
        # Where rows become one row per token, as many fewer are taken at a time.
        size = max(1, targets_at_once // (contrast.tokens.shape[1] if walk.unfolds(place) else 1))
        for start in range(0, len(targets), size):
            some = tuple(targets[start : start + size])
            yield from ((some, met) for met in walk.back_from(some, gradients[place]))
