"""Generated text is the model's: from BOS, at temperature 1, and the same for the same seed."""

import pytest
import torch

from saecircuits.errors import InputError
from saecircuits.publication import generate_text
from tests.models import Toy


def test_texts_start_with_bos_and_fill_the_context(toy: Toy) -> None:
    text = generate_text(toy.model, n_tokens=100, seed=3)
    assert text.shape == (6, 19)  # 18 tokens a text, so 6 texts for 100
    assert (text[:, 0] == toy.model.tokenizer.bos_token_id).all()
    assert int(text.max()) < 23


def test_the_seed_decides(toy: Toy) -> None:
    first, again, other = (generate_text(toy.model, n_tokens=60, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_next_tokens_follow_the_models_distribution(toy: Toy) -> None:
    text = generate_text(toy.model, n_tokens=18 * 1500, seed=0)
    found = torch.bincount(text[:, 1], minlength=23) / len(text)
    expected = toy.model.forward(torch.zeros(1, 1, dtype=torch.long))[0, -1].softmax(-1)
    # Half the summed difference of 1500 draws from 23 tokens is about 0.04.
    assert float((found - expected).abs().sum() / 2) < 0.08


def test_batches_of_any_size_start_alike(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saecircuits.publication.texts._TEXTS_AT_ONCE", 2)
    assert generate_text(toy.model, n_tokens=90, seed=0).shape == (5, 19)


def test_nothing_to_generate_is_refused(toy: Toy) -> None:
    with pytest.raises(InputError, match="0 tokens; ask for at least 1"):
        generate_text(toy.model, n_tokens=0)
