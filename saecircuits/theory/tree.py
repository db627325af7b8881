"""The treeified view: the effect of one path at a time, by intervention.

Each path has its own copy of what it passes. For `u0 -> u1 -> ... -> uk`, the output of u0 is moved
by d_0 only in what u1 reads; u1 is computed anew, and its change alone is passed on:

    d_i = F_ui(r_ui + d_{i-1}) - o_ui              effect on m:  m(T) - m(T + d_k)

(path patching, Goldowsky-Dill et al. 2023, arXiv:2304.05969). Path effects need not add up to the
total effect, which moves u0 for everything behind it; the difference is the interaction remainder.
For affine components there is none.
"""

from collections.abc import Callable, Iterator, Sequence

from jaxtyping import Float
from torch import Tensor

from saecircuits.theory.chains import Level, NamedMap, chains


def path_changes(
    changes: Sequence[Sequence[NamedMap]],
    change: Float[Tensor, "pos d_model"],
    *,
    first: int,
    limit: int,
) -> Iterator[Level]:
    """What every path from u0 changes at the end of the stream, by how many components it passes.

    Level 0 is the direct path.

    Args:
        changes: each component's map `d -> F_c(r_c + d) - o_c`.
        change: d_0, what is put in the place of u0's output less that output.
        first: the first step that reads u0.
        limit: no level is begun that takes the applications of a component above this.
    """
    return chains(changes, change, first=first, limit=limit)


def total_change(
    changes: Sequence[Callable[[Tensor], Tensor]],
    change: Float[Tensor, "pos d_model"],
    *,
    first: int,
) -> Float[Tensor, "pos d_model"]:
    """What moving u0 for everything behind it changes at the end of the stream.

    Args:
        changes: each step's map `d -> F(r + d) - o`, its components taken together.
    """
    moved = change[None]
    for step in changes[first:]:
        moved = moved + step(moved)
    return moved[0]
