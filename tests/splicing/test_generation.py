"""Sampling that remembers keys and values draws what sampling without them draws."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers.utils.generic import ModelOutput

from saecircuits.splicing import SplicedModel, generation, splice
from saecircuits.splicing.generation import generate, next_logits
from saecircuits.splicing.remembering import cache_name, remembering_logits
from tests.architectures import BUILDERS, build
from tests.models import WORDS, boot, random_sae

_ENDS: dict[str, Any] = {"vocab_size": WORDS, "bos_token_id": 0, "eos_token_id": 0}
_LATENT: dict[str, Any] = {
    "q_lora_rank": 5, "kv_lora_rank": 7, "qk_nope_head_dim": 4, "qk_rope_head_dim": 4,
    "v_head_dim": 6, "first_k_dense_replace": 2, "n_routed_experts": 4, "n_group": 1,
    "topk_group": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 8,
}  # fmt: skip


def _falcon(alibi: bool) -> Any:
    sizes: dict[str, Any] = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    return transformers.FalconForCausalLM(transformers.FalconConfig(**_ENDS, **sizes, alibi=alibi))


def _deepseek() -> Any:
    sizes: dict[str, Any] = {"hidden_size": 24, "num_hidden_layers": 2, "intermediate_size": 29}
    heads: dict[str, Any] = {"num_attention_heads": 2, "num_key_value_heads": 2}
    config = transformers.DeepseekV3Config(**_ENDS, **sizes, **heads, **_LATENT)
    return transformers.DeepseekV3ForCausalLM(config)


def _mamba() -> Any:
    sizes: dict[str, Any] = {"hidden_size": 24, "num_hidden_layers": 2, "state_size": 5}
    return transformers.MambaForCausalLM(transformers.MambaConfig(**_ENDS, **sizes))


def _mpt() -> Any:
    sizes: dict[str, Any] = {"d_model": 24, "n_layers": 2, "n_heads": 2, "max_seq_len": 32}
    return transformers.MptForCausalLM(transformers.MptConfig(**_ENDS, **sizes))


# Each hands its cache to its layers in a way of its own.
OTHERS: dict[str, Callable[[], Any]] = {
    "falcon": lambda: _falcon(alibi=False),  # layer_past, whatever transformers calls it above
    "deepseek-v3": _deepseek,  # latent attention, which the bridge computes by other code
    "mamba": _mamba,  # a state in place of keys and values
}
# transformer_lens 3.9 computes these without what is remembered.
FORGETFUL: dict[str, Callable[[], Any]] = {
    "mpt": _mpt,
    "falcon with ALiBi": lambda: _falcon(alibi=True),
}


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


def _tokens() -> Tensor:
    return torch.randint(1, WORDS, (3, 18), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("name", BUILDERS)
def test_remembered_keys_give_the_same_logits_and_texts(name: str, tmp_path: Path) -> None:
    model = _model(name, tmp_path)
    tokens = _tokens()
    past: Any = None
    # Further than Gemma's sliding window of 4.
    for start, stop in ((0, 2), (2, 3), (3, 4), (4, 5), (5, 12), (12, 13), (13, 18)):
        found, past = next_logits(model, tokens[:, start:stop], past)
        with torch.no_grad():
            expected = model.bridge(tokens[:, :stop])[:, -1]
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)
    texts = generate(model, tokens[:, :2], length=18, generator=torch.Generator().manual_seed(5))
    assert torch.equal(texts, _plainly(model, tokens[:, :2], length=18, seed=5))


@pytest.mark.parametrize("name", OTHERS)
def test_caches_of_other_kinds_are_remembered_too(name: str, tmp_path: Path) -> None:
    bridge, tokens = boot(OTHERS[name](), tmp_path), _tokens()
    past: Any = None
    with torch.no_grad():
        for step in range(tokens.shape[1]):
            found, past = remembering_logits(bridge, tokens[:, step : step + 1], past)
            assert past is not None
            expected = bridge(tokens[:, : step + 1])[:, -1]
            torch.testing.assert_close(found[:, -1], expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", FORGETFUL)
def test_where_the_bridge_forgets_texts_are_still_those_of_the_model(
    name: str, tmp_path: Path
) -> None:
    torch.manual_seed(3)
    bridge = boot(FORGETFUL[name](), tmp_path)
    sae = random_sae("jumprelu", d_in=bridge.cfg.d_model)
    model = splice(bridge, {"blocks.0.hook_resid_post": sae})
    start = torch.zeros(8, 1, dtype=torch.long)
    found = generate(model, start, length=18, generator=torch.Generator().manual_seed(5))
    assert torch.equal(found, _plainly(model, start, length=18, seed=5))


@pytest.mark.parametrize("name", ["gpt2", "llama", "gptj"])
def test_names_that_transformers_gives_up_are_not_used(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _model(name, tmp_path)
    if cache_name(model.bridge.original_model) == "cache":
        for gone in ("past_key_values", "cache_params"):
            monkeypatch.delattr(ModelOutput, gone)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, past = next_logits(model, _tokens()[:, :2], None)
        again, _ = next_logits(model, _tokens()[:, 2:3], past)
    assert past is not None
    assert not torch.equal(first, again)


def test_nothing_is_left_on_the_bridge(tmp_path: Path) -> None:
    model = _model("gpt2", tmp_path)

    def hooks() -> list[list[int]]:
        parts = model.bridge.original_model.modules()
        return [[*part._forward_pre_hooks, *part._forward_hooks] for part in parts]

    before = hooks()
    next_logits(model, _tokens()[:, :2], None)
    with pytest.raises(IndexError):
        next_logits(model, _tokens() + WORDS, None)
    assert hooks() == before


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
