"""The exact expansion of an affine model: by degree in one pass, or path by path.

With `o_c = M_c r_c + b_c` the stream that leaves the last step is

    T = sum over paths c1 < ... < ck of   M_ck ... M_c2 (M_c1 x_0 + b_c1)
      = sum over degrees k of T_k,   T_k the coefficient of t^k in  prod_i (I + t sum_c M_c)

where biases enter as sources of degree 1: a path that begins with a component carries what that
component makes of x_0, and its bias. *Degree* counts the components passed: a head and the MLP
behind it are degree 2. Components of one step are never passed one after the other.

One polynomial pass gives every T_k in `O(C K)` applications of a component to a stream, where the
paths are up to 2^C.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from saecircuits.errors import InputError
from saecircuits.theory.affine import Step
from saecircuits.theory.chains import chains


def degree_spectrum(
    source: Float[Tensor, "pos d_model"], steps: Sequence[Step]
) -> Float[Tensor, "degree pos d_model"]:
    """`T_0 ... T_K`, K the number of steps; they add up to the stream behind the last step.

    Args:
        source: x_0, of degree 0.
    """
    terms = source.new_zeros(len(steps) + 1, *source.shape)
    terms[0] = source
    for done, step in enumerate(steps):
        # Nothing has passed more components than there were steps.
        terms[1 : done + 2] += step.linear(terms[: done + 1])
        terms[1] += step.bias
    return terms


def all_paths(
    source: Float[Tensor, "pos d_model"], steps: Sequence[Step], *, limit: int = 4096
) -> dict[tuple[str, ...], Float[Tensor, "pos d_model"]]:
    """Every path's term by the names of what it passes; `()` is x_0. They add up to the stream.

    For few components: with one to a step there are 2^C paths.

    Raises:
        InputError: there are more than `limit` paths.
    """
    count = 1
    for step in steps:
        count *= 1 + len(step.components)
    if count > limit:
        raise InputError(
            f"{count} paths through {sum(len(step.components) for step in steps)} components were "
            f"asked for, above the limit of {limit}; degree_spectrum gives their sums by degree"
        )
    maps = [[(one.name, one.linear) for one in step.components] for step in steps]
    terms = {}
    for level in chains(maps, source, limit=count**2):
        terms |= dict(zip(level.paths, level.values, strict=True))
    for number, step in enumerate(steps):
        for component in step.components:
            for level in chains(maps, component.bias, first=number + 1, limit=count**2):
                for path, value in zip(level.paths, level.values, strict=True):
                    whole = (component.name, *path)
                    terms[whole] = terms[whole] + value
    return terms


def through(
    source: Float[Tensor, "pos d_model"],
    steps: Sequence[Step],
    outputs: Sequence[Float[Tensor, "_ pos d_model"]],
) -> Float[Tensor, "n_source pos d_model"]:
    """For x_0 and then every component in order, the sum of all paths from or through it.

    It is what leaves the last step less what would leave it if the component wrote nothing: the
    component's total effect on the stream in the affine model. Paths from x_0 are those without a
    bias.

    Args:
        outputs: step by step, what each of its components writes, `M_c r_c + b_c`.
    """
    carried = source[None]
    for step, written in zip(steps, outputs, strict=True):
        carried = torch.cat([carried + step.linear(carried), written])
    return carried


def paths_by_degree(sizes: Sequence[int]) -> list[int]:
    """How many paths there are of each degree from 0: coefficients of `prod_i (1 + n_i t)`.

    Args:
        sizes: how many components each step has.
    """
    counts = [1]
    for size in sizes:
        counts = [one + size * fewer for one, fewer in zip([*counts, 0], [0, *counts], strict=True)]
    return counts


def partial_sum_errors(
    terms: Float[Tensor, "degree pos d_model"], stream: Float[Tensor, "pos d_model"]
) -> list[float]:
    """`||T - (T_0 + ... + T_k)|| / ||T - T_0||` for every k, the norm over all positions.

    1 at degree 0 by definition. 0 in place of it where the stream never left its source.
    """
    rest = stream - terms.cumsum(0)
    sizes = rest.flatten(1).norm(dim=1)
    return (sizes / sizes[0]).nan_to_num(0.0).tolist()
