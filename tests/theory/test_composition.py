"""Composition of heads that are made to compose in one way only."""

import pytest
import torch

from saecircuits.theory.composition import (
    HeadMaps,
    composition,
    composition_through,
    head_maps,
    share,
    share_by_chance,
    virtual_pattern,
)

D_MODEL, D_HEAD = 11, 3


def _random_head(seed: int) -> HeadMaps:
    generator = torch.Generator().manual_seed(seed)
    W_Q, W_K, W_V = (torch.randn(D_MODEL, D_HEAD, generator=generator).double() for _ in range(3))
    out = torch.randn(D_HEAD, D_MODEL, generator=generator).double()
    return head_maps(torch.eye(D_MODEL).double(), W_Q, W_K, W_V, out)


def _direction(index: int) -> torch.Tensor:
    return torch.eye(D_MODEL).double()[:, [index]]


@pytest.mark.parametrize("way", ["q", "k", "v"])
def test_a_head_that_is_read_in_one_way_composes_in_that_way_only(way: str) -> None:
    eye = torch.eye(D_MODEL).double()
    writer = head_maps(eye, _direction(0), _direction(0), _direction(0), _direction(5).T)
    reads = {name: _direction(5 if name == way else 7) for name in "qkv"}
    reader = head_maps(eye, reads["q"], reads["k"], reads["v"], _direction(2).T)
    assert composition(writer, reader) == {name: float(name == way) for name in "qkv"}


def test_shares_are_ratios_of_frobenius_norms() -> None:
    first, then = _random_head(0).ov, _random_head(1).qk
    by_hand = (first @ then).pow(2).sum().sqrt()
    by_hand /= first.pow(2).sum().sqrt() * then.pow(2).sum().sqrt()
    assert share(first, then) == pytest.approx(float(by_hand), rel=1e-12)
    assert share(first, torch.zeros_like(then)) == 0.0


def test_chance_is_what_random_heads_give() -> None:
    chance = share_by_chance(64, 16)
    found = [
        share(torch.randn(64, 16) @ torch.randn(16, 64), torch.randn(64, 16) @ torch.randn(16, 64))
        for _ in range(8)
    ]
    assert chance == pytest.approx(sum(found) / len(found), rel=0.1)


def test_features_that_span_the_stream_change_nothing() -> None:
    writer, reader = _random_head(2), _random_head(3)
    basis = torch.linalg.qr(torch.randn(D_MODEL, D_MODEL).double())[0]
    through = composition_through(writer, reader, basis, basis)
    assert through == pytest.approx(composition(writer, reader), rel=1e-9)


def test_nothing_passes_through_features_that_the_writer_does_not_write() -> None:
    eye = torch.eye(D_MODEL).double()
    writer = head_maps(eye, _direction(0), _direction(0), _direction(0), _direction(5).T)
    feature = _direction(6).T
    assert composition_through(writer, _random_head(4), feature, feature) == {
        "q": 0.0,
        "k": 0.0,
        "v": 0.0,
    }


def test_virtual_patterns_are_patterns() -> None:
    patterns = torch.randn(2, 5, 5).double().softmax(-1)
    found = virtual_pattern(patterns[0], patterns[1])
    torch.testing.assert_close(found.sum(-1), torch.ones(5).double())
    torch.testing.assert_close(found[3, 2], (patterns[0, 3] * patterns[1, :, 2]).sum())
