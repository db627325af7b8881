"""Generated text is the model's: from BOS, at temperature 1, and the same for the same seed."""

from pathlib import Path
from typing import Any

import pytest
import torch

from saecircuits.errors import InputError
from saecircuits.features.at_once import texts_at_once
from saecircuits.features.texts import generate_text, read_contexts, sampled_count
from saecircuits.splicing import SplicedModel
from saecircuits.splicing.generation import generate
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


def test_a_limit_decides_how_many_texts_are_made_together(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def noted(model: SplicedModel, starts: torch.Tensor, **choices: Any) -> torch.Tensor:
        sizes.append(len(starts))
        return generate(model, starts, **choices)

    monkeypatch.setattr("saecircuits.features.texts.generate", noted)
    # Keys and values of 19 tokens in 4 layers' worth of 14 numbers each, and 4 logits of 23 words.
    each = 8 * (2 * 4 * 19 * 14 + 4 * 23)
    assert texts_at_once(toy.model, 19, 4 * each) == 2
    found = generate_text(toy.model, n_tokens=90, seed=0, memory_limit=4 * each)
    assert found.shape == (5, 19) and sizes == [2, 2, 1]
    generate_text(toy.model, n_tokens=90, seed=0)
    assert sizes[3:] == [5]
    assert texts_at_once(toy.model, 19, 1) == 1 and texts_at_once(toy.model, 19, 10**9) == 256


def test_fewer_tokens_of_a_large_model_are_sampled(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = toy.model.n_weights
    assert sampled_count(toy.model) == 8192
    monkeypatch.setattr("saecircuits.features.texts._OPERATIONS_ON_CPU", 2 * weights * 3001)
    assert sampled_count(toy.model) == 3001
    monkeypatch.setattr("saecircuits.features.texts._OPERATIONS_ON_CPU", 2 * weights * 10)
    assert sampled_count(toy.model) == 1024
    assert generate_text(toy.model).shape == (57, 19)  # 18 tokens a text


def test_progress_is_told_token_by_token(toy: Toy) -> None:
    told: list[float] = []
    each = 8 * (2 * 4 * 19 * 14 + 4 * 23)
    generate_text(toy.model, n_tokens=90, memory_limit=4 * each, progress=told.append)
    assert len(told) == 3 * 18 and told == sorted(told)
    assert told[0] == pytest.approx(2 / 19 * 2 / 5) and told[-1] == 1


@pytest.mark.parametrize("n_tokens", [0, -3])
def test_no_tokens_at_all_are_refused(toy: Toy, tmp_path: Path, n_tokens: int) -> None:
    (tmp_path / "t").write_text("w1")
    with pytest.raises(InputError, match=f"{n_tokens} tokens; ask for at least 1"):
        generate_text(toy.model, n_tokens=n_tokens)
    with pytest.raises(InputError, match=f"{n_tokens} tokens; ask for at least 1"):
        read_contexts(tmp_path / "t", toy.model, n_tokens=n_tokens)


def test_a_file_is_cut_into_texts_that_begin_with_bos(toy: Toy, tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    words = [f"w{number % 22 + 1}" for number in range(40)]
    path.write_text(" ".join(words) + "\n\nw3 w4\n\n\n\n")
    found = read_contexts(path, toy.model, licence="CC0")
    assert found.licence == "CC0" and found.source == "the file book.txt"
    assert found.text.shape == (4, 19)  # 18 + 18 + 4 tokens, then 2
    assert (found.text[:, 0] == 0).all()
    assert found.text[0, 1:].tolist() == [number % 22 + 1 for number in range(18)]
    assert found.text[3].tolist() == [0, 3, 4, *[0] * 16]


def test_no_more_of_a_file_is_read_than_is_looked_at(toy: Toy, tmp_path: Path) -> None:
    (tmp_path / "t").write_text("w1 w2 w3\n\nw4 w5 w6\n\nw7")
    found = read_contexts(tmp_path / "t", toy.model, n_tokens=5)
    assert [row[row != 0].tolist() for row in found.text] == [[1, 2, 3], [4, 5]]
    assert found.licence == "not stated"


@pytest.mark.parametrize("content", [None, b"", b"  \n\n ", b"\xff\xfe\x00"])
def test_files_without_text_are_refused(toy: Toy, tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "t").write_bytes(content)
    with pytest.raises(InputError, match=r"holds no text|cannot be read as UTF-8"):
        read_contexts(tmp_path / "t", toy.model)
