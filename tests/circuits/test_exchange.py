"""The search for smaller circuits, where the smallest is known by trying them all."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from saecircuits.circuits.exchange import exchanged
from saecircuits.circuits.selection import smallest_prefix

N = 13


class _Pairs:
    """`linear . mask + mask . pairs . mask`, scaled to 1 for everything."""

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self._linear = torch.rand(N, generator=generator, dtype=torch.float64)
        self._pairs = torch.randn(N, N, generator=generator, dtype=torch.float64).triu(1) / 8
        self.nodes = [f"n{number}" for number in range(N)]
        self._whole = float(self._raw(torch.ones(N, dtype=torch.float64)))

    def _raw(self, mask: Tensor) -> Tensor:
        return self._linear @ mask + mask @ self._pairs @ mask

    def _mask(self, kept: Sequence[str]) -> Tensor:
        return torch.tensor([float(node in kept) for node in self.nodes], dtype=torch.float64)

    def measure(self, kept: Sequence[str]) -> float:
        return float(self._raw(self._mask(kept))) / self._whole

    def adds(self, kept: Sequence[str]) -> dict[str, float]:
        mask = self._mask(kept).requires_grad_()
        (gradient,) = torch.autograd.grad(self._raw(mask) / self._whole, mask)
        return dict(zip(self.nodes, gradient.tolist(), strict=True))

    def ranked(self) -> list[str]:
        """By what each adds to all the others, as effects are."""
        at_whole = self.adds(self.nodes)
        return sorted(self.nodes, key=lambda node: -abs(at_whole[node]))

    def smallest(self, wanted: float) -> int:
        """The size of the smallest set that reaches `wanted`, by trying every set."""
        every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * N)
        values = every @ self._linear + ((every @ self._pairs) * every).sum(1)
        return int(every[values / self._whole >= wanted].sum(1).min())


def _effects_prefix(toy: _Pairs, wanted: float) -> list[str]:
    ranked = toy.ranked()
    count = smallest_prefix(ranked, wanted, toy.measure)
    assert count is not None
    return ranked[:count]


@pytest.mark.parametrize("seed", range(6))
def test_the_smallest_circuit_is_found(seed: int) -> None:
    toy, wanted = _Pairs(seed), 0.8
    start = _effects_prefix(toy, wanted)
    found = exchanged(start, wanted, adds=toy.adds, measure=toy.measure)
    assert toy.measure(found) >= wanted
    assert len(found) == toy.smallest(wanted)


def test_effects_alone_do_not_find_it() -> None:
    toys = [_Pairs(seed) for seed in range(6)]
    assert sum(len(_effects_prefix(toy, 0.8)) > toy.smallest(0.8) for toy in toys) >= 4


def test_of_equal_circuits_the_most_faithful_is_kept() -> None:
    adds = {"a": 0.5, "b": 0.4, "c": 0.3}
    found = exchanged(
        ["c", "b"], 0.7, adds=lambda _: adds, measure=lambda kept: sum(adds[node] for node in kept)
    )
    assert found == ["a", "b"]


def test_a_circuit_is_never_given_up_for_a_larger_one() -> None:
    wrong = {"a": -1.0, "b": 0.1, "c": 0.2, "d": 0.3}
    found = exchanged(
        ["a"], 0.8, adds=lambda _: wrong, measure=lambda kept: 1.0 if "a" in kept else 0.0
    )
    assert found == ["a"]
