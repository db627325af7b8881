"""The anatomy of a run: its maps against autograd, and models that it is not true of."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from saecircuits.edges.factorised.rows import Rows
from saecircuits.edges.factorised.spread import gather, planes, read_back
from saecircuits.splicing import splice
from saecircuits.splicing.anatomy import Norm, NotCoveredError, take_apart
from saecircuits.splicing.anatomy.activations import find_activation
from saecircuits.splicing.anatomy.attention import read_attention
from saecircuits.splicing.anatomy.norms import read_norm
from saecircuits.splicing.anatomy.recording import record
from saecircuits.splicing.anatomy.rotary import Rotary
from saecircuits.splicing.hooking import attached, recording, remember
from saecircuits.splicing.operators import FULL
from saecircuits.splicing.part_hooks import block_hooks
from saecircuits.splicing.section import Section
from tests.architectures import Float64Throughout, build
from tests.models import WORDS, boot, random_sae

TOKENS = torch.arange(10).reshape(2, 5) % WORDS
PROMPT, POS = torch.tensor([0, 1, 1, 0, 1, 0, 1]), torch.tensor([4, 0, 3, 2, 2, 1, 4])


def _norm(x: Tensor, weight: Tensor, *, is_rms: bool, is_held: bool) -> tuple[Norm, Tensor]:
    """A norm at `x`, and its result by definition, a function of `x`."""
    centred = x if is_rms else x - x.mean(-1, keepdim=True)
    scale = ((centred**2).mean(-1, keepdim=True) + 1e-3).sqrt()
    scale = scale.detach() if is_held else scale
    normalized = centred / scale
    norm = Norm(weight, scale.detach(), normalized.detach(), is_rms=is_rms, is_held=is_held)
    return norm, normalized * weight


@pytest.mark.parametrize("shape", [(2, 5, 11), (2, 5, 3, 11)])
@pytest.mark.parametrize("is_rms", [True, False])
@pytest.mark.parametrize("is_held", [True, False])
def test_norms_are_their_derivatives(shape: tuple[int, ...], is_rms: bool, is_held: bool) -> None:
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(shape[2:], dtype=torch.float64)
    norm, out = _norm(x, weight, is_rms=is_rms, is_held=is_held)
    cotangent = torch.randn(len(POS), *shape[2:], dtype=torch.float64)
    for row, (prompt, pos) in enumerate(zip(PROMPT, POS, strict=True)):
        (expected,) = torch.autograd.grad(out[prompt, pos], x, cotangent[row], retain_graph=True)
        found = norm.pull_back(cotangent, PROMPT, POS)[row]
        torch.testing.assert_close(found, expected[prompt, pos])


def test_pushing_forward_is_the_transpose_of_pulling_back() -> None:
    x = torch.randn(2, 5, 11, dtype=torch.float64)
    norm, _ = _norm(x, torch.randn(11, dtype=torch.float64), is_rms=False, is_held=False)
    vectors, cotangent = torch.randn(2, 2, 5, 11, dtype=torch.float64)
    pulled = norm.pull_back(cotangent[PROMPT, POS], PROMPT, POS)
    forward = (norm.push_each(vectors) * cotangent).sum(-1)[PROMPT, POS]
    torch.testing.assert_close(forward, (pulled * vectors[PROMPT, POS]).sum(-1))


@pytest.mark.parametrize("is_adjacent", [True, False])
def test_turning_back_undoes_turning(is_adjacent: bool) -> None:
    angle = torch.rand(5, 3, dtype=torch.float64)
    angle = angle.repeat_interleave(2, -1) if is_adjacent else torch.cat([angle, angle], -1)
    rotary = Rotary(angle.cos(), angle.sin(), is_adjacent=is_adjacent)
    x = torch.randn(2, 5, 3, 11, dtype=torch.float64)
    turned = rotary.turn(x)[PROMPT, POS]
    torch.testing.assert_close(rotary.turn_back(turned, POS), x[PROMPT, POS])
    torch.testing.assert_close(turned[..., 6:], x[PROMPT, POS][..., 6:])


@pytest.mark.parametrize("is_gated", [True, False])
@pytest.mark.parametrize(
    "function",
    [
        torch.nn.functional.gelu,
        lambda z: torch.nn.functional.gelu(z, approximate="tanh"),
        torch.nn.functional.silu,
        torch.relu,
    ],
)
def test_activation_functions_are_recognised(
    function: Callable[[Tensor], Tensor], is_gated: bool
) -> None:
    pre = torch.linspace(-4, 4, 101, dtype=torch.float64).requires_grad_()
    up = torch.randn(101, dtype=torch.float64) if is_gated else None
    post = function(pre) if up is None else function(pre) * up
    found, slope = find_activation("mlp", pre.detach(), post.detach(), up, dtype=pre.dtype)
    torch.testing.assert_close(found(pre), function(pre))
    (expected,) = torch.autograd.grad(function(pre).sum(), pre)
    torch.testing.assert_close(slope(pre.detach()), expected)


def _spliced(bridge: Any) -> Any:
    return splice(
        bridge, {"blocks.0.hook_resid_post": random_sae("jumprelu", d_in=bridge.cfg.d_model)}
    )


@pytest.mark.parametrize(
    ("family", "setting", "value", "reason"),
    [
        ("gpt2", "attn_scores_soft_cap", 9.0, "scores.* not reproduced"),
        ("gpt2", "output_logits_soft_cap", 9.0, "soft-cap on logits is not reproduced"),
        ("gpt2", "parallel_attn_mlp", True, "ln2.* not reproduced"),
        ("bloom", "positional_embedding_type", "standard", "scores.* not reproduced"),
    ],
)
def test_a_model_that_computes_something_else_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    family: str,
    setting: str,
    value: object,
    reason: str,
) -> None:
    # The configuration says one thing and the recorded activations another.
    model = _spliced(build(family, tmp_path))
    take_apart(model, TOKENS, FULL)
    monkeypatch.setattr(model.bridge.cfg, setting, value)
    with pytest.raises(NotCoveredError, match=reason):
        take_apart(model, TOKENS, FULL)


def _gpt2(tmp_path: Path, function: str) -> Any:
    config = GPT2Config(
        vocab_size=WORDS, n_positions=19, n_embd=14, n_layer=2, n_head=2, n_inner=29,
        activation_function=function, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return boot(GPT2LMHeadModel(config), tmp_path)


def test_a_function_of_the_mlp_s_own_has_autograd_s_derivative(tmp_path: Path) -> None:
    model = _spliced(_gpt2(tmp_path, "mish"))
    mlp = take_apart(model, TOKENS, FULL).blocks[0].mlp
    hooks = block_hooks(0, model.hook_points).mlp
    with recording(model.bridge, model.hook_points, [hooks.pre]) as seen:
        model.forward(TOKENS)
    pre = seen[hooks.pre].requires_grad_()
    (expected,) = torch.autograd.grad(torch.nn.functional.mish(pre).sum(), pre)
    ((gate, _),) = mlp.branches
    torch.testing.assert_close(gate, expected)


def test_a_function_that_mixes_numbers_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _spliced(_gpt2(tmp_path, "gelu"))
    mlp = model.bridge.blocks[1].mlp.original_component
    monkeypatch.setattr(mlp, "act", torch.nn.Softmax(-1))
    with pytest.raises(NotCoveredError, match=r"activation function.* is not reproduced"):
        take_apart(model, TOKENS, FULL)


def test_a_norm_that_gives_something_else_is_refused(tmp_path: Path) -> None:
    model = _spliced(build("llama", tmp_path))
    point = model.hook_points["blocks.0.ln1.hook_out"]
    point.add_hook(lambda tensor, hook: tensor + tensor.abs())
    with pytest.raises(NotCoveredError, match=r"ln1 \(weight\) is not reproduced"):
        take_apart(model, TOKENS, FULL)


def test_what_is_added_is_scaled_as_the_model_scales_it(tmp_path: Path) -> None:
    with Float64Throughout():
        model = _spliced(build("granite", tmp_path))
        run = take_apart(model, TOKENS, FULL)
    own = model.bridge.blocks[0]
    torch.testing.assert_close(run.blocks[0].attention.W_O, 0.22 * own.attn.W_O)
    torch.testing.assert_close(run.blocks[0].mlp.W_out, 0.22 * own.mlp.W_out)
    torch.testing.assert_close(run.unembedding.W_U, model.bridge.W_U / 2)
    assert run.unembedding.scale == pytest.approx(0.5)
    assert run.token_scale == pytest.approx(3.0)
    assert run.blocks[0].attention.scale == pytest.approx(0.3)


def test_an_attention_layer_with_a_sink_is_its_derivative(tmp_path: Path) -> None:
    # Its patterns add up to less than 1; the rest of a head's attention is on nothing.
    with Float64Throughout():
        bridge = build("gpt_oss", tmp_path)
        model = _spliced(bridge)
        with pytest.raises(NotCoveredError, match=r"blocks.0.mlp is a mixture of experts"):
            take_apart(model, TOKENS, FULL)
        recorded = record(model, TOKENS, FULL)
        hooks = recorded.block(1)
        stream = recorded[hooks.before].clone().requires_grad_()
        norm = read_norm(recorded, hooks.ln1, reads=stream.detach())
        found = read_attention(
            recorded,
            hooks.attention,
            ends=(recorded[hooks.ln1.out], recorded[hooks.attention_out]),
            norms=(norm, None),
        )
        assert float(found.pattern.sum(-1).max()) < 1
        cotangent = torch.randn(2, 5, bridge.cfg.d_model, dtype=torch.float64)
        section = Section(first=1, stream=stream, stop=2)
        keep = [(hooks.attention_out, remember(seen := []))]
        with attached(bridge, model.hook_points, keep):
            model.forward(TOKENS, section=section)
        (expected,) = torch.autograd.grad((seen[0] * cotangent).sum(), stream)
    prompt, pos = torch.ones(2, 5).nonzero().unbind(1)
    values = found.into_heads(cotangent[prompt, pos], prompt, pos)
    ones = torch.ones(len(prompt), dtype=torch.float64)
    rows = Rows(2, 2, prompt, prompt, pos, prompt, ones, ones, torch.zeros_like(pos))
    left = gather(found, values, rows, planes(rows))
    total = read_back(found, left, prompt, pos).unflatten(0, (2, 5))
    torch.testing.assert_close(total, expected, rtol=1e-9, atol=1e-9)


def test_queries_and_keys_are_laid_out_for_every_query_head(tmp_path: Path) -> None:
    with Float64Throughout():
        model = _spliced(build("qwen3", tmp_path))
        attention = take_apart(model, TOKENS, FULL).blocks[1].attention
    assert attention.q.shape == attention.k.shape == attention.v.shape == (2, 5, 4, 6)
    scores = attention.scale * torch.einsum("bthd,bshd->bhts", attention.q, attention.k)
    future = torch.ones(5, 5, dtype=torch.bool).triu(1)
    pattern = scores.masked_fill(future, -torch.inf).softmax(-1)
    torch.testing.assert_close(pattern, attention.pattern)


def test_weights_of_a_model_without_scales_are_not_copied(tmp_path: Path) -> None:
    model = _spliced(build("llama", tmp_path))
    own = {weight.untyped_storage().data_ptr() for weight in model.bridge.parameters()}
    anatomy = take_apart(model, TOKENS, FULL)
    taken = [anatomy.unembedding.W_U, *(block.attention.W_O for block in anatomy.blocks)]
    taken += [block.mlp.W_out for block in anatomy.blocks]
    assert all(weight.untyped_storage().data_ptr() in own for weight in taken)
