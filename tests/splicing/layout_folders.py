"""Folders of other trainers: weights drawn, and what is read checked against their formulas.

The layouts and formulas were compared with eai-sparsify 1.3.3, dictionary_learning 0.1.0 and
circuit-tracer 0.5.0 themselves, which are not needed here.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from saecircuits.splicing.folders import read_dictionaries
from saecircuits.splicing.layouts.found import FoundDictionary

D_IN, D_SAE, K = 13, 35, 5
Tensors = dict[str, Tensor]


def random_weights(**shapes: tuple[int, ...]) -> Tensors:
    """Weights of these shapes, the same every time."""
    generator = torch.Generator().manual_seed(3)
    return {name: torch.randn(shape, generator=generator) * 0.4 for name, shape in shapes.items()}


def inputs() -> Tensor:
    """Activations to be encoded, `[29, 13]`."""
    return torch.randn(29, D_IN, generator=torch.Generator().manual_seed(5))


def only_one(folder: Path) -> FoundDictionary:
    """The one dictionary of a folder."""
    found = read_dictionaries(folder)
    assert found.unread == ()
    (one,) = found.dictionaries
    return one


def reason_of(folder: Path) -> str:
    """Why nothing in a folder can be read."""
    found = read_dictionaries(folder)
    assert found.dictionaries == ()
    return found.unread[0].reason


def check(one: FoundDictionary, acts: Tensor, out: Tensor) -> None:
    """Token by token the features and the reconstruction, and the width that was listed."""
    dictionary, x = one.load(), inputs()
    assert 0.05 < float((acts != 0).float().mean()) < 0.8
    torch.testing.assert_close(dictionary.encode(x), acts, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(dictionary.reconstruct(x), out, rtol=1e-5, atol=1e-5)
    assert one.d_sae == dictionary.d_sae == D_SAE
    # The derivative, the active features held.
    exact, x = one.load(torch.float64), x.double().requires_grad_()
    found = exact.encode(x)
    (pulled,) = torch.autograd.grad(found.sum(), x)
    expected = exact.pull_back(torch.ones_like(found), found != 0, None)
    torch.testing.assert_close(pulled, expected)
    x = inputs()
    # Of half the width the numbers are the same, and what is active is decided in float32.
    half = one.load(torch.bfloat16)
    assert torch.equal(half.encode(x) != 0, acts != 0)
    assert one.reads == (dictionary.reads or one.writes)


def token_by_token(pre: Tensor, keep: Callable[[list[float]], list[bool]]) -> Tensor:
    """Every token by itself, in Python: the values that are kept."""
    rows = [[v if kept else 0.0 for v, kept in zip(row, keep(row), strict=True)]
            for row in pre.tolist()]  # fmt: skip
    return torch.tensor(rows)


def largest(row: list[float]) -> list[bool]:
    """TopK."""
    bar = sorted(row, reverse=True)[K - 1]
    return [value >= bar for value in row]


def best_of_groups(row: list[float]) -> list[bool]:
    """GroupMax."""
    size = D_SAE // K
    best = [max(row[start : start + size]) for start in range(0, D_SAE, size)]
    return [value == best[place // size] for place, value in enumerate(row)]
