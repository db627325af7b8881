"""Pairs add up to scores, contrasts to differences within the row."""

import pytest
import torch

from saecircuits.theory.scores import capped, pair_contrasts, pair_scores

N_KEYS, N_KINDS, CHOSEN = 5, 3, 2


def _random() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    queries, keys = (
        torch.randn(size, 7, generator=generator, dtype=torch.float64) for size in (4, 11)
    )
    key = torch.arange(11) % N_KEYS
    kind = torch.arange(11) // N_KEYS
    pattern = torch.rand(N_KEYS, generator=generator, dtype=torch.float64)
    return queries, keys, key, kind, pattern / pattern.sum()


def test_pairs_add_up_to_the_product_of_sums() -> None:
    queries, keys, *_ = _random()
    whole = 0.3 * queries.sum(0) @ keys.sum(0)
    torch.testing.assert_close(pair_scores(queries, keys, 0.3).sum(), whole, rtol=1e-12, atol=0)


def test_contrasts_add_up_to_the_score_less_its_mean() -> None:
    queries, keys, key, kind, pattern = _random()
    pairs = pair_scores(queries, keys, 0.3)
    scores = torch.stack([pairs[:, key == place].sum() for place in range(N_KEYS)])
    found = pair_contrasts(pairs, key, kind, pattern, CHOSEN, N_KINDS)
    torch.testing.assert_close(found.sum(), scores[CHOSEN] - (pattern * scores).sum())
    by_hand = pairs[1, (key == CHOSEN) & (kind == 1)].sum()
    by_hand -= (pairs[1] * pattern[key] * (kind == 1)).sum()
    torch.testing.assert_close(found[1, 1], by_hand)


def test_what_is_the_same_at_every_key_has_no_contrast() -> None:
    queries, keys, *_, pattern = _random()
    alike = keys[:1].expand(N_KEYS, -1)
    pairs = pair_scores(queries, alike, 1.0)
    found = pair_contrasts(pairs, torch.arange(N_KEYS), torch.zeros(N_KEYS).long(), pattern, 0, 1)
    torch.testing.assert_close(found, torch.zeros_like(found), rtol=0, atol=1e-14)


def test_a_soft_cap_bounds_and_its_absence_does_nothing() -> None:
    score = torch.tensor([-90.0, 0.01, 90.0], dtype=torch.float64)
    torch.testing.assert_close(capped(score, None), score)
    assert capped(score, 5.0).abs().max() == pytest.approx(5.0)
    assert float(capped(score, 5.0)[1]) == pytest.approx(0.01, rel=1e-4)
