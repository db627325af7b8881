"""Direct effects by autograd, on any model the bridge loads: the reference engine.

Edge u -> v: `E = dm/da_v * (da_v/da_u, direct) * (a_u clean - a_u baseline)`, summed over the
tokens of both units. "Direct" holds every spliced node strictly between u and v constant.

1. One forward pass with every place *cut*: what is written is replaced by a leaf of equal value.
   A later place's tensor then depends on earlier leaves along unspliced paths only.
2. For each target node, its cotangent: for a feature v of site t, `dm/da_v` times its encoder row
   where v is active; for an error node, what of `dm/dx_t` the features do not account for; for the
   metric, one.
3. Batched vector-Jacobian products give the gradient at every earlier leaf at once.
4. Its products with the sources' directions and changes, summed by unit, are the edges.

By construction the out-edges of a node, those to error nodes and to the metric included, add up to
its gradient effect (conservation; holds for the `gradient` estimator, whose operator is the same).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from saecircuits.nodes.contrast import TOKENS, Contrast
from saecircuits.nodes.estimators import PlaceGradient
from saecircuits.nodes.interventions import ERROR, Spot


@dataclass(frozen=True, eq=False)
class EdgeBlock:
    """Direct effects of some sources at one place on some targets at one later place.

    Attributes:
        sources: the nodes read, all at one place.
        targets: the nodes that read, all at one place; None for the metric.
        effects: `[target, source, batch]`, in the metric's units.
        weights: `[target, source, batch]`: the linear weight, `da_v/da_u` summed over the tokens
            of both units (for the metric `dm/da_u`). Error and token nodes have no activation to
            take a derivative by: as sources they count as one whole change, as targets 0.
    """

    sources: tuple[Spot, ...]
    targets: tuple[Spot, ...] | None
    effects: Float[Tensor, "n_target n_source batch"]
    weights: Float[Tensor, "n_target n_source batch"]


@dataclass(frozen=True, eq=False)
class _CutRun:
    """A clean run in pieces: leaves where places were cut, and what arrived there."""

    leaves: dict[int, Tensor]
    read: dict[int, Tensor]
    written: dict[int, Tensor]
    metric: Tensor


def edge_blocks(
    contrast: Contrast,
    gradients: dict[int, PlaceGradient],
    nodes: Sequence[Spot],
    *,
    vectors_at_once: int = 32,
) -> Iterator[EdgeBlock]:
    """All direct edges among `nodes`, and from `nodes` to the metric, block by block.

    Args:
        gradients: `dm/dx` at every place, from the estimator that ranks the nodes.
        nodes: sources and targets. Error nodes are targets only under the policy `recompute`,
            where they are functions of the stream; under `hold` they are sources alone.
        vectors_at_once: vector-Jacobian products per batched call; it bounds memory.
    """
    by_place = {
        place: tuple(spot for spot in nodes if spot.place == place) for place in contrast.places
    }
    with torch.enable_grad():
        run = _cut(contrast)
        yield from _metric_blocks(contrast, run, by_place)
        for place in contrast.places:
            if place == TOKENS:
                continue
            targets = tuple(
                spot
                for spot in by_place[place]
                if spot.feature != ERROR or contrast.error_policy == "recompute"
            )
            for start in range(0, len(targets), vectors_at_once):
                some = targets[start : start + vectors_at_once]
                yield from _target_blocks(contrast, run, gradients[place], some, by_place)


def _cut(contrast: Contrast) -> _CutRun:
    leaves: dict[int, Tensor] = {}
    reads: dict[int, Tensor] = {}
    writes: dict[int, Tensor] = {}

    def cut(place: int, write: Tensor) -> Tensor:
        leaves[place] = write.detach().requires_grad_()
        return leaves[place]

    def at_site(index: int, read: Tensor, write: Tensor) -> Tensor:
        reads[index], writes[index] = read, write
        # Skip weights belong to no node, so what passes through them is not cut.
        skipped = contrast.model.splices[index].dictionary.skip(read)
        return cut(index, write - skipped) + skipped

    logits = contrast.model.forward(
        contrast.tokens,
        at_site=at_site,
        at_tokens=lambda tokens: cut(TOKENS, tokens),
        operator=contrast.operator,
    )
    return _CutRun(leaves, reads, writes, contrast.metric(logits)[0])


def _metric_blocks(
    contrast: Contrast, run: _CutRun, by_place: dict[int, tuple[Spot, ...]]
) -> Iterator[EdgeBlock]:
    places = [place for place in contrast.places if by_place[place]]
    if not places:
        return
    gradients = torch.autograd.grad(
        run.metric.sum(), [run.leaves[p] for p in places], retain_graph=True, allow_unused=True
    )
    for place, gradient in zip(places, gradients, strict=True):
        if gradient is not None:
            sources = by_place[place]
            effects = _products(contrast, gradient[None], sources, with_change=True)
            weights = _products(contrast, gradient[None], sources, with_change=False)
            yield EdgeBlock(sources, None, effects, weights)


def _target_blocks(
    contrast: Contrast,
    run: _CutRun,
    gradient: PlaceGradient,
    targets: tuple[Spot, ...],
    by_place: dict[int, tuple[Spot, ...]],
) -> Iterator[EdgeBlock]:
    place = targets[0].place
    earlier = [p for p in contrast.places if p < place and by_place[p]]
    if not earlier:
        return
    ranked = _pull_back(contrast, run, place, _cotangents(contrast, targets, gradient), earlier)
    plain = _pull_back(contrast, run, place, _cotangents(contrast, targets, None), earlier)
    for source_place in earlier:
        by_rank, by_one = ranked[source_place], plain[source_place]
        if by_rank is None or by_one is None:
            continue  # every way from there is cut by a site in between
        sources = by_place[source_place]
        effects = _products(contrast, by_rank, sources, with_change=True)
        weights = _products(contrast, by_one, sources, with_change=False)
        yield EdgeBlock(sources, targets, effects, weights)


def _cotangents(
    contrast: Contrast, targets: tuple[Spot, ...], gradient: PlaceGradient | None
) -> tuple[Float[Tensor, "n_target batch pos d_in"], Float[Tensor, "n_target batch pos d_out"]]:
    """What to pull back from the tensors that the targets' site reads and writes.

    With a gradient, each target is weighted by `dm/da_v`; without one, by 1 (error nodes, which
    have no activation of their own to take a derivative of, always by the gradient's direction).
    """
    place = targets[0].place
    dictionary = contrast.model.splices[place].dictionary
    active = contrast.clean.sites[place].features > 0
    direction = gradient.gradient if gradient is not None else None
    member = contrast.units.membership.to(dictionary.W_dec)
    shape = (len(targets), *active.shape[:2])
    at_read = dictionary.W_enc.new_zeros(*shape, dictionary.d_in)
    at_write = dictionary.W_enc.new_zeros(*shape, dictionary.d_out)
    is_feature = [row for row, spot in enumerate(targets) if spot.feature != ERROR]
    if is_feature:
        features = torch.tensor([targets[row].feature for row in is_feature])
        where = torch.stack([member[..., targets[row].unit] for row in is_feature])
        weight = where * active[..., features].permute(2, 0, 1)
        if direction is not None:
            weight = weight * (direction @ dictionary.W_dec[features].T).permute(2, 0, 1)
        rows = dictionary.encoder_rows(features)
        at_read[is_feature] = weight[..., None] * rows[:, None, None, :]
    for row, spot in enumerate(targets):
        if spot.feature == ERROR and direction is not None:
            there = direction * member[..., spot.unit, None]
            at_write[row] = there
            at_read[row] -= dictionary.pull_back(there @ dictionary.W_dec.T, active)
            if dictionary.W_skip is not None:
                at_read[row] -= there @ dictionary.W_skip.T
    return at_read, at_write


def _pull_back(
    contrast: Contrast,
    run: _CutRun,
    place: int,
    cotangents: tuple[Tensor, Tensor],
    earlier: list[int],
) -> dict[int, Tensor | None]:
    """The cotangents' vector-Jacobian products at every earlier leaf, all vectors at once."""
    at_read, at_write = cotangents
    if contrast.model.splices[place].site.is_transcoder:
        outputs, vectors = [run.read[place], run.written[place]], [at_read, at_write]
    else:
        outputs, vectors = [run.written[place]], [at_read + at_write]
    pulled = torch.autograd.grad(
        outputs,
        [run.leaves[p] for p in earlier],
        grad_outputs=vectors,
        is_grads_batched=True,
        retain_graph=True,
        allow_unused=True,
    )
    return dict(zip(earlier, pulled, strict=True))


def _products(
    contrast: Contrast,
    gradient: Float[Tensor, "n_target batch pos d_out"],
    sources: tuple[Spot, ...],
    *,
    with_change: bool,
) -> Float[Tensor, "n_target n_source batch"]:
    """`sum over the source unit's tokens of (gradient . d_u)`, times the change of a_u if asked."""
    place = sources[0].place
    member = contrast.units.membership.to(gradient)
    units = torch.tensor([spot.unit for spot in sources])
    out = gradient.new_empty(gradient.shape[0], len(sources), gradient.shape[1])
    is_feature = torch.tensor([spot.feature != ERROR for spot in sources])
    if is_feature.any():
        features = torch.tensor([spot.feature for spot in sources])[is_feature]
        per_token = gradient @ contrast.model.splices[place].dictionary.W_dec[features].T
        weight = member[..., units[is_feature]]
        if with_change:
            weight = weight * contrast.feature_change(place)[..., features]
        out[:, is_feature] = torch.einsum("vbpn,bpn->vnb", per_token, weight)
    if not is_feature.all():
        change = contrast.change(TOKENS) if place == TOKENS else contrast.error_change(place)
        per_token = (gradient * change).sum(-1)
        weight = member[..., units[~is_feature]]
        out[:, ~is_feature] = torch.einsum("vbp,bpn->vnb", per_token, weight)
    return out
