"""Edge ablation: every kept node reads its kept parents alone, all other sources at baseline.

A circuit is a set of edges u -> v, its nodes what they join. In forward order, every node v has a
run of the model of its own:

1. every site before v writes, at every token, the baseline of all its nodes, plus the change of
   v's kept parents there: circuit value minus baseline, along the feature's direction (error nodes
   and token embeddings: the change itself). What belongs to no node (`b_dec`, skip weights, what is
   prepended) is as the run makes it;
2. between the sites the model's own components run, so a parent reaches v along every way that
   meets no other node: the direct edge of THEORY 3, not linearised, and all parents together;
3. what v reads in this run gives its circuit value: a feature's activation, by its dictionary; an
   error node's error. With errors held, an error node is its clean value and reads nothing.

The metric reads its kept parents in the same way. Token embeddings are sources for nodes; for the
metric they are the input, as in node ablation, and stay clean. So

    all edges among some nodes and the tokens, and to the metric   node ablation of these nodes
    no edge                                                        every node at its baseline
    all edges of all nodes                                         the model

A site that writes the whole stream lets nothing by: edges from before it carry nothing behind it.
Nodes of one place with the same parents share a run; runs begin behind the last such site, end with
the block that v is in, and go as far as v's last token.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.nodes.ablation import Read
from saecircuits.nodes.contrast import TOKENS, Contrast
from saecircuits.nodes.interventions import ERROR, Spot, node_change
from saecircuits.splicing.carrying import Carried, decoded_at
from saecircuits.splicing.section import Section

Edge: TypeAlias = tuple[Spot, Spot | None]
Parents: TypeAlias = frozenset[Spot]


@dataclass(frozen=True, eq=False)
class Wiring:
    """A set of edges, kept or cut.

    Attributes:
        parents: of every node that edges begin or end in, and of the metric (None), where its
            edges begin.
        are: `kept`: these edges alone are there. `cut`: all edges of all nodes but these.
    """

    parents: Mapping[Spot | None, Parents]
    are: Literal["kept", "cut"] = "kept"

    @cached_property
    def members(self) -> tuple[Spot, ...]:
        """The nodes that edges begin or end in, tokens first."""
        ends = {spot for spot in self.parents if spot is not None}
        return tuple(sorted(ends.union(*self.parents.values())))

    def complement(self) -> "Wiring":
        """All other edges."""
        return Wiring(self.parents, "cut" if self.are == "kept" else "kept")


def wire(edges: Iterable[Edge]) -> Wiring:
    """The circuit of these edges (source, target); target None is the metric."""
    parents: dict[Spot | None, set[Spot]] = {None: set()}
    for source, target in edges:
        parents.setdefault(target, set()).add(source)
    return Wiring({target: frozenset(found) for target, found in parents.items()})


def wire_all(nodes: Collection[Spot], *, n_unit: int) -> Wiring:
    """Every edge from earlier to later places among some nodes, the tokens, and the metric."""
    tokens = frozenset(Spot(TOKENS, unit, ERROR) for unit in range(n_unit))
    every = tokens.union(nodes)
    readers = {v: frozenset(u for u in every if u.place < v.place) for v in every - tokens}
    return Wiring({None: every, **readers})


@torch.no_grad()
def ablate_edges(
    contrast: Contrast,
    wirings: Sequence[Wiring],
    *,
    read: Read | None = None,
    tokens_at_once: int | None = None,
) -> Float[Tensor, "n_wiring batch"]:
    """The metric of every prompt for every set of edges.

    Args:
        read: another figure of the logits than the metric, such as `contrast.divergence`.
        tokens_at_once: how many tokens one forward pass may hold; None for what the limit on
            memory allows.
    """
    read = read or contrast.metric
    if tokens_at_once is None:
        tokens_at_once = contrast.tokens_at_once(4096)
    walks = (_Walk(contrast, wiring, tokens_at_once) for wiring in wirings)
    return torch.cat([read(walk.logits()) for walk in walks])


@dataclass(frozen=True, eq=False)
class _Written:
    """What a place can write: a part that all readers share, and the change of every member.

    Attributes:
        shared: with every member at its baseline.
        acts: change of every member that is a feature, along its row of `directions`.
        errors: change of every other member.
    """

    shared: Float[Tensor, "batch pos d_out"]
    features: tuple[Spot, ...]
    acts: Float[Tensor, "batch pos n_feature"]
    directions: Float[Tensor, "n_feature d_out"]
    others: tuple[Spot, ...]
    errors: Float[Tensor, "n_other batch pos d_out"]

    def to(self, readers: Sequence[Parents], length: int) -> Float[Tensor, "many pos d_out"]:
        """What is written for readers with these parents, the batch laid once for each."""
        out = self.shared[:, :length].expand(len(readers), -1, -1, -1)
        if self.features:
            reads = _among(self.features, readers, like=out)[:, None, None]
            out = out + (reads * self.acts[:, :length]) @ self.directions
        if self.others:
            reads = _among(self.others, readers, like=out)
            out = out + torch.einsum("rn,nbpd->rbpd", reads, self.errors[:, :, :length])
        return out.flatten(0, 1)


def _among(
    sources: Sequence[Spot], readers: Sequence[Parents], *, like: Tensor
) -> Float[Tensor, "n_reader n_src"]:
    """1.0 where a reader has the source among its parents."""
    return like.new_tensor([[source in parents for source in sources] for parents in readers])


@dataclass(frozen=True, eq=False)
class _Changes:
    """Of a site's members that are features: which they are, and circuit value less baseline."""

    features: tuple[Spot, ...]
    chosen: Int[Tensor, " n_feature"]
    acts: Float[Tensor, "batch pos n_feature"]


