"""Models of all families: what cannot be used is refused by name; what can be is used rightly."""

import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from saecircuits.errors import ModelError, NotCoveredError, SiteError
from saecircuits.features.promotion import direct_logit_effects
from saecircuits.splicing import splice
from saecircuits.splicing.anatomy import read_out
from saecircuits.splicing.booting import boot as boot_whole
from saecircuits.splicing.hooking import recording
from saecircuits.splicing.modalities import save_language_model
from saecircuits.splicing.operators import record_operator
from tests.architectures import Float64Throughout, build
from tests.models import WORDS, boot, build_tokenizer, random_sae, rotary_sizes

# Where the stream ends in models that have no norm behind their blocks.
_LAST = {"openai_gpt": "unembed.hook_in", "opt_350m": "blocks.2.hook_out"}
TOKENS = torch.arange(10).reshape(2, 5) % WORDS


def _moved(direction: Tensor, tensor: Tensor, hook: object) -> Tensor:
    return tensor + direction


def _sae(bridge: Any, seed: int = 0, **options: Any) -> Any:
    return random_sae("jumprelu", d_in=bridge.cfg.d_model, seed=seed, **options)


def test_a_model_that_sees_what_comes_later_is_refused(tmp_path: Path) -> None:
    bridge = build("bert", tmp_path)
    expected = r"BertForMaskedLM\) is not causal: a later token moves the logits of earlier ones by"
    with pytest.raises(ModelError, match=expected):
        splice(bridge, {"blocks.0.hook_attn_out": _sae(bridge)})


def test_an_encoder_with_a_decoder_is_refused(tmp_path: Path) -> None:
    config = transformers.T5Config(
        vocab_size=WORDS, d_model=24, d_kv=6, d_ff=29, num_layers=2, num_heads=4
    )
    bridge = boot(transformers.T5ForConditionalGeneration(config), tmp_path)
    expected = r"no single stack of blocks \(encoder_blocks, decoder_blocks\); .* decoders alone"
    with pytest.raises(ModelError, match=expected):
        splice(bridge, {"blocks.0.hook_attn_out": _sae(bridge)})


def test_a_model_that_also_sees_is_refused_before_anything_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    llava = transformers.LlavaConfig(
        text_config=transformers.LlamaConfig(**sizes),
        vision_config=transformers.CLIPVisionConfig(**sizes),
        architectures=["LlavaForConditionalGeneration"],
    )
    llava.save_pretrained(tmp_path)
    monkeypatch.setattr(subprocess, "check_call", lambda *command, **_: pytest.fail(str(command)))
    expected = r"reads more than text: its configuration has vision_config; .* as LlamaForCausalLM"
    with pytest.raises(ModelError, match=expected):
        boot_whole(str(tmp_path), dtype=torch.float32, device=torch.device("cpu"))


