"""Models in GGUF files: converted once, and the model that was written."""

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from saecircuits.errors import InputError, MissingExtraError, ModelError
from saecircuits.splicing import gguf as reading
from saecircuits.splicing.loading import load_model
from tests.hub_cache import small_sae

LAYERS, HEADS, KEY_HEADS, D_HEAD, D_MODEL, D_MLP, WORDS = 2, 4, 2, 4, 16, 24, 31


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAECIRCUITS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "gguf"


@pytest.fixture
def saes(tmp_path: Path) -> Path:
    hook = "blocks.0.hook_resid_post"
    small_sae(hook, seed=1, model="llama").save_model(tmp_path / "saes")
    return tmp_path / "saes"


def _llama() -> LlamaForCausalLM:
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


def _write(path: Path, model: LlamaForCausalLM) -> None:
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


def test_the_model_of_the_file_is_loaded_and_converted_once(
    tmp_path: Path, saes: Path, cache: Path
) -> None:
    written = _llama()
    _write(tmp_path / "small.gguf", written)
    model = load_model(tmp_path / "small.gguf", dictionaries=saes)
    assert model.name == "small"
    tokens = torch.arange(1, 8)[None]
    with torch.no_grad():
        torch.testing.assert_close(model.forward(tokens), written(tokens).logits)
    (place,) = cache.iterdir()  # and nothing half-made beside it
    made = (place / "model.safetensors").stat().st_mtime_ns
    again = load_model(tmp_path / "small.gguf", dictionaries=saes)
    assert again.describe()["model_digest"] == model.describe()["model_digest"]
    assert (place / "model.safetensors").stat().st_mtime_ns == made


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no GGUF file"),
        (b"PK\x03\x04", "is no GGUF file: it begins with"),
        (b"GGUF" + bytes(20), "cannot be converted"),
    ],
)
def test_what_is_no_gguf_file_is_refused(
    tmp_path: Path, saes: Path, cache: Path, content: bytes, message: str
) -> None:
    (tmp_path / "broken.gguf").write_bytes(content)
    with pytest.raises(ModelError, match=message):
        load_model(tmp_path / "broken.gguf", dictionaries=saes)
    assert not cache.is_dir() or not list(cache.iterdir())


def test_a_truncated_file_leaves_nothing_behind(tmp_path: Path, saes: Path, cache: Path) -> None:
    _write(tmp_path / "small.gguf", _llama())
    whole = (tmp_path / "small.gguf").read_bytes()
    (tmp_path / "small.gguf").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"small.gguf cannot be converted"):
        load_model(tmp_path / "small.gguf", dictionaries=saes)
    assert not list(cache.iterdir())


def test_a_file_that_is_not_there(tmp_path: Path, saes: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        load_model(tmp_path / "none.gguf", dictionaries=saes)


def test_without_dictionaries_nothing_is_converted(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "small.gguf").write_bytes(b"GGUF")
    with pytest.raises(InputError, match="is a model without dictionaries"):
        load_model(tmp_path / "small.gguf")
    assert not cache.is_dir()


def test_the_package_is_named_where_it_is_missing(
    tmp_path: Path, saes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "small.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(reading, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'saecircuits\[gguf\]'"):
        load_model(tmp_path / "small.gguf", dictionaries=saes)
