"""Rows on their way back from a target to the sources that reach it directly.

    site on the stream   rows meet its sources and stop: nothing passes
    site on a component  rows meet its sources; the component is passed by, but for skip weights
    site on the heads    rows meet its sources behind the attention layer's output weights
    MLP                  its vector-Jacobian product at each row's token is added to the row
    attention            rows are crossed into the heads, where earlier sources meet them

A row that has crossed an attention layer and comes to another component, with no cut of the stream
before, leaves the heads again: it becomes a row at every token it reaches, and the way goes on.
"""

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from saecircuits.edges.factorised.attention import Crossing, cross, joined, leave
from saecircuits.edges.factorised.meeting import Meeting
from saecircuits.edges.factorised.rows import Rows, metric_rows, target_rows
from saecircuits.edges.factorised.sources import Inside, Sources, project, read_sources
from saecircuits.edges.factorised.way import Station, stations
from saecircuits.edges.parts import HEADS, LATER, RESIDUAL, Part, head_parts
from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.estimators import PlaceGradient
from saecircuits.nodes.interventions import ERROR, Spot
from saecircuits.nodes.units import Units
from saecircuits.splicing.anatomy import Anatomy, Attention, take_apart


@dataclass(frozen=True, eq=False)
class Met:
    """Sums over rows and tokens for the sources of one place.

    Attributes:
        effects: prompt by prompt.
        weights: plain weights, likewise.
        parts: the components passed; empty unless they are told apart.
        part_effects: effects by component, summed over prompts.
    """

    sources: tuple[Spot, ...]
    effects: Float[Tensor, "n_target n_source batch"]
    weights: Float[Tensor, "n_target n_source batch"]
    parts: tuple[Part, ...]
    part_effects: Float[Tensor, "n_part n_target n_source"]


@dataclass(frozen=True, eq=False)
class State:
    """Where rows stand, by the components passed so far.

    Attributes:
        stream: cotangents of the stream at the rows' own tokens.
        beside: the cotangents of what the next attention layer adds, where they are not those of
            the stream: for a target at its output, and in a block whose MLP and attention read the
            same stream, where the MLP is nothing that the attention layer writes to.
        crossed: the layer into whose heads rows were crossed.
        crossing: cotangents inside those heads, by the ways in `labels`.
    """

    rows: Rows
    stream: dict[str, Float[Tensor, "n_row d_model"]]
    beside: dict[str, Float[Tensor, "n_row d_model"]] | None = None
    crossed: int | None = None
    crossing: Crossing | None = None
    labels: tuple[str, ...] = ()


