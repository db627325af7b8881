"""The naive residual expansion: not a decomposition. It is computed to say how wrong it is.

    T(x)  ?=  x + sum_i F_i(x) + sum_{i<j} F_j(F_i(x)) + ...

Each term feeds a component with another's output alone. For components that are not linear,
`F(a + b) != F(a) + F(b)`, and the sum is not T; a norm makes every small input large again, so it
even diverges as the depth grows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from jaxtyping import Float
from torch import Tensor

from saecircuits.theory.chains import NamedMap, applications_of_next, chains

NOT_A_DECOMPOSITION: Final = "naive residual expansion: not a decomposition"


@dataclass(frozen=True)
class NaiveExpansion:
    """How far the naive sum is from the stream.

    Attributes:
        errors: by degree from 0, `||T - sum up to this degree|| / ||T - x||`, over all positions.
        paths: how many terms each degree has.
        applications: of a component to one stream, up to and with each degree.
        is_complete: True where the last degree is the last that there is.
        stopped: where the sum stopped, and why.
    """

    errors: tuple[float, ...]
    paths: tuple[int, ...]
    applications: tuple[int, ...]
    is_complete: bool
    stopped: str
    label: str = NOT_A_DECOMPOSITION


def naive_expansion(
    steps: Sequence[Sequence[NamedMap]],
    source: Float[Tensor, "pos d_model"],
    stream: Float[Tensor, "pos d_model"],
    *,
    max_degree: int | None = None,
    limit: int,
) -> NaiveExpansion:
    """The sum by degree, as far as it goes within the limits.

    Args:
        steps: each component's own map, not linear.
        source: x.
        stream: T(x).
        max_degree: the last degree that is computed; None for no such limit.
        limit: no degree is begun that would take the applications of a component above this.
    """
    scale = float((stream - source).norm()) or 1.0
    errors, paths, applications = [], [], []
    rest, needed = stream, 0
    for level in chains(steps, source, limit=limit):
        rest = rest - level.values.sum(0)
        errors.append(float(rest.norm()) / scale)
        paths.append(len(level.paths))
        applications.append(level.applications)
        needed = applications_of_next(steps, level)
        if len(errors) - 1 == max_degree:
            break
    last = len(errors) - 1
    if needed == 0:
        stopped = f"complete: degree {last} is the last"
    elif last == max_degree:
        stopped = f"stopped at degree {last}, as asked"
    else:
        stopped = (
            f"stopped at degree {last}, after {applications[-1]} applications of a component: "
            f"degree {last + 1} takes {needed} more, and the limit is {limit}"
        )
    return NaiveExpansion(
        tuple(errors), tuple(paths), tuple(applications), is_complete=needed == 0, stopped=stopped
    )
