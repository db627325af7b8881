"""The strongest pairs, kept block by block, are the first of all; sums are over all of them."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from saecircuits.errors import InputError
from saecircuits.heads import Question, attention, moved, pairing, scores_of_head
from saecircuits.heads.pairing import KeyTerms, strongest_products, sum_pairs
from saecircuits.splicing import SplicedModel, splice
from tests.architectures import Float64Throughout, build
from tests.models import build_toy, random_sae

PROMPT = "w3 w7 w11 w7 w5"
SMALL = 20_000  # bytes: a few query terms at a time


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SplicedModel:
    return build_toy(tmp_path_factory.mktemp("toy")).model


def whole_numbers(*shape: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-1, 2, shape, generator=generator).double()


@pytest.mark.parametrize("top", [1, 7, 40, 10_000])
@pytest.mark.parametrize("memory_limit", [1, 10**4, 10**9])
def test_pairs_are_those_of_one_dense_table_ties_too(top: int, memory_limit: int) -> None:
    # Sums of products of -1, 0 and 1, and weights of a quarter, are exact: most sizes are ties.
    queries, vectors = whole_numbers(13, 3, seed=1), whole_numbers(29, 3, seed=2)
    kind = torch.arange(29) % 11
    keys = KeyTerms(vectors, torch.arange(29) // 11, kind, 11)
    weights = torch.tensor([0.25, 0.5, 0.25]).double()
    found = sum_pairs(queries, keys, weights, scale=1.0, key=1, top=top, memory_limit=memory_limit)
    pairs = queries @ vectors.T
    scores, contrasts = torch.zeros(2, 13, 11).double()
    rows = []
    for query in range(13):
        for column in range(29):
            at = int(keys.pos[column])
            share = (1.0 if at == 1 else 0.0) - float(weights[at])
            scores[query, kind[column]] += pairs[query, column] * (at == 1)
            contrasts[query, kind[column]] += pairs[query, column] * share
        for column in range(11):
            row = (query, column, float(scores[query, column]), float(contrasts[query, column]))
            rows += [row] if row[2] or row[3] else []
    order = sorted(range(len(rows)), key=lambda number: -abs(rows[number][3]))
    kept = [rows[number] for number in sorted(order[:top])]
    assert found.chosen is not None
    own = (found.chosen.query, found.chosen.kind, found.chosen.score, found.chosen.contrast)
    assert list(zip(*(part.tolist() for part in own), strict=True)) == kept
    assert len({abs(row[3]) for row in rows}) < len(rows) / 5
    assert (found.count, found.total) == (len(rows), float(contrasts.sum()))
    for whole, sums in ((scores, 0), (contrasts, 1)):
        assert torch.equal(found.by_query[:, sums], whole.sum(1))
        assert torch.equal(found.by_kind[:, sums], whole.sum(0))
    by_key = [float(pairs[:, keys.pos == at].sum()) for at in range(3)]
    assert found.scores.tolist() == by_key


def test_as_many_as_are_asked_for_are_the_first_of_all(model: SplicedModel) -> None:
    whole = attention(model, PROMPT, 1, 0, query=4, key=2)
    some = scores_of_head(model, PROMPT, 1, 0, Question(query=4, key=2, top=9, memory_limit=SMALL))
    assert whole.n_pairs == some.n_pairs == len(whole.pairs) > 200
    pd.testing.assert_frame_equal(some.pairs, whole.pairs.head(9), rtol=1e-10, atol=1e-13)
    pd.testing.assert_frame_equal(some.keys, whole.keys, rtol=1e-10, atol=1e-13)
    for name in ("query_term", "key_term"):
        summed = whole.pairs.groupby(name)[["score", "contrast", "share"]].sum()
        for found in (whole, some):
            table = getattr(found, f"{name}s").set_index(name)
            assert table["contrast"].abs().is_monotonic_decreasing
            pd.testing.assert_frame_equal(
                table.sort_index(), summed.sort_index(), rtol=1e-9, atol=1e-11
            )


def test_positions_of_alibi_are_a_pair_of_their_own(tmp_path: Path) -> None:
    with Float64Throughout():
        bridge = build("bloom", tmp_path)
        sae = random_sae("jumprelu", d_in=bridge.cfg.d_model, seed=4)
        bloom = splice(bridge, {"blocks.0.hook_resid_post": sae})
        whole = attention(bloom, PROMPT, 1, 1, key=1)
        some = scores_of_head(bloom, PROMPT, 1, 1, Question(key=1, top=100, memory_limit=SMALL))
    pd.testing.assert_frame_equal(some.pairs, whole.pairs.head(100), rtol=1e-9, atol=1e-12)
    assert (whole.pairs["key_term"] == "position").sum() == 1 and whole.n_pairs == some.n_pairs


@pytest.mark.parametrize("memory_limit", [SMALL, 10**9])
def test_blocks_stay_within_the_limit(
    model: SplicedModel, memory_limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def noted(queries: torch.Tensor, keys: torch.Tensor, scale: float) -> torch.Tensor:
        pairs = scale * queries @ keys.T
        sizes.append(pairs.numel() * pairs.element_size())
        return pairs

    monkeypatch.setattr(pairing, "pair_scores", noted)
    scores_of_head(model, PROMPT, 1, 0, Question(top=3, memory_limit=memory_limit))
    assert max(sizes) < memory_limit / 2
    assert (len(sizes) > 1) == (memory_limit == SMALL)


@pytest.mark.parametrize("top", [5, 10_000])
def test_what_is_moved_most_is_the_first_of_all(model: SplicedModel, top: int) -> None:
    whole = moved(model, PROMPT, 1, 0, query=4)
    some = moved(model, PROMPT, 1, 0, query=4, top=top, memory_limit=SMALL)
    assert len(whole) > 500
    pd.testing.assert_frame_equal(some, whole.head(top), rtol=1e-9, atol=1e-12)
    with pytest.raises(InputError, match=r"a table of all pairs has .* memory_limit is 0.0 GB"):
        moved(model, PROMPT, 1, 0, query=4, memory_limit=SMALL)


@pytest.mark.parametrize("top", [1, 8, 50, 500])
@pytest.mark.parametrize("memory_limit", [1, 5000, 10**9])
def test_products_are_those_of_one_dense_table_ties_too(top: int, memory_limit: int) -> None:
    left, right = whole_numbers(11, 3, seed=3), whole_numbers(17, 3, seed=4)
    found = strongest_products(left, right, top=top, memory_limit=memory_limit)
    dense = (left @ right.T).tolist()
    rows = [(i, j, value) for i, row in enumerate(dense) for j, value in enumerate(row) if value]
    order = sorted(range(len(rows)), key=lambda number: -abs(rows[number][2]))[:top]
    own = zip(found.query.tolist(), found.kind.tolist(), found.score.tolist(), strict=True)
    assert list(own) == [rows[number] for number in sorted(order)]


def test_a_table_that_does_not_fit_is_refused(model: SplicedModel) -> None:
    with pytest.raises(InputError, match=r"memory_limit is .*; ask for the strongest .top=1000"):
        scores_of_head(model, PROMPT, 1, 0, Question(memory_limit=SMALL))
    with pytest.raises(InputError, match="top is 0; it must be at least 1"):
        scores_of_head(model, PROMPT, 1, 0, Question(top=0))
