"""Rows on their way back from a target to the sources that reach it directly.

    site on the stream   rows meet its sources and stop: nothing passes
    site on a component  rows meet its sources; the component is passed by, but for skip weights
    site on the heads    rows meet its sources behind the attention layer's output weights
    MLP                  its vector-Jacobian product at each row's token is added to the row
    attention            rows are crossed into the heads, where earlier sources meet them

A row that has crossed an attention layer and comes to another component, with no cut of the stream
before, leaves the heads again: it becomes a row at every token it reaches, and the way goes on
(`spread`), for so many rows at one time that they stay small.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.edges.factorised.attention import Crossing, cross, joined
from saecircuits.edges.factorised.meeting import Meeting
from saecircuits.edges.factorised.rows import Rows, metric_rows, target_rows
from saecircuits.edges.factorised.sources import Inside, Sources, project, read_sources
from saecircuits.edges.factorised.spread import (
    Plane,
    gather,
    leave,
    most_cells,
    pieces,
    planes,
    read_back,
    sum_of,
)
from saecircuits.edges.factorised.way import (
    Station,
    leaves_again,
    passes,
    spreads,
    stations,
)
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

    def plus(self, other: "Met") -> "Met":
        """With what other rows of the same targets have met."""
        return replace(
            self,
            effects=self.effects + other.effects,
            weights=self.weights + other.weights,
            part_effects=self.part_effects + other.part_effects,
        )


@dataclass(frozen=True, eq=False)
class State:
    """Where rows stand, by the components passed so far.

    Attributes:
        stream: cotangents of the stream at the rows' own tokens.
        beside: the cotangents of what the next attention layer adds, where they are not those of
            the stream: for a target at its output, and in a block whose MLP and attention read the
            same stream, where the MLP is nothing that the attention layer writes to.
        crossed: the layer into whose heads rows were crossed.
        crossing: cotangents inside those heads, by the ways in `labels`: all rows by the first
            way, then all by the second. Of spread rows what each is read by (`spread.gather`).
        planes: of spread rows; None for rows at their targets' own tokens.
    """

    rows: Rows
    stream: dict[str, Float[Tensor, "n_row d_model"]]
    beside: dict[str, Float[Tensor, "n_row d_model"]] | None = None
    crossed: int | None = None
    crossing: Crossing | Float[Tensor, "n_way_row many_heads d_head"] | None = None
    labels: tuple[str, ...] = ()
    planes: tuple[Plane, ...] | None = None


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
            moved = take_apart(
                model, tokens, operator, at_site=at_site, at_tokens=at_tokens, own=self.run
            )
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

    def back_from_metric(self) -> Iterator[Met]:
        """What the metric reads directly, place by place."""
        rows, vectors = metric_rows(self.contrast, self.run.unembedding)
        yield from self._in_pieces(
            rows, self.way[::-1], lambda rows, some: State(rows, {"": vectors[some]})
        )

    def back_from(self, targets: tuple[Spot, ...], gradient: PlaceGradient) -> Iterator[Met]:
        """What some targets, all of one place, read directly, place by place."""
        rows, at_read, at_write = target_rows(
            self._readers, targets, gradient, is_asleep=self._is_asleep
        )
        own, way = self._before(targets[0].place)
        yield from self._in_pieces(
            rows,
            way,
            lambda rows, some: self._begin(targets, own, rows, (at_read[some], at_write[some])),
            is_crossed=targets[0].place == own.heads,
        )

    def _before(self, place: int) -> tuple[Station, tuple[Station, ...]]:
        """A place's own station, and the stations before the place, the last one first."""
        index = next(
            index
            for index, station in enumerate(self.way)
            if place in (station.place, station.heads)
        )
        own, before = self.way[index], self.way[:index]
        if own.kind == "attention" and place != own.heads:
            # What stands at an attention layer's output has the layer's own heads before it.
            before = (*before, replace(own, place=None))
        return own, before[::-1]

    def _first(self, way: tuple[Station, ...]) -> Int[Tensor, " batch"]:
        """The first token of every prompt at which rows meet a source on their way."""
        n_prompt, n_pos = self.contrast.tokens.shape
        first = torch.full((n_prompt,), n_pos, device=self.contrast.tokens.device)
        for station in way:
            for place in (station.place, station.heads):
                if place in self.sources:
                    first = torch.minimum(first, self.sources[place].first)
            if station.kind in ("stream", "tokens"):
                break
        return first

    def _in_pieces(
        self,
        rows: Rows,
        way: tuple[Station, ...],
        begin: Callable[[Rows, Tensor], State],
        *,
        is_crossed: bool = False,
    ) -> Iterator[Met]:
        """Rows on their way, those that can meet a source: a bounded number where they are spread.

        Args:
            is_crossed: they begin inside the heads of a layer.
        """
        rows = replace(rows, first=self._first(way)[rows.prompt])
        kept = (rows.pos >= rows.first).nonzero()[:, 0]
        parts = [slice(0, len(kept))]
        if spreads(self.contrast.model, way, is_crossed=is_crossed):
            counts = (rows.pos - rows.first + 1)[kept]
            parts = pieces(counts, most_cells(self.run.blocks[0].attention))
        found: list[Met] = []
        for part in parts:
            here = kept[part]
            walked = self._back(begin(rows.some(here), here), way)
            if len(parts) == 1:
                yield from walked
                return
            mets = list(walked)
            found = [a.plus(b) for a, b in zip(found, mets, strict=True)] if found else mets
        yield from found

    def _begin(
        self,
        targets: tuple[Spot, ...],
        station: Station,
        rows: Rows,
        vectors: tuple[Float[Tensor, "n_row d_in"], Float[Tensor, "n_row d_out"]],
    ) -> State:
        """From the tensors of the targets' site to the stream, or into the heads before it.

        Args:
            station: of the site.
            vectors: cotangents of what the site reads and of what it writes.
        """
        place, (at_read, at_write) = targets[0].place, vectors
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

    def _back(self, state: State, way: tuple[Station, ...]) -> Iterator[Met]:
        """Over the stations of a way, to the nearest cut of the whole stream."""
        for number, station in enumerate(way, start=1):
            if state.crossing is not None and passes(self.contrast.model, station):
                state = self._unfold(state)
            stream, place = state.stream, station.place
            # Parallel blocks: the MLP's cotangent belongs to the stream, not to what attention adds
            if station.kind == "attention" and state.beside is not None:
                stream, state = state.beside, replace(state, beside=None)
            if place in self.sources and (stream or state.crossing is not None):
                yield self._meet(self.sources[place], stream, state)
            if station.kind in ("stream", "tokens"):
                return  # direct edges end at the nearest site that writes the whole stream
            if station.kind == "mlp" and passes(self.contrast.model, station):
                state = self._through_mlp(station, state)
            elif station.kind == "attention" and place is None and stream:
                if station.heads is None and leaves_again(
                    self.contrast.model, way[number:], self.sources
                ):
                    # Nobody asks how rows came into heads that they leave again.
                    stream = {self._later: sum_of(stream.values())}
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
        attention, rows, on = self.run.blocks[station.layer].attention, state.rows, state.planes
        ways = values.values()
        if on is None:
            crossing = joined([cross(attention, value, rows.prompt, rows.pos) for value in ways])
        else:
            crossing = torch.cat([gather(attention, value, rows, on) for value in ways])
        return replace(state, crossed=station.layer, crossing=crossing, labels=tuple(values))

    def _unfold(self, state: State) -> State:
        """Out of the heads again: a row for every token that rows have reached."""
        assert state.beside is None and state.crossing is not None
        attention, rows, n_way = self._crossed(state), state.rows, len(state.labels)
        if isinstance(state.crossing, Tensor):
            left = sum_of(state.crossing.chunk(n_way))
            vectors = read_back(attention, left, rows.prompt, rows.pos)
            vectors += sum_of(state.stream.values())
            return State(rows, {self._later: vectors}, planes=state.planes)
        # What comes before is linear in the vector at each token, wherever that came from.
        spread = rows.spread()
        vectors = leave(attention, state.crossing, rows, spread, n_way=n_way)
        own = (spread.pos == rows.pos[spread.origin]).nonzero()[:, 0]
        for at_own in state.stream.values():
            vectors.index_add_(0, own, at_own)
        return State(spread, {self._later: vectors}, planes=planes(spread))

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
            part, n_way = len(stream) if self.is_split else None, len(state.labels)
            if isinstance(state.crossing, Tensor):
                meeting.add_gathered(state.crossing, inside, part=part, n_way=n_way)
            else:
                meeting.add_crossing(state.crossing, inside, part=part, n_way=n_way)
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

    @property
    def _later(self) -> str:
        return LATER if self.is_split else ""

    def _passed(self, name: str, label: str) -> str:
        if not self.is_split:
            return ""
        return f"{name}>{label}" if label else name


def _add(stream: dict[str, Tensor], label: str, vectors: Tensor) -> None:
    stream[label] = stream[label] + vectors if label in stream else vectors