class _Walk:
    """The values of a wiring's nodes on one batch, place by place."""

    def __init__(self, contrast: Contrast, wiring: Wiring, tokens_at_once: int) -> None:
        self._contrast, self._wiring, self._at_once = contrast, wiring, tokens_at_once
        self._model = contrast.model
        self._inside = (contrast.units.clean >= 0)[..., None]
        self._changes: dict[int, _Changes] = {}
        self._no_members = Carried(contrast.model)
        needed = self._needed()
        self._written: dict[int, _Written] = {TOKENS: self._tokens()}
        for place in contrast.places[1:]:
            here = [spot for spot in wiring.members if spot.place == place and spot in needed]
            self._written[place] = self._site(place, here)

    def logits(self) -> Float[Tensor, "batch pos_read d_vocab"]:
        """The run that the metric reads."""
        return self._run(None, [self._read_by(None)], self._contrast.tokens.shape[1])[2]

    @property
    def _is_cut(self) -> bool:
        return self._wiring.are == "cut"

    def _needed(self) -> set[Spot]:
        """Members whose values can reach the metric."""
        if self._is_cut:
            return set(self._wiring.members)
        # Backwards from the metric along kept edges; what is not met is never computed.
        needed, pending = set[Spot](), list[Spot | None]([None])
        while pending:
            fresh = self._read_by(pending.pop()) - needed
            needed |= fresh
            pending.extend(fresh)
        return needed

    def _read_by(self, reader: Spot | None) -> Parents:
        """The parents that a node, or the metric, can see any change of."""
        named = self._wiring.parents.get(reader, frozenset())
        if self._is_cut:
            named = frozenset(self._wiring.members) - named
        end = self._end(reader)
        first = self._last_whole(end)  # what it writes takes the place of all before it
        return frozenset(spot for spot in named if first <= spot.place < end)

    def _end(self, reader: Spot | None) -> int:
        return len(self._model.splices) if reader is None else reader.place

    def _last_whole(self, end: int) -> int:
        """The last site before a place that writes the whole stream; TOKENS if there is none."""
        whole = [place for place in range(end) if self._model.block_behind(place) is not None]
        return max(whole, default=TOKENS)

    def _tokens(self) -> _Written:
        contrast = self._contrast
        tokens = tuple(spot for spot in self._wiring.members if spot.place == TOKENS)
        shared = contrast.clean.tokens if self._is_cut else contrast.baseline.tokens
        errors = shared.new_zeros(len(tokens), *shared.shape)
        for number, spot in enumerate(tokens):
            errors[number] = node_change(contrast, spot)
        if self._is_cut:
            shared = shared - errors.sum(0)
        none = shared.new_zeros(0, shared.shape[-1])
        return _Written(shared, (), shared[..., :0], none, tokens, errors)

    def _site(self, place: int, members: Sequence[Spot]) -> _Written:
        """The circuit values of a site's nodes, from what they read."""
        contrast = self._contrast
        dictionary, base = self._model.splices[place].dictionary, contrast.baseline.sites[place]
        features = tuple(spot for spot in members if spot.feature != ERROR)
        errors = tuple(spot for spot in members if spot.feature == ERROR)
        chosen = torch.tensor([s.feature for s in features], device=base.error.device).long()
        acts = base.error.new_zeros(*base.error.shape[:2], len(features))
        lost = contrast.clean.sites[place].error.repeat(len(errors), 1, 1, 1)
        is_held = contrast.holds_errors
        for read, unread, rows in self._arriving(place, features if is_held else members):
            length = read.shape[2]
            pairs = [
                (row, features.index(v)) for row, vs in enumerate(rows) for v in vs if v in features
            ]
            if pairs:
                row, column = torch.tensor(pairs, device=chosen.device).T
                some, at = column.unique(return_inverse=True)
                found = dictionary.encode_some(read, chosen[some])
                acts[:, :length, column] = found[row, :, :, at].permute(1, 2, 0)
            for row, vs in enumerate(rows):
                for number in (errors.index(v) for v in vs if v in errors):
                    lost[number, :, :length] = unread[row] - dictionary.reconstruct(read[row])
        member = contrast.units.membership.to(acts)
        if features:
            acts = acts - base.activations.of(chosen)
            acts = acts * member[..., [spot.unit for spot in features]]
        for number, spot in enumerate(errors):
            lost[number] = (lost[number] - base.error) * member[..., spot.unit, None]
        # Skip weights are added where the site is run: they pass on what each reader's run brings.
        sites = contrast.baseline.sites
        of_features = decoded_at(self._model, lambda index: sites[index].activations, place)
        shared = of_features + base.error + dictionary.b_dec
        if self._is_cut:
            shared = shared + self._others(place, members)
        outside = contrast.clean.written(self._model, place)
        shared = torch.where(self._inside, shared, outside)
        self._changes[place] = _Changes(features, chosen, acts)
        return self._writing(place, shared, errors, lost)

    def _writing(
        self, place: int, shared: Tensor, errors: tuple[Spot, ...], lost: Tensor
    ) -> _Written:
        """What a site writes: its own members, and those of earlier sites that write there."""
        found = [(self._changes[index], index, at) for index, at in self._model.writers(place)]
        directions = [
            self._model.splices[index].dictionary.directions(changes.chosen, at)
            for changes, index, at in found
        ]
        return _Written(
            shared,
            tuple(spot for changes, _, _ in found for spot in changes.features),
            torch.cat([changes.acts for changes, _, _ in found], dim=-1),
            torch.cat(directions),
            errors,
            lost,
        )

    def _others(self, place: int, members: Sequence[Spot]) -> Float[Tensor, "batch pos d_out"]:
        """The change of all nodes of a site that are no members: they read everything."""
        contrast = self._contrast
        dictionary, base = self._model.splices[place].dictionary, contrast.baseline.sites[place]
        everything = frozenset(spot for spot in self._wiring.members if spot.place < place)
        length = contrast.tokens.shape[1]
        read, unread, _ = self._run(place, [everything], length, reads_error=True)
        acts = dictionary.encode(read)
        error = unread - dictionary.decode(acts) - dictionary.skip(read)
        if contrast.holds_errors:
            error = contrast.clean.sites[place].error
        change, lost = acts - base.features, error - base.error
        for spot in members:
            elsewhere = contrast.units.clean != spot.unit
            if spot.feature == ERROR:
                lost = lost * elsewhere[..., None]
            else:
                change[..., spot.feature] *= elsewhere
        self._no_members.keep(place, change)
        return change @ dictionary.W_dec + lost + self._no_members.at(place)

    def _arriving(
        self, place: int, readers: Sequence[Spot]
    ) -> Iterator[tuple[Tensor, Tensor, list[list[Spot]]]]:
        """What a site's nodes read: `[run, batch, pos, d]` of both tensors, and each run's readers.

        Of the second, which error nodes alone read, it is what earlier sites leave of it. The
        positions are those up to the last that is read.
        """
        groups: dict[Parents, list[Spot]] = {}
        for spot in readers:
            groups.setdefault(self._read_by(spot), []).append(spot)
        by_length: dict[int, list[Parents]] = {}
        for parents, spots in groups.items():
            by_length.setdefault(max(self._length(s.unit) for s in spots), []).append(parents)
        n_batch = len(self._contrast.prompts)
        for length, sets in by_length.items():
            together = max(1, self._at_once // (n_batch * length))
            for start in range(0, len(sets), together):
                some = sets[start : start + together]
                has_errors = any(v.feature == ERROR for parents in some for v in groups[parents])
                arrived = self._run(place, some, length, reads_error=has_errors)[:2]
                read, write = (tensor.unflatten(0, (len(some), n_batch)) for tensor in arrived)
                yield read, write, [groups[parents] for parents in some]

    def _length(self, unit: int) -> int:
        """How many tokens there are up to the end of a unit, in every prompt of the batch."""
        if self._contrast.operator.kind != "full":
            return self._contrast.tokens.shape[1]  # what is held is held for all of them
        there = (self._contrast.units.clean == unit).any(0).nonzero()
        return int(there.max()) + 1 if len(there) else 1

    def _run(
        self,
        place: int | None,
        readers: Sequence[Parents],
        length: int,
        *,
        reads_error: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A run for every reader: the two tensors at a place (None: the metric), and the end.

        Args:
            reads_error: of the second tensor, take off what features of earlier sites, as they
                read in this run, write there.
        """
        contrast, model, times = self._contrast, self._model, len(readers)
        end = len(model.splices) if place is None else place
        inside = self._inside[:, :length].repeat(times, 1, 1)
        arrived: list[Tensor] = []
        earlier = Carried(model)

        def at_site(index: int, read: Tensor, write: Tensor) -> Tensor | None:
            if index == place:
                arrived.extend((read, write - earlier.at(index) if reads_error else write))
            if index >= end:
                return None
            if reads_error and place in model.reach(index):
                earlier.keep(index, model.splices[index].dictionary.encode(read))
            own = self._written[index].to(readers, length)
            return torch.where(inside, own + model.splices[index].dictionary.skip(read), write)

        def at_tokens(tokens: Tensor) -> Tensor:
            return tokens if place is None else self._written[TOKENS].to(readers, length)

        first = self._last_whole(end)
        behind = None if first == TOKENS else model.block_behind(first)
        section = Section(
            first=behind or 0,
            stream=None if behind is None else self._written[first].to(readers, length),
            stop=None if place is None else model.splices[place].site.layer + 1,
        )
        out = model.forward(
            contrast.tokens[:, :length].repeat(times, 1),
            at_site=at_site,
            at_tokens=at_tokens if behind is None else None,
            operator=contrast.operator.repeated(times),
            section=section,
            lengths=contrast.prompts.clean_lengths.clamp(max=length).repeat(times),
        )
        return (arrived[0], arrived[1], out) if arrived else (out, out, out)
