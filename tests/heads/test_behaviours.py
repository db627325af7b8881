"""What heads are known for: the rows it is measured on, and a model where the answer is known."""

import sys
from types import SimpleNamespace

import pytest
import torch

from saecircuits.errors import InputError
from saecircuits.heads import behaviours, repeated_tokens
from saecircuits.splicing import SplicedModel
from tests.models import build_toy


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SplicedModel:
    return build_toy(tmp_path_factory.mktemp("toy")).model


def test_rows_say_the_same_twice(model: SplicedModel) -> None:
    rows = repeated_tokens(model, prompts=5, length=8)
    assert rows.shape == (5, 17)
    assert torch.equal(rows[:, 1:9], rows[:, 9:])
    assert not rows[:, 0].any()
    assert all(len(set(row.tolist())) == 9 for row in rows)
    assert torch.equal(rows, repeated_tokens(model, prompts=5, length=8))


def test_scores_are_shares_of_attention(model: SplicedModel) -> None:
    table = behaviours(model, prompts=4, length=8)
    assert table.drop(columns=["layer", "head"]).stack().between(0, 1).all()
    assert set(table.attrs) == {"first_time", "second_time"}


@pytest.mark.parametrize(
    ("kind", "back"), [("previous", 1), ("induction", 7), ("duplicate", 8), ("itself", 0)]
)
def test_a_head_that_looks_so_far_back_has_that_name(
    model: SplicedModel, kind: str, back: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_pos = 17
    put = torch.zeros(4, 2, n_pos, n_pos).double()
    for query in range(n_pos):
        put[:, :, query, max(query - back, 0)] = 1.0
    # No model has such patterns by chance: only what is read off them is tried.
    block = SimpleNamespace(attention=SimpleNamespace(pattern=put))
    module = sys.modules[behaviours.__module__]
    monkeypatch.setattr(module, "take_apart", lambda *given: SimpleNamespace(blocks=(block,)))
    row = behaviours(model, prompts=4, length=8).iloc[0]
    assert row[kind] == pytest.approx(1.0)
    others = {"previous", "induction", "duplicate", "itself"} - {kind}
    assert all(row[other] < 0.1 for other in others)


def test_lengths_that_do_not_fit_are_refused(model: SplicedModel) -> None:
    with pytest.raises(InputError, match="2 to 9"):
        repeated_tokens(model, length=10)
