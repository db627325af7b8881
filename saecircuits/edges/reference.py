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
from copy import copy
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from saecircuits.edges.blocks import EdgeBlock, without_parts
from saecircuits.nodes.contrast import TOKENS, Contrast
from saecircuits.nodes.estimators import PlaceGradient
from saecircuits.nodes.interventions import ERROR, Spot
from saecircuits.nodes.units import Units


@dataclass(frozen=True, eq=False)
class _CutRun:
    """A clean run in pieces: leaves where places were cut, and what arrived there."""

    leaves: dict[int, Tensor]
    read: dict[int, Tensor]
    written: dict[int, Tensor]
    metric: Tensor


# The targets' gradients where what is written was cut: `[n_target, batch, pos, d_out]` by place.
Pulled: TypeAlias = dict[int, Tensor | None]


class ReferenceEdges:
    """The reference engine on one batch of prompts.

    Args:
        gradients: `dm/dx` at every place, from the estimator that ranks the nodes.
        sources: the nodes that edges begin at.
        readers: the units that targets are counted in; the contrast's own if None.
        share: where derivatives between places are taken: 1.0 at the clean run, less on the line on
            which all places move together from their baseline (`Contrast.between`).
    """

    def __init__(
        self,
        contrast: Contrast,
        gradients: dict[int, PlaceGradient],
        sources: Sequence[Spot],
        *,
        readers: Units | None = None,
        share: float = 1.0,
    ) -> None:
        self._contrast, self._gradients = contrast, gradients
        self._readers = contrast if readers is None else replace(contrast, units=readers)
        self._sources = {
            place: found
            for place in contrast.places
            if (found := tuple(sorted(spot for spot in sources if spot.place == place)))
        }
        reached = {p for place in self._sources for p in contrast.reach(place)}
        self._leaves = sorted(reached)
        with torch.enable_grad():
            self._run = _cut(contrast, share)
        self._is_asleep = False
        units = self._readers.units.clean
        # With one token to a unit, a target's effects are its plain weights times one number.
        self._is_single = all(
            int(torch.bincount(row[row >= 0]).max()) == 1 for row in units if bool((row >= 0).any())
        )

    def asleep(self) -> "ReferenceEdges":
        """The same engine for features as targets where they are off; see `LinearEngine`."""
        other = copy(self)
        other._is_asleep = True
        return other

    def into(self, targets: tuple[Spot, ...] | None) -> Iterator[EdgeBlock]:
        """Every edge into some targets, all of one place, or into the metric (None)."""
        if targets is None:
            yield from self._into_metric()
            return
        readers, place = self._readers, targets[0].place
        earlier = [p for p in self._sources if p < place]
        if not earlier:
            return
        leaves = [p for p in self._leaves if p < place]
        gradient = self._gradients[place]
        plain = self._pull_back(self._cotangents(targets, None), leaves)
        if self._is_single and not any(spot.feature == ERROR for spot in targets):
            slopes = _slopes(readers, targets, gradient)
            ranked = {p: None if g is None else g * slopes for p, g in plain.items()}
        else:
            ranked = self._pull_back(self._cotangents(targets, gradient), leaves)
        for source_place in earlier:
            reached = self._contrast.reach(source_place)
            if all(ranked.get(p) is None for p in reached):
                continue  # every way from there is cut by a site in between
            yield self._block(source_place, targets, ranked, plain)

    def _into_metric(self) -> Iterator[EdgeBlock]:
        if not self._sources:
            return
        found = torch.autograd.grad(
            self._run.metric.sum(),
            [self._run.leaves[p] for p in self._leaves],
            retain_graph=True,
            allow_unused=True,
        )
        pairs = zip(self._leaves, found, strict=True)
        gradients = {p: None if g is None else g[None] for p, g in pairs}
        for place in self._sources:
            if any(gradients[p] is not None for p in self._contrast.reach(place)):
                yield self._block(place, None, gradients, gradients)

    def _block(
        self, place: int, targets: tuple[Spot, ...] | None, ranked: Pulled, plain: Pulled
    ) -> EdgeBlock:
        sources = self._sources[place]
        effects = _products(self._contrast, ranked, sources, with_change=True)
        weights = _products(self._contrast, plain, sources, with_change=False)
        return without_parts(sources, targets, effects, weights)

    def _cotangents(
        self, targets: tuple[Spot, ...], gradient: PlaceGradient | None
    ) -> list[tuple[Tensor, Float[Tensor, "n_target batch pos _"]]]:
        """What to pull back from the tensors that the targets' site reads and writes.

        An error node also reads what sites before it read, whose features write at its own.

        With a gradient, each target is weighted by `dm/da_v`; without one, by 1 (error nodes, which
        have no activation to take a derivative of, always by the gradient's direction).
        """
        contrast, place = self._readers, targets[0].place
        dictionary = contrast.model.splices[place].dictionary
        site = contrast.clean.sites[place]
        active = site.features != 0
        stands = ~active if self._is_asleep else active
        direction = gradient.gradient if gradient is not None else None
        member = contrast.units.membership.to(dictionary.W_dec)
        shape = (len(targets), *active.shape[:2])
        at_read = dictionary.W_dec.new_zeros(*shape, dictionary.d_in)
        at_write = dictionary.W_dec.new_zeros(*shape, dictionary.d_out)
        is_feature = [row for row, spot in enumerate(targets) if spot.feature != ERROR]
        if is_feature:
            features = dictionary.indices([targets[row].feature for row in is_feature])
            where = torch.stack([member[..., targets[row].unit] for row in is_feature])
            weight = where * stands[..., features].permute(2, 0, 1)
            if direction is not None:
                weight = weight * (direction @ dictionary.directions(features).T).permute(2, 0, 1)
            if site.read is None:
                rows = dictionary.encoder_rows(features)[:, None, None]
            else:  # every token has a row of its own
                many = features.repeat_interleave(active.shape[0] * active.shape[1])
                read = site.read.flatten(0, 1).repeat(len(features), 1)
                rows = dictionary.rows_at(many, read).unflatten(0, weight.shape)
            at_read[is_feature] = weight[..., None] * rows
        others: dict[int, Tensor] = {}
        for row, spot in enumerate(targets):
            if spot.feature == ERROR and direction is not None and not self._is_asleep:
                there = direction[..., : dictionary.d_out] * member[..., spot.unit, None]
                at_write[row] = there
                at_read[row] -= dictionary.pull_back(there @ dictionary.W_dec.T, active, site.read)
                if dictionary.W_skip is not None:
                    at_read[row] -= there @ dictionary.W_skip.T
                for earlier, at in contrast.model.writers(place)[1:]:
                    through = self._through(earlier, at, there)
                    if earlier not in others:
                        others[earlier] = through.new_zeros(len(targets), *through.shape)
                    others[earlier][row] -= through
        run, elsewhere = self._run, [(self._run.read[p], other) for p, other in others.items()]
        if not contrast.model.splices[place].site.is_transcoder:
            return [(run.written[place], at_read + at_write), *elsewhere]
        return [(run.read[place], at_read), (run.written[place], at_write), *elsewhere]

    def _through(
        self, place: int, at: int, there: Float[Tensor, "batch pos d_out"]
    ) -> Float[Tensor, "batch pos d_in"]:
        """From what a site's active features write at a later one back to what they read."""
        dictionary = self._contrast.model.splices[place].dictionary
        acts = self._contrast.clean.sites[place].activations
        used = acts.feature.unique()
        along = there @ dictionary.directions(used, at).T * (acts.of(used) != 0)
        return along @ dictionary.encoder_rows(used)

    def _pull_back(self, cotangents: Sequence[tuple[Tensor, Tensor]], leaves: list[int]) -> Pulled:
        """The cotangents' vector-Jacobian products at earlier leaves, all vectors at once."""
        outputs, vectors = zip(*cotangents, strict=True)
        pulled = torch.autograd.grad(
            outputs,
            [self._run.leaves[p] for p in leaves],
            grad_outputs=vectors,
            is_grads_batched=True,
            retain_graph=True,
            allow_unused=True,
        )
        return dict(zip(leaves, pulled, strict=True))


