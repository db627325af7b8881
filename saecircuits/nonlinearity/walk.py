"""The metric of many subsets of members, runs shared by all subsets that agree so far.

What happens up to some point of the forward pass depends only on the members before it. So the
pass is cut into stages; a stage runs once for every choice of its own and all earlier members that
occurs, each from the state that the choice of the earlier ones left. Subsets are followed depth
first, a few at a time, so that memory does not grow with their number.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# (prepared, which of its states each set starts from, the members that each set keeps) -> states
Advance: TypeAlias = Callable[[Any, Int[Tensor, " n_set"], Bool[Tensor, "n_set n_member"]], Tensor]


@dataclass(frozen=True, eq=False)
class Stage:
    """A piece of the forward pass.

    Attributes:
        columns: the members that act in it.
        tokens: how many tokens one set takes.
        prepare: what the sets that start from some states have in common; made once for all.
        advance: the states of some sets at its end; at the end of the last stage, their metric.
    """

    columns: tuple[int, ...]
    tokens: int
    prepare: Callable[[Tensor | None], Any]
    advance: Advance


@torch.no_grad()
def walk(
    stages: Sequence[Stage], keep: Bool[Tensor, "n_set n_member"], *, tokens_at_once: int = 4096
) -> Float[Tensor, "n_set batch"]:
    """The metric of every set.

    Args:
        keep: the members that each set keeps.
        tokens_at_once: how many tokens one stage may hold; it bounds memory.
    """
    start = torch.zeros(len(keep), dtype=torch.long, device=keep.device)
    return _follow(stages, None, start, keep, tokens_at_once)


def _follow(
    stages: Sequence[Stage],
    states: Tensor | None,
    parent: Int[Tensor, " n_set"],
    keep: Bool[Tensor, "n_set n_member"],
    tokens_at_once: int,
) -> Float[Tensor, "n_set batch"]:
    if not stages:
        assert states is not None, "a walk has at least one stage"
        return states[parent]
    stage, prepared = stages[0], stages[0].prepare(states)
    chosen = torch.cat([parent[:, None], keep[:, list(stage.columns)].long()], dim=1)
    _, child = chosen.unique(dim=0, return_inverse=True)
    by_child = child.argsort(stable=True)
    n_child = int(child.max()) + 1
    firsts = torch.searchsorted(child[by_child], torch.arange(n_child + 1, device=child.device))
    together = max(1, tokens_at_once // stage.tokens)
    metric: Tensor | None = None
    for start in range(0, n_child, together):
        end = min(start + together, n_child)
        first_sets = by_child[firsts[start:end]]
        reached = stage.advance(prepared, parent[first_sets], keep[first_sets])
        sets = by_child[firsts[start] : firsts[end]]
        below = _follow(stages[1:], reached, child[sets] - start, keep[sets], tokens_at_once)
        if metric is None:
            metric = below.new_empty(len(keep), below.shape[1])
        metric[sets] = below
    assert metric is not None
    return metric