class Walk:
    """One batch taken apart, with its sources, and the ways over it.

    Args:
        readers: the units that targets are counted in; the contrast's own if None.
        share: the run to take apart: 1.0 for the clean one; see `Contrast.between`.
    """

    def __init__(
        self,
        contrast: Contrast,
        nodes: Sequence[Spot],
        *,
        is_split: bool,
        readers: Units | None,
        share: float,
    ) -> None:
        self.contrast, self.is_split = contrast, is_split
        self._readers = contrast if readers is None else replace(contrast, units=readers)
        self.way = stations(contrast.model)
        model, tokens, operator = contrast.model, contrast.tokens, contrast.operator
        self.run: Anatomy = take_apart(model, tokens, operator)
        if share != 1.0:
            at_site, at_tokens = contrast.between(share)
            moved = take_apart(model, tokens, operator, at_site=at_site, at_tokens=at_tokens)
            self.run = replace(moved, token_scale=self.run.token_scale)
        self.sources: dict[int, Sources] = {}
        for place in contrast.places:
            spots = tuple(spot for spot in nodes if spot.place == place)
            if spots:
                self.sources[place] = read_sources(
                    contrast, spots, token_scale=self.run.token_scale
                )
        self._inside: dict[tuple[int, int | None], Inside] = {}
        self._is_asleep = False

    def asleep(self) -> "Walk":
        """The same for targets where they are off, components together; what was made is shared."""
        other = copy(self)
        other._is_asleep, other.is_split = True, False
        return other

    @property
    def n_pos(self) -> int:
        """Tokens of a prompt, padding included."""
        return self.contrast.tokens.shape[1]

    def back_from_metric(self) -> Iterator[Met]:
        """What the metric reads directly, place by place."""
        rows, vectors = metric_rows(self.contrast, self.run.unembedding)
        yield from self._back(State(rows, {"": vectors}), len(self.way))

    def back_from(self, targets: tuple[Spot, ...], gradient: PlaceGradient) -> Iterator[Met]:
        """What some targets, all of one place, read directly, place by place."""
        place = targets[0].place
        own, end = self._before(place)
        rows, at_read, at_write = target_rows(
            self._readers, targets, gradient, is_asleep=self._is_asleep
        )
        state = self._begin(targets, rows, at_read, at_write)
        yield from self._back(state, end, own=own)

    def unfolds(self, place: int) -> bool:
        """True where the way back from a place passes an attention layer densely."""
        own, end = self._before(place)
        crossed = place == self.way[own].heads
        for index in reversed(range(end)):
            station = self.way[index]
            if station.kind in ("stream", "tokens"):
                return False
            if crossed and self._passes(station):
                return True
            is_open = station.place is None or index == own
            crossed |= station.kind == "attention" and is_open and station.heads is None
        return False

    def _before(self, place: int) -> tuple[int, int]:
        """Index of a place's own station, and of the first station that is not before the place."""
        own = next(
            index
            for index, station in enumerate(self.way)
            if place in (station.place, station.heads)
        )
        # What stands at an attention layer's output has the layer's own heads before it.
        station = self.way[own]
        return own, own + (station.kind == "attention" and place != station.heads)

    def _passes(self, station: Station) -> bool:
        """True where something gets through a component's place: itself, or skip weights."""
        if station.kind not in ("attention", "mlp"):
            return False
        if station.place is None:
            return True
        return self.contrast.model.splices[station.place].dictionary.W_skip is not None

    def _begin(
        self,
        targets: tuple[Spot, ...],
        rows: Rows,
        at_read: Float[Tensor, "n_row d_in"],
        at_write: Float[Tensor, "n_row d_out"],
    ) -> State:
        """From the tensors of the targets' site to the stream, or into the heads before it."""
        place = targets[0].place
        station = self.way[self._before(place)[0]]
        if station.kind == "stream":
            at_stream = at_read + at_write
            # Tokens stand as they enter the stream.
            scale = self.run.token_scale if station.is_scaled else 1.0
            return State(rows, {"": at_stream / scale})
        block = self.run.blocks[station.layer]
        if station.kind == "attention" and place == station.heads:
            attention = block.attention
            values = (at_read + at_write).unflatten(-1, attention.W_O.shape[:2])
            label = self._passed(f"L{station.layer}.{HEADS}", "")
            return self._cross(station, {label: values}, State(rows, {}))
        if station.kind == "attention":
            return State(rows, {}, beside={"": at_read + at_write})
        label = self._passed(f"L{station.layer}.MLP", "")
        stream: dict[str, Tensor] = {}
        if station.is_transcoder:
            stream[""] = self._read(station, at_read, rows)
            written = at_write
        else:
            written = at_read + at_write
        # What a feature of a transcoder reads comes through no MLP; what its error reads does.
        if not station.is_transcoder or any(spot.feature == ERROR for spot in targets):
            _add(stream, label, block.mlp.pull_back(written, rows.prompt, rows.pos))
        return State(rows, stream, beside={} if block.is_parallel else None)

    def _back(self, state: State, end: int, *, own: int | None = None) -> Iterator[Met]:
        """Over the stations before `end`, to the nearest cut of the whole stream.

        Args:
            own: the target's own station: the site there is no cut before the target.
        """
        for index in reversed(range(end)):
            station = self.way[index]
            place = None if index == own else station.place
            if state.crossing is not None and self._passes(station):
                state = self._unfold(state)
            stream = state.stream
            # Parallel blocks: the MLP's cotangent belongs to the stream, not to what attention adds
            if station.kind == "attention" and state.beside is not None:
                stream, state = state.beside, replace(state, beside=None)
            if place in self.sources and (stream or state.crossing is not None):
                yield self._meet(self.sources[place], stream, state)
            if station.kind in ("stream", "tokens"):
                return  # direct edges end at the nearest site that writes the whole stream
            if station.kind == "mlp" and self._passes(station):
                state = self._through_mlp(station, state)
            elif station.kind == "attention" and place is None and stream:
                values = self._into_heads(station, stream, state.rows)
                if station.heads is None:
                    state = self._cross(station, values, state)
                elif station.heads in self.sources:
                    yield self._meet_heads(self.sources[station.heads], values, state.rows)

    def _through_mlp(self, station: Station, state: State) -> State:
        block, rows = self.run.blocks[station.layer], state.rows
        stream = dict(state.stream)
        for label, vectors in state.stream.items():
            if station.place is None:
                name, pulled = "MLP", block.mlp.pull_back(vectors, rows.prompt, rows.pos)
            else:
                W_skip = self.contrast.model.splices[station.place].dictionary.W_skip
                assert W_skip is not None, f"nothing passes {station}"
                name, pulled = "skip", self._read(station, vectors @ W_skip.T, rows)
            _add(stream, self._passed(f"L{station.layer}.{name}", label), pulled)
        return replace(state, stream=stream, beside=state.stream if block.is_parallel else None)

    def _read(self, station: Station, vectors: Tensor, rows: Rows) -> Tensor:
        """From what a transcoder reads back to the stream."""
        if station.reads_stream:
            return vectors
        with_weight = not station.reads_before_weight
        norm = self.run.blocks[station.layer].mlp.norm
        return norm.pull_back(vectors, rows.prompt, rows.pos, with_weight=with_weight)

    def _into_heads(
        self, station: Station, stream: dict[str, Tensor], rows: Rows
    ) -> dict[str, Tensor]:
        attention = self.run.blocks[station.layer].attention
        return {
            self._passed(f"L{station.layer}.{HEADS}", label): attention.into_heads(
                vectors, rows.prompt, rows.pos
            )
            for label, vectors in stream.items()
        }

    def _cross(self, station: Station, values: dict[str, Tensor], state: State) -> State:
        attention, rows = self.run.blocks[station.layer].attention, state.rows
        crossings = [cross(attention, value, rows.prompt, rows.pos) for value in values.values()]
        return replace(
            state, crossed=station.layer, crossing=joined(crossings), labels=tuple(values)
        )

    def _unfold(self, state: State) -> State:
        """Out of the heads again: a row for every token that rows have reached."""
        assert state.beside is None
        rows = state.rows
        attention = self._crossed(state)
        # An origin is the row that a target began with. All its ways are added up here: what comes
        # before is linear in the vector at each token, wherever that came from.
        n_origin = int(rows.origin.max()) + 1 if len(rows.origin) else 0
        n_pos = attention.pattern.shape[-1]
        dense = rows.effect_weight.new_zeros(n_origin, n_pos, attention.W_O.shape[-1])
        for vectors in state.stream.values():
            dense.index_put_((rows.origin, rows.pos), vectors, accumulate=True)
        if state.crossing is not None:
            n_way = len(state.labels)
            prompt, pos, origin = (x.repeat(n_way) for x in (rows.prompt, rows.pos, rows.origin))
            for at, row, vectors in leave(attention, state.crossing, prompt, pos):
                dense[:, at].index_add_(0, origin[row], vectors)
        reached = _reached(rows, n_origin, n_pos)
        label = LATER if self.is_split else ""
        return State(rows.spread(reached), {label: dense[reached]})

    def _meet(self, sources: Sources, stream: dict[str, Tensor], state: State) -> Met:
        parts = [Part(label or RESIDUAL) for label in stream]
        for label in state.labels:
            attention = self._crossed(state)
            parts += head_parts(label, len(attention.W_Q), is_held=attention.is_held)
        meeting = Meeting(state.rows, sources, n_part=len(parts) if self.is_split else 0)
        for number, vectors in enumerate(stream.values()):
            meeting.add_direct(vectors, part=number if self.is_split else None)
        if state.crossing is not None:
            inside = self._project(sources, state)
            part = len(stream) if self.is_split else None
            meeting.add_crossing(state.crossing, inside, part=part, n_way=len(state.labels))
        return self._met(sources, meeting, parts)

    def _meet_heads(self, sources: Sources, values: dict[str, Tensor], rows: Rows) -> Met:
        """Sources that write the heads' results themselves."""
        n_head = next(iter(values.values())).shape[1]
        parts = [part for label in values for part in head_parts(label, n_head, is_held=True)]
        meeting = Meeting(rows, sources, n_part=len(parts) if self.is_split else 0)
        for number, value in enumerate(values.values()):
            part = number * n_head if self.is_split else None
            meeting.add_direct(value.flatten(1), part=part, n_head=n_head)
        return self._met(sources, meeting, parts)

    def _met(self, sources: Sources, meeting: Meeting, parts: Sequence[Part]) -> Met:
        named = tuple(parts) if self.is_split else ()
        effects, weights = meeting.sums
        return Met(sources.spots, effects, weights, named, meeting.parts)

    def _project(self, sources: Sources, state: State) -> Inside:
        key = (sources.spots[0].place, state.crossed)
        if key not in self._inside:
            self._inside[key] = project(sources, self._crossed(state))
        return self._inside[key]

    def _crossed(self, state: State) -> Attention:
        assert state.crossed is not None, "nothing was crossed"
        return self.run.blocks[state.crossed].attention

    def _passed(self, name: str, label: str) -> str:
        if not self.is_split:
            return ""
        return f"{name}>{label}" if label else name


def _reached(rows: Rows, n_origin: int, n_pos: int) -> Bool[Tensor, "n_origin pos"]:
    """The tokens up to the last one at which each origin stands."""
    last = rows.pos.new_zeros(n_origin).scatter_reduce_(0, rows.origin, rows.pos, "amax")
    return torch.arange(n_pos, device=last.device) <= last[:, None]


def _add(stream: dict[str, Tensor], label: str, vectors: Tensor) -> None:
    stream[label] = stream[label] + vectors if label in stream else vectors
