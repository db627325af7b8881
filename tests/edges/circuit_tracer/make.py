"""Makes the graphs beside this file with circuit-tracer, in an environment of its own (README.md).

    python make.py FOLDER

writes `gpt2` and `llama` into FOLDER: a random model as transformers saves it, a random cross-layer
transcoder as circuit-tracer saves it, and circuit-tracer's graph of one prompt.
"""

# Of other libraries, and other versions, than those that types are checked with.
# pyright: reportMissingImports=false, reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportPrivateImportUsage=false

import sys
from pathlib import Path

import torch
import transformers
from circuit_tracer import attribute
from circuit_tracer.replacement_model.replacement_model_transformerlens import (
    TransformerLensReplacementModel,
)
from circuit_tracer.transcoder.cross_layer_transcoder import CrossLayerTranscoder
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformer_lens import HookedTransformerConfig
from transformer_lens.pretrained.weight_conversions import (
    convert_gpt2_weights,
    convert_llama_weights,
)

WORDS, FEATURES = 23, 19
PROMPT, ANSWERS = [0, 5, 7, 2, 11, 3], [4, 13]
_ENDS = {"vocab_size": WORDS, "bos_token_id": 0, "eos_token_id": 0}


def build_tokenizer():
    """Words `w1`, `w2`, ... one token each, and BOS."""
    words = {"<|endoftext|>": 0, **{f"w{number}": number for number in range(1, WORDS)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<|endoftext|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    end = "<|endoftext|>"
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=end, eos_token=end, pad_token=end
    )


def build_gpt2():
    """A random GPT-2, the configuration of the same for TransformerLens, and its weights."""
    config = transformers.GPT2Config(
        **_ENDS, n_positions=19, n_embd=14, n_layer=3, n_head=2, n_inner=31, initializer_range=0.35
    )
    model = transformers.GPT2LMHeadModel(config)
    return model, convert_gpt2_weights, {
        "n_layers": 3, "d_model": 14, "n_heads": 2, "d_head": 7, "d_mlp": 31,
        "act_fn": "gelu_new", "normalization_type": "LN", "eps": config.layer_norm_epsilon,
    }  # fmt: skip


def build_llama():
    """A random Llama likewise: rotary positions, RMSNorm, gated MLP, grouped queries."""
    config = transformers.LlamaConfig(
        **_ENDS, hidden_size=20, intermediate_size=31, num_hidden_layers=3, head_dim=6,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=19,
        initializer_range=0.35, tie_word_embeddings=False,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config)
    return model, convert_llama_weights, {
        "n_layers": 3, "d_model": 20, "n_heads": 4, "d_head": 6, "d_mlp": 31, "act_fn": "silu",
        "normalization_type": "RMS", "eps": config.rms_norm_eps, "gated_mlp": True,
        "n_key_value_heads": 2, "positional_embedding_type": "rotary", "rotary_dim": 6,
        "rotary_base": 10000, "rotary_adjacent_pairs": False, "final_rms": True,
    }  # fmt: skip


def random_transcoder(n_layers: int, d_model: int) -> CrossLayerTranscoder:
    """Random weights, about a third of the features active."""
    found = CrossLayerTranscoder(
        n_layers, FEATURES, d_model, activation_function="jump_relu", lazy_decoder=False,
        feature_input_hook="hook_resid_mid", device=torch.device("cpu"), dtype=torch.float32,
    )  # fmt: skip
    with torch.no_grad():
        for name, weights in found.named_parameters():
            size = d_model**-0.5 if name.startswith("W_") else 0.2
            weights.normal_(0, size)
            if name.endswith("threshold"):
                weights.abs_()
    return found


def make(folder: Path, build) -> None:
    """One model, its transcoder and the graph."""
    torch.manual_seed(5)
    model, convert, settings = build()
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if name.endswith("bias"):
                weights.normal_(0, 0.1)
            elif "norm" in name or ".ln_" in name:
                weights.add_(torch.randn_like(weights) * 0.2)
    model.eval().save_pretrained(folder / "model")
    transcoder = random_transcoder(settings["n_layers"], settings["d_model"])
    transcoder.to_safetensors(str(folder / "transcoder"))
    config = HookedTransformerConfig(
        **settings, n_ctx=19, d_vocab=WORDS, device="cpu", dtype=torch.float32
    )
    replaced = TransformerLensReplacementModel(config)
    replaced.tokenizer = build_tokenizer()
    weights = convert(model, config)
    replaced.load_and_process_state_dict(
        weights, fold_ln=False, center_writing_weights=False, center_unembed=False,
        fold_value_biases=False,
    )  # fmt: skip
    tokens = torch.tensor(PROMPT)
    with torch.no_grad():
        off = (model(tokens[None]).logits - replaced(tokens[None])).abs().max()
    assert off < 1e-4, f"the converted model is another one: its logits are off by {off}"
    replaced._configure_replacement_model(transcoder)
    graph = attribute(tokens, replaced, attribution_targets=torch.tensor(ANSWERS))
    rows = graph.adjacency_matrix
    save_file(
        {
            "tokens": graph.input_tokens,
            "answers": graph.logit_token_ids,
            "active_features": graph.active_features.contiguous(),
            "activation_values": graph.activation_values,
            # Rows of errors and tokens are empty.
            "adjacency": torch.cat([rows[: len(graph.active_features)], rows[-len(ANSWERS) :]]),
        },
        folder / "graph.safetensors",
    )
    (folder / "transcoder" / "config.yaml").write_text(
        "model_kind: cross_layer_transcoder\nfeature_input_hook: hook_resid_mid\n"
        "feature_output_hook: hook_mlp_out\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    for name, build in (("gpt2", build_gpt2), ("llama", build_llama)):
        make(Path(sys.argv[1]) / name, build)
