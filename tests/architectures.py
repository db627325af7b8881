"""Small random models of many architectures, and float64 where they would round to float32."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.overrides import TorchFunctionMode

from saecircuits.splicing import splice
from tests.models import (
    WORDS,
    Toy,
    boot,
    build_bridge,
    build_gemma2,
    build_llama,
    random_sae,
    rotary_sizes,
    toy_prompts,
)

# Read by the configuration, and not among its declared parameters.
_HALF_ROTARY: dict[str, Any] = {"rotary_pct": 0.5}
_ENDS: dict[str, Any] = {"vocab_size": WORDS, "bos_token_id": 0, "eos_token_id": 0}


class Float64Throughout(TorchFunctionMode):
    """Inside, whatever asks torch for float32 gets float64.

    Hugging Face's models compute norms, softmax, scores and rotary angles in float32 whatever their
    dtype, and transformer_lens's bridge takes over some of it in the dtype of the model. Two exact
    ways to one number then differ by 1e-7. Inside this mode a float64 model is float64 in every
    operation, and they have to agree to float64's rounding.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.Tensor.float:
            func = torch.Tensor.double
        wide = tuple(torch.float64 if arg is torch.float32 else arg for arg in args)
        named = {
            name: torch.float64 if arg is torch.float32 else arg
            for name, arg in (kwargs or {}).items()
        }
        return func(*wide, **named)


def _build_neox(folder: Path) -> Any:
    """GPT-NeoX: attention and MLP read the same stream; rotary on half of each head."""
    config = transformers.GPTNeoXConfig(
        **_ENDS,
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=29,
        max_position_embeddings=19,
        initializer_range=0.35,
        **_HALF_ROTARY,
    )
    return boot(transformers.GPTNeoXForCausalLM(config), folder)


def _build_qwen2(folder: Path) -> Any:
    """Qwen 2: a Llama with biases on queries, keys and values."""
    config = transformers.Qwen2Config(**_whole_heads(), hidden_size=24)
    return boot(transformers.Qwen2ForCausalLM(config), folder)


def _build_qwen3(folder: Path) -> Any:
    """Qwen 3: a norm on every query and key."""
    config = transformers.Qwen3Config(**rotary_sizes(), hidden_size=20)
    return boot(transformers.Qwen3ForCausalLM(config), folder)


def _build_gemma3(folder: Path) -> Any:
    """Gemma 3: a norm on every query and key, norms after the blocks, two sets of angles."""
    config = transformers.Gemma3TextConfig(
        **rotary_sizes(),
        hidden_size=28,
        sliding_window=4,
        query_pre_attn_scalar=6,
        layer_types=["sliding_attention", "full_attention"],
    )
    return boot(transformers.Gemma3ForCausalLM(config), folder)


def _build_mistral(folder: Path) -> Any:
    """Mistral: a sliding window at every layer."""
    config = transformers.MistralConfig(**rotary_sizes(), hidden_size=20, sliding_window=4)
    return boot(transformers.MistralForCausalLM(config), folder)


def _build_olmo2(folder: Path) -> Any:
    """OLMo 2: norms after the blocks alone; one norm over all queries, and one over all keys."""
    config = transformers.Olmo2Config(**_whole_heads(), hidden_size=24)
    return boot(transformers.Olmo2ForCausalLM(config), folder)


def _build_phi(folder: Path) -> Any:
    """Phi: one norm for attention and MLP, which read the same stream."""
    sizes = {**_whole_heads(), "num_key_value_heads": 4, "partial_rotary_factor": 0.5}
    config = transformers.PhiConfig(**sizes, hidden_size=32)
    return boot(transformers.PhiForCausalLM(config), folder)


