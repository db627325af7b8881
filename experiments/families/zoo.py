"""Tiny random models of every family that people bring, each saved and loaded as they bring it.

A row is a class of Hugging Face's and what its configuration says; sizes are unequal primes where
an architecture lets them be. Models lie in a folder as `save_pretrained` leaves them, with a
tokenizer of 22 words, and are read back by the loader of this package.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

from saecircuits.splicing.booting import boot

WORDS: Final = 23
_ENDS: Final = {"vocab_size": WORDS, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}
_SPREAD: Final = {"initializer_range": 0.35}
_LLAMA: Final = {
    **_ENDS, **_SPREAD, "hidden_size": 24, "intermediate_size": 29, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6,
    "max_position_embeddings": 19,
}  # fmt: skip
_EXPERTS: Final = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
_MIXERS: Final = {"mamba_n_heads": 4, "mamba_d_head": 12, "mamba_d_state": 5, "mamba_n_groups": 1,
                  "mamba_d_conv": 3, "mamba_chunk_size": 4}  # fmt: skip


@dataclass(frozen=True)
class Family:
    """A kind of model.

    Attributes:
        like: a model that people bring of it.
        model: name of Hugging Face's class; `config` that of its configuration.
        settings: of the configuration.
        published_as: what published configurations call the class, where it is not its name.
    """

    name: str
    like: str
    model: str
    config: str
    settings: dict[str, Any] = field(default_factory=dict)
    published_as: str | None = None


def _llama_like(name: str, like: str, stem: str, **settings: Any) -> Family:
    return Family(name, like, f"{stem}ForCausalLM", f"{stem}Config", {**_LLAMA, **settings})


def _gpt2_like(
    name: str, like: str, stem: str, model: str = "ForCausalLM", **settings: Any
) -> Family:
    sizes = {**_ENDS, **_SPREAD, "n_positions": 19, "n_embd": 24, "n_layer": 2, "n_head": 2}
    return Family(name, like, f"{stem}{model}", f"{stem}Config", {**sizes, **settings})


_OPT: Final = {
    **_ENDS, "hidden_size": 14, "word_embed_proj_dim": 14, "num_hidden_layers": 2, "ffn_dim": 29,
    "num_attention_heads": 2, "max_position_embeddings": 19, "init_std": 0.35, "pad_token_id": 1,
}  # fmt: skip
_FALCON: Final = {
    **_ENDS, **_SPREAD, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "ffn_hidden_size": 29, "max_position_embeddings": 19,
}  # fmt: skip
_QWEN_HYBRID: Final = {
    "layer_types": ["linear_attention", "full_attention"], "linear_num_key_heads": 2,
    "linear_num_value_heads": 2, "linear_key_head_dim": 5, "linear_value_head_dim": 5,
    "linear_conv_kernel_dim": 3,
}  # fmt: skip
_LATENT: Final = {
    "kv_lora_rank": 8, "q_lora_rank": 11, "qk_rope_head_dim": 4, "qk_nope_head_dim": 6,
    "v_head_dim": 6, "qk_head_dim": 10, "num_key_value_heads": 4,
}  # fmt: skip

FAMILIES: Final = (
    # Attention and MLP one after the other.
    _gpt2_like("GPT-2", "gpt2", "GPT2", "LMHeadModel", n_inner=29),
    _gpt2_like("GPTBigCode", "bigcode/gpt_bigcode-santacoder", "GPTBigCode", n_inner=29),
    Family("GPT-Neo", "EleutherAI/gpt-neo-125m", "GPTNeoForCausalLM", "GPTNeoConfig", {
        **_ENDS, **_SPREAD, "max_position_embeddings": 19, "hidden_size": 14, "num_layers": 2,
        "num_heads": 2, "intermediate_size": 29, "window_size": 4,
        "attention_types": [[["global", "local"], 1]]}),
    _gpt2_like("OpenAI GPT", "openai-community/openai-gpt", "OpenAIGPT", "LMHeadModel"),
    Family("OPT", "facebook/opt-125m", "OPTForCausalLM", "OPTConfig", _OPT),
    Family("OPT, norms after", "facebook/opt-350m", "OPTForCausalLM", "OPTConfig",
           {**_OPT, "do_layer_norm_before": False, "word_embed_proj_dim": 10}),
    _gpt2_like("BLOOM", "bigscience/bloom-560m", "Bloom", hidden_size=24),
    Family("MPT", "mosaicml/mpt-7b", "MptForCausalLM", "MptConfig", {
        **_ENDS, **_SPREAD, "d_model": 24, "n_heads": 2, "n_layers": 2, "max_seq_len": 19}),
    Family("XGLM", "facebook/xglm-564M", "XGLMForCausalLM", "XGLMConfig", {
        **_ENDS, "max_position_embeddings": 19, "d_model": 24, "ffn_dim": 29, "num_layers": 2,
        "attention_heads": 2, "init_std": 0.35}),
    _llama_like("Llama", "meta-llama/Llama-3.2-1B", "Llama"),
    _llama_like("Mistral", "mistralai/Mistral-7B-v0.1", "Mistral", sliding_window=4),
    _llama_like("Ministral 3", "mistralai/Ministral-3-3B-Base-2512", "Ministral3"),
    _llama_like("Qwen 2", "Qwen/Qwen2.5-0.5B", "Qwen2"),
    _llama_like("Qwen 3", "Qwen/Qwen3-0.6B", "Qwen3"),
    _llama_like("Gemma", "google/gemma-2b", "Gemma"),
    _llama_like("Gemma 2", "google/gemma-2-2b", "Gemma2", query_pre_attn_scalar=6,
                sliding_window=4),
    Family("Gemma 3", "google/gemma-3-270m", "Gemma3ForCausalLM", "Gemma3TextConfig", {
        **_LLAMA, "query_pre_attn_scalar": 6, "sliding_window": 4,
        "layer_types": ["sliding_attention", "full_attention"]}),
    _llama_like("VaultGemma", "google/vaultgemma-1b", "VaultGemma", query_pre_attn_scalar=6),
    _llama_like("Phi 3", "microsoft/Phi-3-mini-4k-instruct", "Phi3"),
    _llama_like("SmolLM 3", "HuggingFaceTB/SmolLM3-3B", "SmolLM3", no_rope_layers=[1, 0]),
    _llama_like("OLMo", "allenai/OLMo-1B-hf", "Olmo"),
    _llama_like("OLMo 2", "allenai/OLMo-2-0425-1B", "Olmo2"),
    _llama_like("OLMo 3", "allenai/Olmo-3-7B", "Olmo3"),
    _llama_like("Starcoder 2", "bigcode/starcoder2-3b", "Starcoder2"),
    _llama_like("Granite", "ibm-granite/granite-3.0-2b-base", "Granite", residual_multiplier=0.22,
                attention_multiplier=0.3, embedding_multiplier=3.0, logits_scaling=2.0),
    _llama_like("GLM", "THUDM/glm-4-9b-hf", "Glm", partial_rotary_factor=0.5),
    _llama_like("GLM 4", "zai-org/GLM-4-9B-0414", "Glm4", partial_rotary_factor=0.5),
    _llama_like("EXAONE 4", "LGAI-EXAONE/EXAONE-4.0-1.2B", "Exaone4", sliding_window=4,
                layer_types=["sliding_attention", "full_attention"]),
    _llama_like("Seed-OSS", "ByteDance-Seed/Seed-OSS-36B-Base", "SeedOss"),
    _llama_like("Ernie 4.5", "baidu/ERNIE-4.5-0.3B-PT", "Ernie4_5"),
    _llama_like("Arcee", "arcee-ai/AFM-4.5B", "Arcee"),
    _llama_like("Apertus", "swiss-ai/Apertus-8B-2509", "Apertus"),
    _llama_like("Hunyuan", "tencent/Hunyuan-0.5B-Pretrain", "HunYuanDenseV1"),
    _llama_like("Nemotron", "nvidia/Minitron-4B-Base", "Nemotron", partial_rotary_factor=0.5),
    _llama_like("Jais 2", "inceptionai/Jais-2-8B-Chat", "Jais2"),
    _llama_like("NanoChat", "karpathy/nanochat-d32", "NanoChat"),
    _llama_like("BitNet", "microsoft/bitnet-b1.58-2B-4T", "BitNet"),
    _llama_like("StableLM", "stabilityai/stablelm-2-1_6b", "StableLm", hidden_size=32, head_dim=8),
    # Attention and MLP read the same stream.
    Family("GPT-NeoX", "EleutherAI/pythia-70m", "GPTNeoXForCausalLM", "GPTNeoXConfig", {
        **_ENDS, **_SPREAD, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 29, "max_position_embeddings": 19, "rotary_pct": 0.5}),
    _gpt2_like("GPT-J", "EleutherAI/gpt-j-6b", "GPTJ", rotary_dim=6, n_inner=29),
    _gpt2_like("CodeGen", "Salesforce/codegen-350M-mono", "CodeGen", rotary_dim=4, n_inner=29,
               n_head=4, n_ctx=19),
    _llama_like("Phi", "microsoft/phi-2", "Phi", partial_rotary_factor=0.5,
                num_key_value_heads=4, hidden_size=32, head_dim=8),
    Family("Falcon", "tiiuae/falcon-rw-1b", "FalconForCausalLM", "FalconConfig",
           {**_FALCON, "alibi": True, "multi_query": False, "parallel_attn": False, "bias": True,
            "new_decoder_architecture": False}),
    Family("Falcon, parallel", "tiiuae/falcon-7b", "FalconForCausalLM", "FalconConfig", _FALCON),
    Family("Falcon, two norms", "tiiuae/falcon-11B", "FalconForCausalLM", "FalconConfig",
           {**_FALCON, "new_decoder_architecture": True, "num_kv_heads": 2}),
    _llama_like("StableLM, parallel", "stabilityai/stablelm-2-12b", "StableLm",
                use_parallel_residual=True, qk_layernorm=True, hidden_size=32, head_dim=8),
    _llama_like("Cohere", "CohereLabs/c4ai-command-r-v01", "Cohere", logit_scale=0.25),
    _llama_like("Cohere 2", "CohereLabs/c4ai-command-r7b-12-2024", "Cohere2", logit_scale=0.25,
                sliding_window=4, layer_types=["sliding_attention", "full_attention"]),
    # Experts.
    _llama_like("gpt-oss", "openai/gpt-oss-20b", "GptOss", intermediate_size=32,
                num_local_experts=4, num_experts_per_tok=2, sliding_window=4),
    _llama_like("Mixtral", "mistralai/Mixtral-8x7B-v0.1", "Mixtral", intermediate_size=32,
                num_local_experts=4),
    _llama_like("Qwen 2 MoE", "Qwen/Qwen1.5-MoE-A2.7B", "Qwen2Moe", **_EXPERTS,
                shared_expert_intermediate_size=16),
    _llama_like("Qwen 3 MoE", "Qwen/Qwen3-30B-A3B", "Qwen3Moe", **_EXPERTS),
    _llama_like("OLMoE", "allenai/OLMoE-1B-7B-0924", "Olmoe", intermediate_size=32,
                num_experts=4, num_experts_per_tok=2),
    _llama_like("Granite MoE", "ibm-granite/granite-3.0-1b-a400m-base", "GraniteMoe",
                intermediate_size=32, num_local_experts=4, num_experts_per_tok=2,
                residual_multiplier=0.22),
    Family("Phi 3.5 MoE", "microsoft/Phi-3.5-MoE-instruct", "PhimoeForCausalLM", "PhimoeConfig",
           {**_LLAMA, "intermediate_size": 32, "num_local_experts": 4}, "PhiMoEForCausalLM"),
    _llama_like("Ernie 4.5 MoE", "baidu/ERNIE-4.5-21B-A3B-PT", "Ernie4_5_Moe", moe_num_experts=4,
                moe_k=2, moe_intermediate_size=16, moe_layer_start_index=0),
    _llama_like("GLM 4 MoE", "zai-org/GLM-4.5-Air", "Glm4Moe", n_routed_experts=4,
                num_experts_per_tok=2, moe_intermediate_size=16, first_k_dense_replace=1,
                n_group=1, topk_group=1),
    _llama_like("DeepSeek V2", "deepseek-ai/DeepSeek-V2-Lite", "DeepseekV2", **_LATENT,
                n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=16,
                first_k_dense_replace=1, n_group=1, topk_group=1, head_dim=4),
    _llama_like("DeepSeek V3", "deepseek-ai/DeepSeek-V3", "DeepseekV3", **_LATENT,
                n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=16,
                first_k_dense_replace=1, n_group=1, topk_group=1, head_dim=4),
    Family("Llama 4", "meta-llama/Llama-4-Scout-17B-16E", "Llama4ForCausalLM", "Llama4TextConfig",
           {**_LLAMA, "intermediate_size_mlp": 32, "num_local_experts": 4,
            "attention_chunk_size": 8}),
    # State-space layers and other recurrences.
    Family("Mamba", "state-spaces/mamba-130m-hf", "MambaForCausalLM", "MambaConfig", {
        **_ENDS, **_SPREAD, "hidden_size": 24, "num_hidden_layers": 2, "state_size": 5}),
    Family("Mamba 2", "state-spaces/mamba2-130m", "Mamba2ForCausalLM", "Mamba2Config", {
        **_ENDS, **_SPREAD, "hidden_size": 24, "num_hidden_layers": 2, "state_size": 5,
        "num_heads": 4, "head_dim": 12, "n_groups": 1, "chunk_size": 4}),
    _llama_like("Falcon-H1", "tiiuae/Falcon-H1-0.5B-Base", "FalconH1", **_MIXERS,
                mamba_d_ssm=48),
    _llama_like("Bamba", "ibm-ai-platform/Bamba-9B-v2", "Bamba", **_MIXERS,
                attn_layer_indices=[1]),
    _llama_like("Jamba", "ai21labs/Jamba-v0.1", "Jamba", intermediate_size=32,
                use_mamba_kernels=False, num_experts=4,
                attn_layer_period=2, attn_layer_offset=1, expert_layer_period=2,
                expert_layer_offset=1, mamba_d_state=5),
    _llama_like("Qwen 3 Next", "Qwen/Qwen3-Next-80B-A3B-Instruct", "Qwen3Next", **_EXPERTS,
                **_QWEN_HYBRID, shared_expert_intermediate_size=16),
    _llama_like("Granite hybrid", "ibm-granite/granite-4.0-h-tiny-base", "GraniteMoeHybrid",
                **_MIXERS, num_local_experts=4, num_experts_per_tok=2,
                shared_intermediate_size=16, layer_types=["mamba", "attention"]),
    _llama_like("LFM 2", "LiquidAI/LFM2-350M", "Lfm2", layer_types=["conv", "full_attention"],
                block_ff_dim=29, block_auto_adjust_ff_dim=False),
    _llama_like("RecurrentGemma", "google/recurrentgemma-2b", "RecurrentGemma", lru_width=24,
                attention_window_size=4),
    # What does not read from left to right.
    Family("BERT", "google-bert/bert-base-uncased", "BertForMaskedLM", "BertConfig", _LLAMA),
    Family("BERT, causal", "google-bert/bert-base-uncased", "BertLMHeadModel", "BertConfig", {
        **_LLAMA, "is_decoder": True}),
    Family("T5", "google-t5/t5-small", "T5ForConditionalGeneration", "T5Config", {
        **_ENDS, "pad_token_id": 0, "d_model": 24, "d_kv": 6, "d_ff": 29, "num_layers": 2,
        "num_heads": 4}),
    Family("BART", "facebook/bart-base", "BartForConditionalGeneration", "BartConfig", {
        **_ENDS, "pad_token_id": 1, "d_model": 24, "encoder_layers": 2, "decoder_layers": 2,
        "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 29,
        "decoder_ffn_dim": 29, "max_position_embeddings": 19}),
)  # fmt: skip


def save(family: Family, folder: Path, *, seed: int = 8) -> None:
    """Writes a random model of a family, with biases and norm weights that are not 0 and 1.

    Every weight is one that bfloat16 holds, as those of published models are.
    """
    torch.manual_seed(seed)
    config = getattr(transformers, family.config)(**family.settings)
    model = getattr(transformers, family.model)(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.1)
            elif "norm" in name or ".ln_" in name:
                parameter.add_(torch.randn_like(parameter) * 0.2)
            parameter.copy_(parameter.bfloat16())
    model.save_pretrained(folder / "model")
    if family.published_as is not None:
        path = folder / "model" / "config.json"
        written = json.loads(path.read_text(encoding="utf-8"))
        written["architectures"] = [family.published_as]
        path.write_text(json.dumps(written), encoding="utf-8")
    for place in ("model", "tokenizer"):
        _tokenizer().save_pretrained(folder / place)


def load(folder: Path, *, dtype: torch.dtype = torch.float32) -> Any:
    """The bridge over what `save` wrote.

    Its tokenizer lies in a folder of its own: beside a model of Qwen 2, transformers puts another
    one in the place of a tokenizer of words.
    """
    bridge = boot(
        str(folder / "model"),
        dtype=dtype,
        device=torch.device("cpu"),
        tokenizer=transformers.AutoTokenizer.from_pretrained(folder / "tokenizer"),
    )
    if dtype == torch.float64:
        # The fast products of experts know no float64; models without experts take no notice.
        bridge.original_model.set_experts_implementation("eager")
    return bridge


def _tokenizer() -> Any:
    """Words `w1`, `w2`, ... one token each, and BOS."""
    vocabulary = {"<|endoftext|>": 0, **{f"w{number}": number for number in range(1, WORDS)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<|endoftext|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    end = "<|endoftext|>"
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=end, eos_token=end, pad_token=end
    )
