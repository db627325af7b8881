"""A random Llama, and the GGUF file of it, as llama.cpp would write it."""

from pathlib import Path

import gguf
import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

LAYERS, HEADS, KEY_HEADS, D_HEAD, D_MODEL, D_MLP, WORDS = 2, 4, 2, 4, 16, 24, 31


def small_llama() -> LlamaForCausalLM:
    torch.manual_seed(4)
    config = LlamaConfig(
        vocab_size=WORDS, hidden_size=D_MODEL, intermediate_size=D_MLP, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=KEY_HEADS, head_dim=D_HEAD,
        max_position_embeddings=29, initializer_range=0.3, tie_word_embeddings=False,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def _interleaved(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of a head in llama.cpp's order, where the two halves of a rotary pair are neighbours."""
    return weight.unflatten(0, (heads, 2, D_HEAD // 2)).transpose(1, 2).flatten(0, 2)


def write_gguf(path: Path, model: LlamaForCausalLM) -> None:
    """The model as llama.cpp's format has it: names, order of rows, and a tokenizer of bytes."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(29)
    writer.add_embedding_length(D_MODEL)
    writer.add_feed_forward_length(D_MLP)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_key_length(D_HEAD)
    writer.add_rope_dimension_count(D_HEAD)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(WORDS)
    words = ["<s>", *(chr(ord("a") + number) for number in range(26)), "ab", "cd", "ef", "gh"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(words)
    writer.add_token_types([gguf.TokenType.CONTROL, *[gguf.TokenType.NORMAL] * (WORDS - 1)])
    writer.add_token_merges(["a b", "c d", "e f", "g h"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    names = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    parts = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }  # fmt: skip
    for layer in range(LAYERS):
        for ours, theirs in parts.items():
            names[f"model.layers.{layer}.{ours}"] = f"blk.{layer}.{theirs}"
    for name, weight in model.state_dict().items():
        stem = name.removesuffix(".weight")
        for part, heads in (("q_proj", HEADS), ("k_proj", KEY_HEADS)):
            if stem.endswith(part):
                weight = _interleaved(weight, heads)
        writer.add_tensor(f"{names[stem]}.weight", weight.float().numpy().astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