def _cut(contrast: Contrast, share: float) -> _CutRun:
    leaves: dict[int, Tensor] = {}
    reads: dict[int, Tensor] = {}
    writes: dict[int, Tensor] = {}

    def cut(place: int, write: Tensor) -> Tensor:
        leaves[place] = write.detach().requires_grad_()
        return leaves[place]

    moved, moved_tokens = contrast.between(share)

    def at_site(index: int, read: Tensor, write: Tensor) -> Tensor:
        reads[index], writes[index] = read, write
        # Skip weights belong to no node, so what passes through them is not cut.
        skipped = contrast.model.splices[index].dictionary.skip(read)
        there = write if share == 1.0 else moved(index, read, write)
        return cut(index, there - skipped) + skipped

    def at_tokens(tokens: Tensor) -> Tensor:
        return cut(TOKENS, tokens if share == 1.0 else moved_tokens(tokens))

    logits = contrast.model.forward(
        contrast.tokens,
        at_site=at_site,
        at_tokens=at_tokens,
        operator=contrast.operator,
    )
    return _CutRun(leaves, reads, writes, contrast.metric(logits)[0])


def _slopes(
    contrast: Contrast, targets: tuple[Spot, ...], gradient: PlaceGradient
) -> Float[Tensor, "n_target batch 1 1"]:
    """`dm/da_v` of feature targets whose units hold one token in every prompt."""
    dictionary = contrast.model.splices[targets[0].place].dictionary
    features = dictionary.indices([spot.feature for spot in targets])
    along = gradient.gradient @ dictionary.directions(features).T  # [batch, pos, target]
    inside = torch.stack([contrast.units.clean == spot.unit for spot in targets], -1)
    return (along * inside).sum(1).T[..., None, None]


