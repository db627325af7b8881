"""Interactions of more members than a table holds: what is exact is told, the rest is sampled.

Run are: no member, all, every member alone and all but it, every pair alone and all but it, random
triples, and random orders in which members enter one by one. Exact are v(N), v(empty), grades 1 and
2, every redundancy, `alone`, `last` and the mean grade. Unbiased estimates are grade 3 (from the
triples), what grades 4 and above add up to, the Shapley values and the mean value by size (from the
orders). Single grades above 3 are not estimated: `theory.sampling` says why.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import comb
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from saecircuits.nodes.effects import bootstrap_interval
from saecircuits.theory import interactions as theory
from saecircuits.theory.sampling import random_orders, random_triples, triple_dividends

T = TypeVar("T", float, pd.Series)


@dataclass(frozen=True, eq=False)
class Sampled:
    """Tables as `Interactions` has them, rows in the order of members and of pairs, unnamed."""

    singles: pd.DataFrame
    pairs: pd.DataFrame
    spectrum: pd.DataFrame
    shapley: pd.DataFrame
    redundancy: pd.DataFrame
    by_size: pd.DataFrame
    value_all: float
    value_none: float
    mean_grade: float


def sample(
    game: Callable[[torch.Tensor], torch.Tensor],
    count: int,
    *,
    draws: int,
    resamples: int,
    seed: int,
) -> Sampled:
    """The interactions of a game.

    Args:
        game: the values `[n_set, n_prompt]` of subsets `[n_set, n_member]`.
    """
    generator = torch.Generator().manual_seed(seed)
    triples = random_triples(count, draws, generator)
    orders = random_orders(count, draws, generator)
    one = torch.eye(count, dtype=torch.bool, device="cpu")
    a, b = torch.triu_indices(count, count, 1, device="cpu")
    two = one[a] | one[b]
    three = one[triples].any(1)
    entered = torch.tril(torch.ones(count, count, dtype=torch.bool, device="cpu"))
    place = orders.argsort(1)  # of every member in the order
    prefixes = entered[:, place].transpose(0, 1)[:, :-1].flatten(0, 1)
    ends = torch.stack([torch.zeros_like(one[0]), torch.ones_like(one[0])])
    parts = [ends, one, ~one, two, ~two, three, prefixes]
    values = game(torch.cat(parts)).split([len(part) for part in parts])
    (empty, whole), alone, without_one, pair, without_two, triple, entering = values
    n_prompt = len(empty)

    def square(table: torch.Tensor, diagonal: torch.Tensor) -> torch.Tensor:
        out = table.new_empty(count, count, n_prompt)
        out[a, b] = out[b, a] = table
        member = torch.arange(count, device=table.device)
        out[member, member] = diagonal
        return out

    of_singles = alone - empty
    of_pairs = pair - alone[a] - alone[b] + empty
    of_triples = triple_dividends(triple, square(pair, alone), alone, empty, triples)
    redundant = theory.redundancy(whole, without_one, square(without_two, without_one))[a, b]
    entering = torch.cat(
        [
            empty.expand(draws, 1, -1),
            entering.unflatten(0, (draws, count - 1)),
            whole.expand(draws, 1, -1),
        ],
        dim=1,
    )
    added = entering.diff(dim=1).gather(1, place[..., None].expand(-1, -1, n_prompt))
    table = _Tables(n_prompt, draws, resamples, seed)
    grade_1, grade_2 = of_singles.sum(0), of_pairs.sum(0)
    above = (whole - empty - grade_1 - grade_2)[None] - comb(count, 3) * of_triples
    spectrum = pd.concat(
        [
            table.of_prompts(torch.stack([grade_1, grade_2]), "total").assign(kind="exact"),
            table.of_draws(comb(count, 3) * of_triples[:, None], "total").assign(kind="sampled"),
            table.of_draws(above[:, None], "total").assign(kind="rest"),
        ],
        ignore_index=True,
    )
    spectrum.insert(0, "grade", [1, 2, 3, 4])
    spectrum["share"] = share_of(spectrum["total"], whole, empty)
    sizes = [float(of.mean(1).abs().sum()) for of in (of_singles, of_pairs)]
    spectrum["size"] = [*sizes, np.nan, np.nan]
    last = (whole - without_one).mean(1)
    return Sampled(
        singles=table.of_prompts(of_singles, "dividend"),
        pairs=table.of_prompts(of_pairs, "dividend"),
        spectrum=spectrum,
        shapley=table.of_draws(added, "value").assign(
            alone=of_singles.mean(1).numpy(), last=last.numpy()
        ),
        redundancy=table.of_prompts(redundant, "redundancy").assign(
            joint=(whole - without_two).mean(1).numpy()
        ),
        by_size=table.of_draws(entering, "value").rename_axis("size").reset_index(),
        value_all=float(whole.mean()),
        value_none=float(empty.mean()),
        mean_grade=share_of(float(last.sum()), whole, empty),
    )


def share_of(part: T, whole: torch.Tensor, empty: torch.Tensor) -> T:
    """A part of `v(N) - v(empty)` as its share; NaN where that is but rounding."""
    total = float((whole - empty).mean())
    size = float(torch.stack([whole, empty]).abs().mean())
    return part / total if abs(total) > 1e-5 * size else part * float("nan")


@dataclass(frozen=True)
class _Tables:
    """Means with intervals, over prompts, or over draws and prompts together."""

    n_prompt: int
    draws: int
    resamples: int
    seed: int

    def of_prompts(self, values: torch.Tensor, name: str) -> pd.DataFrame:
        """`[row, prompt]`."""
        low, high = bootstrap_interval(values.T.numpy(), resamples=self.resamples, seed=self.seed)
        return pd.DataFrame({name: values.mean(1).numpy(), "low": low, "high": high})

    def of_draws(self, values: torch.Tensor, name: str) -> pd.DataFrame:
        """`[draw, row, prompt]`: draws and prompts are both drawn anew."""
        generator = np.random.default_rng(self.seed)
        of_draws, of_prompts = (
            self._weights(generator, size) for size in (self.draws, self.n_prompt)
        )
        means = np.einsum("md,drp,mp->rm", of_draws, values.numpy(), of_prompts, optimize=True)
        low, high = np.quantile(means, [0.025, 0.975], axis=1)
        return pd.DataFrame({name: values.mean((0, 2)).numpy(), "low": low, "high": high})

    def _weights(self, generator: np.random.Generator, size: int) -> NDArray[np.float64]:
        counts = generator.multinomial(size, np.full(size, 1 / size), size=self.resamples)
        return counts / size