def _build_opt(folder: Path) -> Any:
    """OPT: a ReLU MLP on tokens that are laid one after the other; positions from the third on."""
    config = transformers.OPTConfig(
        **_ENDS,
        hidden_size=14,
        word_embed_proj_dim=14,
        num_hidden_layers=3,
        ffn_dim=29,
        num_attention_heads=2,
        max_position_embeddings=19,
        init_std=0.35,
        pad_token_id=1,
    )
    return boot(transformers.OPTForCausalLM(config), folder)


def _build_gptj(folder: Path) -> Any:
    """GPT-J: rotary positions in planes of neighbouring entries; one norm for both components."""
    config = transformers.GPTJConfig(
        **_ENDS,
        n_positions=19,
        n_embd=24,
        n_layer=3,
        n_head=2,
        rotary_dim=6,
        n_inner=29,
        initializer_range=0.35,
    )
    return boot(transformers.GPTJForCausalLM(config), folder)


def _build_gpt_neo(folder: Path) -> Any:
    """GPT-Neo: scores that are not scaled, a sliding window at every other layer."""
    config = transformers.GPTNeoConfig(
        **_ENDS,
        max_position_embeddings=19,
        hidden_size=14,
        num_layers=3,
        num_heads=2,
        intermediate_size=29,
        attention_types=[[["global", "local"], 1], [["global"], 1]],
        window_size=4,
        initializer_range=0.35,
    )
    return boot(transformers.GPTNeoForCausalLM(config), folder)


def _build_bloom(folder: Path) -> Any:
    """BLOOM: scores that fall with distance (ALiBi), and a norm on the embeddings."""
    config = transformers.BloomConfig(
        **_ENDS, hidden_size=14, n_layer=3, n_head=2, initializer_range=0.35
    )
    return boot(transformers.BloomForCausalLM(config), folder)


def _build_granite(folder: Path) -> Any:
    """Granite: embeddings, scores, what components add, and logits are multiplied by constants."""
    config = transformers.GraniteConfig(
        **rotary_sizes(),
        hidden_size=20,
        embedding_multiplier=3.0,
        attention_multiplier=0.3,
        residual_multiplier=0.22,
        logits_scaling=2.0,
    )
    return boot(transformers.GraniteForCausalLM(config), folder)


def _build_glm(folder: Path) -> Any:
    """GLM: rotary positions in planes of neighbouring entries, on half of each head."""
    sizes = {**rotary_sizes(), "head_dim": 8, "partial_rotary_factor": 0.5}
    config = transformers.GlmConfig(**sizes, hidden_size=20)
    return boot(transformers.GlmForCausalLM(config), folder)


def _build_olmo(folder: Path) -> Any:
    """OLMo: norms without weights."""
    config = transformers.OlmoConfig(**_whole_heads(), hidden_size=24)
    return boot(transformers.OlmoForCausalLM(config), folder)


def _build_nemotron(folder: Path) -> Any:
    """Nemotron: norms that multiply by 1 + weight, a squared ReLU."""
    sizes = {**rotary_sizes(), "partial_rotary_factor": 0.5, "head_dim": 8}
    config = transformers.NemotronConfig(**sizes, hidden_size=32)
    return boot(transformers.NemotronForCausalLM(config), folder)


def _build_apertus(folder: Path) -> Any:
    """Apertus: an activation function with weights of its own, norms of queries and keys."""
    config = transformers.ApertusConfig(**rotary_sizes(), hidden_size=20)
    return boot(transformers.ApertusForCausalLM(config), folder)


def _build_falcon(folder: Path) -> Any:
    """Falcon: one norm for attention and MLP, which read the same stream; one key head."""
    config = transformers.FalconConfig(
        **_ENDS,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        ffn_hidden_size=29,
        max_position_embeddings=19,
        initializer_range=0.35,
    )
    return boot(transformers.FalconForCausalLM(config), folder)


def _build_gpt_oss(folder: Path) -> Any:
    """gpt-oss: every head may look at nothing (a sink); a mixture of experts."""
    sizes = {**rotary_sizes(), "intermediate_size": 32, "num_local_experts": 4}
    config = transformers.GptOssConfig(**sizes, hidden_size=24, sliding_window=4)
    bridge = boot(transformers.GptOssForCausalLM(config), folder)
    bridge.original_model.set_experts_implementation("eager")  # the fast one knows no float64
    return bridge


