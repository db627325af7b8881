"""Sampling that remembers keys and values draws what sampling without them draws."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from saecircuits.splicing import SplicedModel, generation, splice
from saecircuits.splicing.generation import generate, next_logits
from tests.architectures import BUILDERS, build
from tests.models import WORDS, random_sae


def _model(name: str, folder: Path) -> SplicedModel:
    bridge = build(name, folder)
    sae = random_sae("jumprelu", d_in=bridge.cfg.d_model)
    return splice(bridge, {"blocks.0.hook_resid_post": sae})


def _plainly(model: SplicedModel, tokens: Tensor, *, length: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        while tokens.shape[1] < length:
            probabilities = model.bridge(tokens)[:, -1].softmax(-1)
            drawn = torch.multinomial(probabilities, 1, generator=generator)
            tokens = torch.cat([tokens, drawn], dim=1)
    return tokens


@pytest.mark.parametrize("name", BUILDERS)
def test_remembered_keys_give_the_same_logits_and_texts(name: str, tmp_path: Path) -> None:
    model = _model(name, tmp_path)
    tokens = torch.randint(1, WORDS, (3, 18), generator=torch.Generator().manual_seed(2))
    past: Any = None
    # Further than Gemma's sliding window of 4.
    for start, stop in ((0, 2), (2, 3), (3, 4), (4, 5), (5, 12), (12, 13), (13, 18)):
        found, past = next_logits(model, tokens[:, start:stop], past)
        with torch.no_grad():
            expected = model.bridge(tokens[:, :stop])[:, -1]
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)
    texts = generate(model, tokens[:, :2], length=18, generator=torch.Generator().manual_seed(5))
    assert torch.equal(texts, _plainly(model, tokens[:, :2], length=18, seed=5))


def test_a_model_that_forgets_is_sampled_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _model("gpt2", tmp_path)
    remembering = generation.next_logits

    def forgetful(model: SplicedModel, tokens: Tensor, past: Any, *, remembers: bool) -> Any:
        return remembering(model, tokens, None, remembers=remembers)

    monkeypatch.setattr(generation, "next_logits", forgetful)
    start = torch.zeros(4, 1, dtype=torch.long)
    found = generate(model, start, length=15, generator=torch.Generator().manual_seed(1))
    assert torch.equal(found, _plainly(model, start, length=15, seed=1))


def test_texts_of_full_length_are_left_alone(tmp_path: Path) -> None:
    model = _model("gpt2", tmp_path)
    start = torch.zeros(4, 1, dtype=torch.long)
    generator = torch.Generator().manual_seed(1)
    assert torch.equal(generate(model, start, length=1, generator=generator), start)
