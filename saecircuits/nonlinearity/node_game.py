"""The game of nodes: features, error nodes and tokens, each clean or at its baseline.

What a site writes for a set S of kept members is `nodes.write` with the members in S at 1 and the
others at 0; all other nodes are at their baseline (rest "baseline") or as they are (rest "clean").
Where a site writes the whole stream, what it can write is made once for all sets that agree on the
members before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from saecircuits.errors import UnknownNameError
from saecircuits.nodes.contrast import TOKENS, Contrast
from saecircuits.nodes.interventions import Spot, node_change
from saecircuits.nodes.write import (
    Asked,
    Further,
    Write,
    asked_about,
    shares_of_tokens,
    write_at,
)
from saecircuits.nonlinearity.runs import Keep, read_out, run_stage
from saecircuits.nonlinearity.walk import Stage
from saecircuits.splicing.model import AtSite, AtTokens

Rest: TypeAlias = Literal["baseline", "clean"]
# What a site can write at some tokens, what it writes of itself there, and which tokens they are.
Can: TypeAlias = tuple[Write, Tensor, Tensor]


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
            further = Further(contrast)

            def write(index: int, read: Tensor, written: Tensor) -> Tensor | None:
                if index not in inside:
                    return None
                return writers[index].now(read, written, keep, further)

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
    """What a site writes, given the stream there: made once per state, then one for every set.

    Args:
        is_narrow: leave of every prompt its last token alone.
    """
    prompts = writer.contrast.prompts
    n_pos = 1 if is_narrow else prompts.clean_tokens.shape[1]

    def prepare(states: Tensor | None) -> Can:
        assert states is not None
        return writer.can(states, states, Further(writer.contrast), is_narrow=is_narrow)

    def advance(can: Can, parent: Tensor, keep: Tensor) -> Tensor:
        write, passing, rows = can
        there = (write.of_states(parent), passing[parent], rows)
        return writer.written(there, keep, Further(writer.contrast))

    return Stage(writer.columns, len(prompts) * n_pos, prepare, advance)


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
        passes = self.rest == "clean" and not self.contrast.holds_errors
        is_linked = len(self.contrast.reach(self.index)) + self._n_writers > 2
        return passes and not self.columns and not is_linked

    @property
    def _n_writers(self) -> int:
        return len(self.contrast.model.writers(self.index))

    def now(self, read: Tensor, write: Tensor, keep: Keep, further: Further) -> Tensor:
        """What is written in a run, the batch laid once per set.

        Args:
            further: of that run.
        """
        sets = (len(keep), len(self.contrast.prompts))
        can = self.can(read.unflatten(0, sets), write.unflatten(0, sets), further)
        return self.written(can, keep, further).flatten(0, 1)

    @cached_property
    def _asked(self) -> tuple[Asked, dict[int, int]]:
        features = [self.spots[column].feature for column in self.columns]
        return asked_about(features, self.contrast.model.device)

    def can(self, read: Tensor, write: Tensor, further: Further, *, is_narrow: bool = False) -> Can:
        """What can be written, given `[state, batch, pos, d]` of both tensors."""
        contrast, n_pos = self.contrast, read.shape[-2]
        rows = torch.arange(read.shape[-3] * n_pos, device=read.device)
        if is_narrow:
            lengths = contrast.prompts.clean_lengths.to(rows)
            rows = rows[::n_pos] + lengths - 1
        can = write_at(
            contrast, self.index, rows, self._asked[0], read=read, write=write, further=further
        )
        passing = write.flatten(-3, -2)[..., rows, :]
        if self.rest == "clean":
            now = passing
            if contrast.holds_errors:
                now = self._as_it_is(read, rows) + further.read_at(self.index)
            can = can.among(now + further.passed_to(self.index))
        return can, passing, rows

    def _as_it_is(self, read: Tensor, rows: Tensor) -> Tensor:
        """What is written under held errors if nothing of the site is at its baseline."""
        error = self.contrast.clean.sites[self.index].error
        dictionary = self.contrast.model.splices[self.index].dictionary
        return (
            dictionary.reconstruct(read.flatten(-3, -2)[..., rows, :]) + error.flatten(0, 1)[rows]
        )

    def written(
        self, can: Can, keep: Keep, further: Further
    ) -> Float[Tensor, "n_set batch _ d_out"]:
        """What is written for every set; tokens of no unit pass."""
        write, passing, rows = can
        asked, columns = self._asked
        size, device = (len(keep), len(self.contrast.units), asked.n_node), passing.device
        shares = torch.full(size, self.rest == "clean", device=device)
        for column in self.columns:
            spot = self.spots[column]
            shares[:, spot.unit, columns[spot.feature]] = keep[:, column]
        inside = (self.contrast.units.clean.flatten()[rows] >= 0)[:, None]
        of_tokens = shares_of_tokens(shares, self.contrast, rows)
        # Further on, too, what is written is counted from where no member acts, or where all do.
        less = float(self.rest == "clean")
        further.passes(self.index, write, asked, of_tokens.to(passing) - less)
        out = write.of(of_tokens)
        return torch.where(inside, out, passing).unflatten(-2, (len(self.contrast.prompts), -1))