def _products(
    contrast: Contrast, pulled: Pulled, sources: tuple[Spot, ...], *, with_change: bool
) -> Float[Tensor, "n_target n_source batch"]:
    """`sum over the source unit's tokens of (gradient . d_u)`, times the change of a_u if asked.

    Args:
        pulled: the gradient at every place that the sources write at; None where there is none.
    """
    place = sources[0].place
    gradients = [(at, pulled.get(p)) for at, p in enumerate(contrast.reach(place))]
    there = [(at, gradient) for at, gradient in gradients if gradient is not None]
    some = there[0][1]
    member = contrast.units.membership.to(some)
    units = torch.tensor([spot.unit for spot in sources], device=some.device)
    out = some.new_zeros(some.shape[0], len(sources), some.shape[1])
    is_feature = torch.tensor([spot.feature != ERROR for spot in sources], device=some.device)
    if is_feature.any():
        dictionary = contrast.model.splices[place].dictionary
        features = dictionary.indices([spot.feature for spot in sources])[is_feature]
        first, *others = (g @ dictionary.directions(features, at).T for at, g in there)
        weight = member[..., units[is_feature]]
        if with_change:
            weight = weight * contrast.feature_change(place).of(features)
        out[:, is_feature] = torch.einsum("vbpn,bpn->vnb", sum(others, first), weight)
    own = pulled.get(place)
    if own is not None and not is_feature.all():
        change = contrast.change(TOKENS) if place == TOKENS else contrast.error_change(place)
        per_token = (own * change).sum(-1)
        weight = member[..., units[~is_feature]]
        out[:, ~is_feature] = torch.einsum("vbp,bpn->vnb", per_token, weight)
    return out