def test_the_language_model_of_one_that_also_sees_can_be_had_alone(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Gemma3Config(
        text_config={**rotary_sizes(), "hidden_size": 28, "query_pre_attn_scalar": 6},
        vision_config={**sizes, "intermediate_size": 16, "image_size": 28, "patch_size": 14},
        mm_tokens_per_image=4,
    )
    whole = transformers.Gemma3ForConditionalGeneration(config).eval()
    whole.save_pretrained(tmp_path / "whole")
    build_tokenizer().save_pretrained(tmp_path / "whole")
    save_language_model(tmp_path / "whole", tmp_path / "text")
    bridge = boot_whole(str(tmp_path / "text"), dtype=torch.float32, device=torch.device("cpu"))
    with torch.no_grad():
        torch.testing.assert_close(bridge(TOKENS), whole(input_ids=TOKENS).logits)
    assert bridge.tokenizer.vocab_size == WORDS


def test_a_model_that_does_not_run_by_itself_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bridge = build("gpt2", tmp_path)
    calls: list[int] = []

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        raise RuntimeError("The size of tensor a (3) must match\nthe rest")

    class Broken(type(bridge.original_model)):
        pass

    monkeypatch.setattr(bridge.original_model, "__class__", Broken)
    monkeypatch.setattr(Broken, "forward", lambda self, *a, **k: forward(self))
    with pytest.raises(ModelError, match=r"does not run in float64 \(RuntimeError: The size of"):
        splice(bridge, {"blocks.0.hook_attn_out": _sae(bridge)})
    assert calls


@pytest.mark.parametrize("kind", ["hook_attn_out", "hook_mlp_out"])
def test_gradients_pass_outputs_that_are_scaled_before_they_are_added(
    kind: str, tmp_path: Path
) -> None:
    # Granite shows them scaled, as copies that it looks at again only where the numbers differ.
    with Float64Throughout():
        bridge = build("granite", tmp_path)
        model = splice(bridge, {f"blocks.0.{kind}": _sae(bridge)})
        direction = model.splices[0].dictionary.W_dec[3]

        def end(change: Tensor | float) -> Tensor:
            return model.forward(TOKENS, at_site=lambda _, read, write: write + change * direction)[
                0, -1, 5
            ]

        x = torch.zeros((), dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(end(x), x)
        numeric = (end(1e-5) - end(-1e-5)) / 2e-5
    assert slope.abs() > 1e-3
    torch.testing.assert_close(slope, numeric.detach(), rtol=1e-6, atol=1e-8)


def test_a_transcoder_that_reads_what_comes_after_the_mlp_is_refused(tmp_path: Path) -> None:
    bridge = build("olmo2", tmp_path)
    for read, is_right in (("ln2.hook_normalized", False), ("mlp.hook_in", True)):
        transcoder = random_sae("transcoder", d_in=24, metadata={"hook_name": f"blocks.0.{read}"})
        given = {"blocks.0.hook_mlp_out": transcoder}
        if is_right:
            splice(bridge, given)
            continue
        expected = r"comes after the MLP, not before it; its MLP reads 'blocks.0.mlp.hook_in'"
        with pytest.raises(SiteError, match=expected):
            splice(bridge, given)


def test_a_silent_site_is_refused_with_those_that_are_not(tmp_path: Path) -> None:
    bridge = build("openai_gpt", tmp_path)
    with pytest.raises(SiteError, match=r"this model shows .*blocks.1.hook_resid_pre"):
        splice(bridge, {"blocks.0.hook_resid_post": _sae(bridge)})


@pytest.mark.parametrize("family", ["openai_gpt", "opt_350m", "olmo", "granite", "nemotron"])
def test_directions_move_logits_as_the_end_of_the_model_has_them(
    family: str, tmp_path: Path
) -> None:
    with Float64Throughout():
        bridge = build(family, tmp_path)
        model = splice(bridge, {"blocks.0.hook_attn_out": _sae(bridge)})
        directions = torch.randn(2, bridge.cfg.d_model)
        found = direct_logit_effects(read_out(model), directions)
        # The last thing that the stream passes, its scale held at what it is in this run.
        last = bridge.ln_final if hasattr(bridge, "ln_final") else None
        name = "ln_final.hook_in" if last else _LAST[family]
        held = [n for n in model.hook_points if n == "ln_final.hook_scale"]
        with recording(bridge, model.hook_points, held) as seen:
            clean = model.forward(TOKENS)[0, -1]
        scale = {n: lambda tensor, hook, n=n: seen[n] for n in held}
        for row, direction in enumerate(directions):
            edits = [(name, partial(_moved, direction)), *scale.items()]
            change = model.forward(TOKENS, edits=edits)[0, -1] - clean
            change = change * (seen[held[0]][0, -1] if held else 1.0)
            torch.testing.assert_close(found[row], change - change.mean(), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("family", ["olmo", "nemotron", "opt_350m", "openai_gpt", "granite"])
@pytest.mark.parametrize("kind", ["frozen", "secant"])
def test_held_operators_reproduce_the_run(family: str, kind: Any, tmp_path: Path) -> None:
    bridge = build(family, tmp_path)
    model = splice(bridge, {"blocks.0.hook_attn_out": _sae(bridge)})
    operator = record_operator(bridge, TOKENS, kind=kind)
    found, expected = model.forward(TOKENS, operator=operator), model.forward(TOKENS)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_experts_have_no_secant_operator(tmp_path: Path) -> None:
    bridge = build("gpt_oss", tmp_path)
    with pytest.raises(NotCoveredError, match=r"block 0 is a mixture of experts.*='frozen'"):
        record_operator(bridge, TOKENS, kind="secant")
    record_operator(bridge, TOKENS, kind="frozen")


def test_a_norm_that_is_used_twice_is_not_held(tmp_path: Path) -> None:
    # NanoChat's last norm is its first one too: one scale cannot stand for both.
    sizes: dict[str, Any] = {
        "vocab_size": WORDS, "hidden_size": 24, "intermediate_size": 29, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 19,
        "initializer_range": 0.35, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None,
    }  # fmt: skip
    bridge = boot(transformers.NanoChatForCausalLM(transformers.NanoChatConfig(**sizes)), tmp_path)
    with pytest.raises(NotCoveredError, match=r"held, does not reproduce its own logits: off by"):
        record_operator(bridge, TOKENS, kind="frozen")
