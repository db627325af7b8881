"""The game of nodes: features, error nodes and tokens, each clean or at its baseline.

What a site writes for a set S of kept members is a sum of pieces made once from what it reads:

    rest "baseline"    baseline of every node, plus the change of the members in S
    rest "clean"       what the site writes of itself, less the change of the members not in S

where the change of a member is its value in the stream as it now is, less its baseline. This is
the ablation of `nodes.ablation`, made from the members' side; a test holds the two together. Where
a site writes the whole stream, pieces are shared by all sets that agree on the members before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from saecircuits.errors import UnknownNameError
from saecircuits.nodes.contrast import TOKENS, Contrast
from saecircuits.nodes.interventions import ERROR, Spot, node_change
from saecircuits.nonlinearity.runs import Keep, read_out, run_stage
from saecircuits.nonlinearity.walk import Stage
from saecircuits.splicing.model import AtSite, AtTokens

Rest: TypeAlias = Literal["baseline", "clean"]
# What a site writes whatever its members do, and the change of every member there.
Pieces: TypeAlias = tuple[Tensor, Sequence[Tensor]]


def parse_rest(name: str) -> Rest:
    """The name itself; UnknownNameError unless it is baseline or clean."""
    for known in get_args(Rest):
        if name == known:
            return known
    raise UnknownNameError("rest", name, get_args(Rest))


def node_stages(contrast: Contrast, spots: Sequence[Spot], rest: Rest) -> list[Stage]:
    """The stages of a game of nodes.

    Args:
        spots: the members; tokens that are no members stay clean.
        rest: what all other features and error nodes are.
    """
    model = contrast.model
    writers = {
        index: writer
        for index in range(len(model.splices))
        if not (writer := _Writer(contrast, spots, rest, index)).is_identity
    }
    tokens = tuple(column for column, spot in enumerate(spots) if spot.place == TOKENS)
    stages: list[Stage] = []
    first, pending, columns = 0, list[int](), list(tokens)

    def run(stop: int | None, up_to: int | None = None) -> Stage:
        inside = list(pending)

        def at_site(keep: Keep) -> AtSite:
            def write(index: int, read: Tensor, written: Tensor) -> Tensor | None:
                return writers[index].now(read, written, keep) if index in inside else None

            return write

        begins_with_tokens = first == 0 and bool(tokens)
        return run_stage(
            contrast,
            columns,
            first=first,
            stop=stop,
            up_to=up_to,
            at_site=at_site if inside else None,
            at_tokens=(lambda keep: _at_tokens(contrast, spots, keep))
            if begins_with_tokens
            else None,
        )

    for index, writer in writers.items():
        behind = model.block_behind(index)
        if behind is None:
            pending.append(index)
            columns.extend(writer.columns)
            continue
        stages.append(run(behind, index))
        is_narrow = behind == model.n_layers and contrast.operator.kind == "full"
        stages.append(_write_stage(writer, is_narrow=is_narrow))
        if is_narrow:
            return [*stages, read_out(contrast)]
        first, pending, columns = behind, [], []
    return [*stages, run(None)]


def _write_stage(writer: "_Writer", *, is_narrow: bool) -> Stage:
    """What a site writes, given the stream there: pieces per state, then a sum per set.

    Args:
        is_narrow: leave of every prompt its last token alone.
    """
    contrast = writer.contrast

    def prepare(states: Tensor | None) -> Pieces:
        assert states is not None
        return writer.pieces(states, states, is_narrow=is_narrow)

    def advance(pieces: Pieces, parent: Tensor, keep: Tensor) -> Tensor:
        start, changes = pieces
        return writer.added(start[parent], [change[parent] for change in changes], keep)

    tokens = len(contrast.prompts) if is_narrow else contrast.prompts.clean_tokens.numel()
    return Stage(writer.columns, tokens, prepare, advance)


def _at_tokens(contrast: Contrast, spots: Sequence[Spot], keep: Keep) -> AtTokens:
    def at_tokens(tokens: Tensor) -> Tensor:
        for column, spot in enumerate(spots):
            if spot.place == TOKENS:
                gone = (~keep[:, column]).to(tokens)[:, None, None, None]
                tokens = tokens - (gone * node_change(contrast, spot)).flatten(0, 1)
        return tokens

    return at_tokens


@dataclass(frozen=True, eq=False)
class _Writer:
    """What one site writes for sets of members."""

    contrast: Contrast
    spots: Sequence[Spot]
    rest: Rest
    index: int

    @cached_property
    def columns(self) -> tuple[int, ...]:
        """The members at this site."""
        return tuple(c for c, spot in enumerate(self.spots) if spot.place == self.index)

    @property
    def is_identity(self) -> bool:
        """Whether what is written is always what comes."""
        passes = self.rest == "clean" and self.contrast.error_policy == "recompute"
        return passes and not self.columns

    def now(self, read: Tensor, write: Tensor, keep: Keep) -> Tensor:
        """What is written in a run, the batch laid once per set."""
        sets = (len(keep), len(self.contrast.prompts))
        pieces = self.pieces(read.unflatten(0, sets), write.unflatten(0, sets), is_narrow=False)
        return self.added(*pieces, keep).flatten(0, 1)

    def added(
        self,
        start: Float[Tensor, "n_set batch pos d_out"],
        changes: Sequence[Float[Tensor, "n_set batch pos d_out"]],
        keep: Keep,
    ) -> Float[Tensor, "n_set batch pos d_out"]:
        """The sum of the pieces, for every set."""
        offset = 1 if self.rest == "clean" else 0
        weights = keep[:, list(self.columns)].to(start) - offset
        pairs = zip(weights.unbind(1), changes, strict=True)
        return reduce(lambda total, one: total + one[0][:, None, None, None] * one[1], pairs, start)

    def pieces(self, read: Tensor, write: Tensor, *, is_narrow: bool) -> Pieces:
        """The pieces of every state: `[state, batch, pos, d]`, with one position if narrow."""
        contrast, index = self.contrast, self.index
        dictionary = contrast.model.splices[index].dictionary
        clean, base = contrast.clean.sites[index], contrast.baseline.sites[index]

        def at(values: Tensor) -> Tensor:
            return self._last(values) if is_narrow else values

        if is_narrow:
            read, write = self._last(read), self._last(write)
        holds = contrast.error_policy == "hold"
        acts = dictionary.encode(read)
        skip = dictionary.skip(read)
        error = at(clean.error) if holds else write - dictionary.decode(acts) - skip
        if self.rest == "clean":
            start = dictionary.decode(acts) + skip + error if holds else write
        else:
            other = base.activations.decode(dictionary.W_dec) + base.error + dictionary.b_dec
            inside = at((contrast.units.clean >= 0)[..., None])
            start = torch.where(inside, at(other) + skip, write)
        changes = []
        for column in self.columns:
            spot = self.spots[column]
            if spot.feature == ERROR:
                change = error - at(base.error)
            else:
                feature = torch.tensor([spot.feature], device=read.device)
                moved = acts[..., feature] - at(base.activations.of(feature))
                change = moved * dictionary.W_dec[spot.feature]
            inside = at((contrast.units.clean == spot.unit)[..., None])
            changes.append(torch.where(inside, change, 0.0).expand_as(start))
        return start, changes

    def _last(self, values: Tensor) -> Tensor:
        """Of `[..., batch, pos, d]` the last token of every prompt, as one position."""
        lengths = self.contrast.prompts.clean_lengths.to(values.device)
        rows = torch.arange(len(lengths), device=values.device)
        return values[..., rows, lengths - 1, :].unsqueeze(-2)
