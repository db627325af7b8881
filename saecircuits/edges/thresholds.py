"""Edges that cross their target's threshold: what the slope at the clean run cannot know.

A derivative holds every gate. But a feature whose source goes may fall below the value at which it
goes off, and then it loses all that it has; and one that is off may wake up. With h the target's
value before its gate, and z what the linear operator says that h loses,

    E(u -> v) = dm/da_v * (gate(h) - gate(h - z))

token by token and prompt by prompt; with the gate held it is `dm/da_v * z` where v is on, and 0
where it is off. What the features of a site do not pass on, its error node does (policy
`recompute`), so the difference is taken from the edge into that error node: what arrives at the
site, all in all, stays as it was, and with it conservation. A feature that writes at several places
takes from the error node of each, in proportion to what it does there. Left out are features that
are no targets. Of TopK dictionaries gates are held: which features are on depends there on all of
them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.edges.blocks import EdgeBlock, EdgeEngine, LinearEngine
from saecircuits.edges.parts import THRESHOLD, Part
from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.estimators import PlaceGradient
from saecircuits.nodes.interventions import ERROR, Spot
from saecircuits.nodes.units import Units

# Per place of sources and place that targets write at, by how much edges into features differ from
# linear ones in what is written there: summed over the features of a unit, `[unit, n_source,
# batch]`.
Crossed: TypeAlias = dict[tuple[int, int], Tensor]


class CrossingEdges:
    """An engine whose edges into features cross thresholds; edges to the metric stay as they are.

    Targets must be asked for in forward order of their places, and at one place features before
    error nodes.

    Args:
        prepare: makes the linear engine.
        finest: most tokens that a unit holds in any prompt, in all batches.
        crossed: what has been crossed so far on this batch; it may outlive the engine.
    """

    def __init__(
        self,
        prepare: Callable[..., EdgeEngine],
        contrast: Contrast,
        gradients: dict[int, PlaceGradient],
        sources: Sequence[Spot],
        *,
        finest: int,
        crossed: Crossed,
    ) -> None:
        self._contrast, self._gradients = contrast, gradients
        self._finest, self._crossed = finest, crossed
        self._readers = token_by_token(contrast.units, finest)
        self._linear = prepare(contrast, gradients, sources, readers=self._readers)
        assert isinstance(self._linear, LinearEngine), "thresholds are crossed from slopes"
        self._asleep = self._linear.asleep()

    def into(self, targets: tuple[Spot, ...] | None) -> Iterator[EdgeBlock]:
        """Every edge into some targets, all of one place, or into the metric (None)."""
        if targets is None:
            yield from self._linear.into(None)
            return
        slices = tuple(
            replace(spot, unit=spot.unit * self._finest + rank)
            for spot in targets
            for rank in range(self._finest)
        )
        awake = _by_place(self._linear.into(slices))
        place = targets[0].place
        # Where gates are held, nobody asks what a feature that is off would read.
        asleep = _by_place(self._asleep.into(slices)) if self._has_gates(place) else {}
        read = self._read(place)
        gates = _Gates(self._contrast, self._readers, self._gradients, slices, read)
        for source_place, block in awake.items():
            where_off = asleep[source_place].effects if source_place in asleep else 0.0
            more = gates.gained(block.effects, block.effects + where_off)
            yield self._pooled(targets, block, more.unflatten(1, (-1, self._finest)).sum(2))

    def _has_gates(self, place: int) -> bool:
        dictionary = self._contrast.model.splices[place].dictionary
        return dictionary.gate.off_at(dictionary) is not None

    def _read(self, place: int) -> Float[Tensor, "batch pos d_in"]:
        """What the dictionary at a place reads in the clean run."""
        model = self._contrast.model
        if not model.splices[place].site.is_transcoder:
            return self._contrast.clean.written(model, place)
        return self._transcoder_reads[place]

    @cached_property
    @torch.no_grad()
    def _transcoder_reads(self) -> dict[int, Tensor]:
        reads: dict[int, Tensor] = {}

        def at_site(index: int, read: Tensor, write: Tensor) -> None:
            if self._contrast.model.splices[index].site.is_transcoder:
                reads[index] = read

        self._contrast.model.forward(self._contrast.tokens, at_site=at_site)
        return reads

    def _pooled(
        self,
        targets: tuple[Spot, ...],
        block: EdgeBlock,
        gained: Float[Tensor, "n_written n_target n_source batch"],
    ) -> EdgeBlock:
        """From tokens to units, and what features gain taken from the error nodes."""
        source, place, device = block.sources[0].place, targets[0].place, gained.device
        unit = torch.tensor([spot.unit for spot in targets], device=device)
        is_error = torch.tensor([spot.feature == ERROR for spot in targets], device=device)
        for at, there in zip(self._contrast.reach(place), gained, strict=True):
            none = there.new_zeros(len(self._contrast.units), *there.shape[1:])
            crossed = self._crossed.setdefault((source, at), none)
            crossed.index_add_(0, unit[~is_error], there[~is_error])
        more = gained.sum(0)
        more[is_error] = -self._crossed[source, place][unit[is_error]]
        sizes = (len(targets), self._finest)
        effects, weights = (x.unflatten(0, sizes).sum(1) for x in (block.effects, block.weights))
        parts, part_effects = block.parts, block.part_effects.unflatten(1, sizes).sum(2)
        if parts:
            parts = (*parts, Part(THRESHOLD))
            part_effects = torch.cat([part_effects, more.sum(-1)[None]])
        crossed = effects + more
        return EdgeBlock(
            block.sources, targets, crossed, weights, parts, part_effects, held=effects
        )


class _Gates:
    """The features among the targets of a place, token by token: their values, and their gates."""

    def __init__(
        self,
        contrast: Contrast,
        readers: Units,
        gradients: dict[int, PlaceGradient],
        slices: Sequence[Spot],
        read: Float[Tensor, "batch pos d_in"],
    ) -> None:
        place = slices[0].place
        dictionary, gradient = contrast.model.splices[place].dictionary, gradients[place].gradient
        device = gradient.device
        unit = torch.tensor([spot.unit for spot in slices], device=device)
        feature = torch.tensor([spot.feature for spot in slices], device=device)
        prompt, pos, which = (readers.clean[..., None] == unit).nonzero().unbind(1)
        off_at = dictionary.off_at(feature.clamp(min=0))
        has_gate = (feature != ERROR)[which] if off_at is not None else which < 0
        self._prompt, self._slice = prompt[has_gate], which[has_gate]
        at, mine = (self._prompt, pos[has_gate]), feature[self._slice]
        along = gradient[at] * dictionary.directions(mine)
        self._slope, self._n_written = along.sum(-1), dictionary.n_written
        self._slopes = along.unflatten(-1, (self._n_written, -1)).sum(-1)
        unit = dictionary.unit(read[at])
        self._off_at = None if off_at is None else off_at[self._slice, None] * unit
        chosen, column = mine.unique(return_inverse=True)
        here = (*at, column)
        active = contrast.clean.sites[place].activations.of(chosen)[here]
        self._value = torch.where(active != 0, active, dictionary.ungated(read, chosen)[here])

    def gained(
        self,
        held: Float[Tensor, "n_slice n_source batch"],
        ungated: Float[Tensor, "n_slice n_source batch"],
    ) -> Float[Tensor, "n_written n_slice n_source batch"]:
        """Edges with thresholds crossed, less what they are with gates held, by place of writing.

        Args:
            held: edges into features where they are on.
            ungated: these, and edges into features where they are off as if they were on.
        """
        gained = held.new_zeros(self._n_written, *held.shape)
        if self._off_at is None:
            return gained
        where = (self._slice, slice(None), self._prompt)
        slope, value = self._slope[:, None], self._value[:, None]
        lost = torch.where(slope == 0, 0.0, ungated[where] / slope)
        moves = slope * (self._gated(value) - self._gated(value - lost))
        # Where nothing is lost nothing changes, whatever rounding makes of the gate.
        more = torch.where(lost == 0, 0.0, moves - held[where])
        if self._n_written == 1:
            gained[0][where] = more
            return gained
        for there, share in zip(gained, self._slopes.unbind(-1), strict=True):
            there[where] = more * torch.where(slope == 0, 0.0, share[:, None] / slope)
        return gained

    def _gated(self, value: Float[Tensor, "n_standing n_source"]) -> Tensor:
        assert self._off_at is not None, "no gate to speak of"
        return torch.where(value > self._off_at, value, 0.0)


def _by_place(blocks: Iterable[EdgeBlock]) -> dict[int, EdgeBlock]:
    """One block per place of sources, with the targets of all that came from there."""
    found: dict[int, list[EdgeBlock]] = {}
    for block in blocks:
        found.setdefault(block.sources[0].place, []).append(block)
    return {place: _side_by_side(some) for place, some in found.items()}


def token_by_token(units: Units, finest: int) -> Units:
    """Every unit as `finest` units of at most one token: its first token, its second and so on."""
    if finest == 1:
        return units

    def ranked(side: Int[Tensor, "batch pos"]) -> Int[Tensor, "batch pos"]:
        same = (side[:, :, None] == side[:, None, :]).tril(-1)
        return torch.where(side < 0, side, side * finest + same.sum(-1))

    def repeated(texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(f"{text}/{rank}" for text in texts for rank in range(finest))

    return Units(
        repeated(units.names), repeated(units.tokens), ranked(units.clean), units.corrupted
    )


def longest_unit(units: Units) -> int:
    """Most tokens that a unit holds in any prompt; at least 1."""
    counts = [torch.bincount(row[row >= 0], minlength=1).max() for row in units.clean]
    return max(1, *(int(count) for count in counts))


def _side_by_side(blocks: Sequence[EdgeBlock]) -> EdgeBlock:
    """Blocks of the same sources as one, with the targets of all.

    Not all targets of a place are reached by the same components: an error node of a transcoder
    reads through the MLP, its features do not.
    """
    first = blocks[0]
    if len(blocks) == 1:
        return first
    assert all(block.sources == first.sources for block in blocks)
    parts = tuple(dict.fromkeys(part for block in blocks for part in block.parts))
    return EdgeBlock(
        first.sources,
        tuple(spot for block in blocks for spot in block.targets or ()),
        torch.cat([block.effects for block in blocks]),
        torch.cat([block.weights for block in blocks]),
        parts,
        torch.cat([_spread(block, parts) for block in blocks], dim=1),
    )


def _spread(block: EdgeBlock, parts: Sequence[Part]) -> Float[Tensor, "n_part n_target n_source"]:
    """A block's effects by component with a row for each of `parts`, 0 where it has none."""
    spread = block.part_effects.new_zeros(len(parts), *block.part_effects.shape[1:])
    for part, effects in zip(block.parts, block.part_effects, strict=True):
        spread[parts.index(part)] = effects
    return spread
