"""A random model of the shipped model's shape that takes long prompts, and one such pair."""

from pathlib import Path

import torch
from transformer_lens.model_bridge import TransformerBridge
from transformers import GPT2Config

from saecircuits.splicing import Dictionary, SplicedModel, splice
from saecircuits.tasks import PromptPair, Prompts, tokenize
from tests.models import build_gpt2, build_tokenizer

WORDS = 211


def build_long(
    folder: Path, *, n_pos: int, d_sae: int = 512, active: int = 20
) -> tuple[SplicedModel, Prompts]:
    """Four layers of 128 in float32, TopK dictionaries on the stream, prompts of `n_pos` tokens."""
    torch.manual_seed(3)
    config = GPT2Config(
        vocab_size=WORDS,
        n_positions=n_pos,
        n_embd=128,
        n_layer=4,
        n_head=4,
        bos_token_id=0,
        eos_token_id=0,
    )
    build_gpt2(config).eval().save_pretrained(folder)
    build_tokenizer(WORDS).save_pretrained(folder)
    bridge = TransformerBridge.boot_transformers(str(folder), device="cpu", dtype=torch.float32)
    dictionaries = {}
    for layer in range(4):
        rows = torch.nn.functional.normalize(torch.randn(d_sae, 128), dim=1)
        dictionaries[f"blocks.{layer}.hook_resid_post"] = Dictionary(
            kind="topk",
            W_enc=rows.T.contiguous(),
            b_enc=torch.zeros(d_sae),
            W_dec=rows,
            b_dec=torch.zeros(128),
            shift=torch.zeros(128),
            k=active,
        )
    words = [f"w{1 + (7 * number) % (WORDS - 2)}" for number in range(n_pos - 1)]
    pair = PromptPair(
        clean=" ".join(words),
        corrupted=" ".join([f"w{WORDS - 1}", *words[1:]]),
        answer=("w1",),
        wrong=("w2",),
        id="long",
    )
    model = splice(bridge, dictionaries, name="long")
    return model, tokenize([pair], bridge.tokenizer, n_ctx=n_pos)