def _build_bert(folder: Path) -> Any:
    """BERT: every token sees all others, and norms stand behind what is added."""
    sizes = {**_whole_heads(), "pad_token_id": 0}
    return boot(
        transformers.BertForMaskedLM(transformers.BertConfig(**sizes, hidden_size=24)), folder
    )


def _build_openai_gpt(folder: Path) -> Any:
    """GPT (the first): the stream is normed behind each component, blocks hand on lists."""
    config = transformers.OpenAIGPTConfig(
        **_ENDS, n_positions=19, n_embd=14, n_layer=3, n_head=2, initializer_range=0.35
    )
    return boot(transformers.OpenAIGPTLMHeadModel(config), folder)


def _build_opt_350m(folder: Path) -> Any:
    """OPT-350m: the stream is normed behind each component, and wider than the embeddings."""
    config = transformers.OPTConfig(
        **_ENDS,
        hidden_size=14,
        word_embed_proj_dim=10,
        num_hidden_layers=3,
        ffn_dim=29,
        num_attention_heads=2,
        max_position_embeddings=19,
        init_std=0.35,
        pad_token_id=1,
        do_layer_norm_before=False,
    )
    return boot(transformers.OPTForCausalLM(config), folder)


def _whole_heads() -> dict[str, Any]:
    """Sizes of models whose heads are as wide together as the stream."""
    return {name: size for name, size in rotary_sizes().items() if name != "head_dim"}


BUILDERS: dict[str, Callable[[Path], Any]] = {
    "gpt2": build_bridge,
    "neox": _build_neox,
    "llama": build_llama,
    "gemma2": build_gemma2,
    "qwen3": _build_qwen3,
    "gemma3": _build_gemma3,
    "qwen2": _build_qwen2,
    "mistral": _build_mistral,
    "opt": _build_opt,
    "phi": _build_phi,
    "gptj": _build_gptj,
    "gpt_neo": _build_gpt_neo,
    "bloom": _build_bloom,
    "olmo2": _build_olmo2,
    "granite": _build_granite,
    "glm": _build_glm,
    "olmo": _build_olmo,
}
# Of these single things are tested, where they are what is peculiar.
PECULIAR: dict[str, Callable[[Path], Any]] = {
    "nemotron": _build_nemotron,
    "apertus": _build_apertus,
    "falcon": _build_falcon,
    "gpt_oss": _build_gpt_oss,
    "bert": _build_bert,
    "openai_gpt": _build_openai_gpt,
    "opt_350m": _build_opt_350m,
}

# One of each kind of part: learned positions, rotary ones (whole heads, halves, planes), ALiBi;
# LayerNorm and RMSNorm, norms after blocks, of queries and keys; grouped queries; gated MLPs;
# attention and MLP one after the other, and parallel with one norm or two.
EACH_KIND = ("gpt2", "neox", "llama", "gemma2", "qwen3", "gptj", "bloom")


def build(name: str, folder: Path) -> Any:
    """The bridge over a random model of that architecture."""
    torch.manual_seed(8)
    with Float64Throughout():
        return {**BUILDERS, **PECULIAR}[name](folder)


def family_toy(name: str, folder: Path) -> Toy:
    """A random model of that architecture with a dictionary behind every block, and prompts."""
    bridge = build(name, folder)
    kinds = ("jumprelu", "standard", "gated")
    dictionaries = {
        f"blocks.{layer}.hook_resid_post": random_sae(
            kinds[layer], d_in=bridge.cfg.d_model, seed=20 + layer
        )
        for layer in range(bridge.cfg.n_layers)
    }
    return Toy(splice(bridge, dictionaries, name=name), toy_prompts(bridge))
