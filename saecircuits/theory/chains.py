"""All chains of components in order of computation, level by level; with a limit, as 2^C are."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

# Name and map of a component; the map takes `[n_path, pos, d_model]`.
NamedMap: TypeAlias = tuple[str, Callable[[Tensor], Tensor]]
_AT_ONCE = 128


@dataclass(frozen=True, eq=False)
class Level:
    """The chains of one length.

    Attributes:
        paths: names of the components passed, the first first.
        ends: the step of each chain's last component.
        values: what the last component gives.
        applications: of a component to one stream, in all levels so far.
    """

    paths: tuple[tuple[str, ...], ...]
    ends: tuple[int, ...]
    values: Float[Tensor, "n_path pos d_model"]
    applications: int


def chains(
    steps: Sequence[Sequence[NamedMap]],
    start: Float[Tensor, "pos d_model"],
    *,
    first: int = 0,
    limit: int,
) -> Iterator[Level]:
    """Level k holds the value of every chain `F_ck(... F_c2(F_c1(start)))` of k components.

    Level 0 is the start itself. The components of a chain are of different steps, in order.

    Args:
        first: the first step that reads the start.
        limit: no level is begun that would take the applications above this number.
    """
    level = Level(((),), (first - 1,), start[None], 0)
    yield level
    while needed := applications_of_next(steps, level):
        if level.applications + needed > limit:
            return
        level = _next(steps, level, level.applications + needed)
        yield level


def applications_of_next(steps: Sequence[Sequence[NamedMap]], level: Level) -> int:
    """How many applications the level behind this one takes; 0 behind the last."""
    return sum(
        len(step) * sum(end < number for end in level.ends) for number, step in enumerate(steps)
    )


def _next(steps: Sequence[Sequence[NamedMap]], level: Level, applications: int) -> Level:
    paths: list[tuple[str, ...]] = []
    ends: list[int] = []
    values: list[Tensor] = []
    for number, step in enumerate(steps):
        rows = [row for row, end in enumerate(level.ends) if end < number]
        if not rows:
            continue
        read = level.values[rows]
        for name, apply in step:
            values.extend(apply(part) for part in read.split(_AT_ONCE))
            paths.extend((*level.paths[row], name) for row in rows)
            ends.extend(number for _ in rows)
    return Level(tuple(paths), tuple(ends), torch.cat(values), applications)
