#!/usr/bin/env bash
# Cached decoding of ALiBi models through transformer_lens's bridge.
#
# Guess: a bridge that decodes BLOOM rightly with a cache decodes MPT and Falcon with ALiBi rightly
# too, since Hugging Face's own models do.
# Seen (transformer_lens 3.9.0, transformers 5.23.0, random weights, CPU): BLOOM, and Falcon with
# rotary positions, agree with the whole run to rounding; MPT and Falcon with ALiBi do not: the
# bridge's attention for them never reads the cache that it is handed, so each new token sees itself
# alone. Nothing is raised. Here: saecircuits/splicing/generation.py compares the last step of a
# cached text with a whole run, and samples without a cache where they would draw differently.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
python="$work/env/bin/python"
export HF_HUB_OFFLINE=1
"$python" -m pip install -q torch==2.13.0 transformers==5.23.0 transformer-lens==3.9.0
"$python" - <<'PY'
import sys
import tempfile
import warnings

import torch
import transformers
from tokenizers import Tokenizer, models
from transformer_lens.model_bridge import TransformerBridge

warnings.simplefilter("ignore")
words = {"<end>": 0, **{f"w{n}": n for n in range(1, 40)}}
tokenizer = transformers.PreTrainedTokenizerFast(
    tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="<end>")),
    bos_token="<end>", eos_token="<end>",
)
ends = {"vocab_size": 40, "bos_token_id": 0, "eos_token_id": 0}
sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}


def falcon(alibi):
    return transformers.FalconForCausalLM(transformers.FalconConfig(**ends, **sizes, alibi=alibi))


builders = {
    "BLOOM": (lambda: transformers.BloomForCausalLM(transformers.BloomConfig(
        **ends, hidden_size=24, n_layer=2, n_head=2)), False),
    "Falcon, rotary": (lambda: falcon(False), False),
    "Falcon, ALiBi": (lambda: falcon(True), True),
    "MPT": (lambda: transformers.MptForCausalLM(transformers.MptConfig(
        **ends, d_model=24, n_layers=2, n_heads=2, max_seq_len=32)), True),
}


def step(model, tokens, **named):
    """Logits of the ninth token, eight of them remembered, and of the whole run."""
    with torch.no_grad():
        past = model(tokens[:, :8], use_cache=True, **named)
        past = past[1] if isinstance(past, tuple) else past.past_key_values
        last = model(tokens[:, 8:9], use_cache=True, past_key_values=past, **named)
        whole = model(tokens[:, :9])
    last, whole = (
        out[0] if isinstance(out, tuple) else getattr(out, "logits", out) for out in (last, whole)
    )
    return float((last[:, -1] - whole[:, -1]).abs().max())


failed = False
for name, (build, is_wrong) in builders.items():
    torch.manual_seed(0)
    model = build().eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape) * 0.3)
    tokens = torch.randint(1, 40, (2, 12))
    alone = step(model, tokens)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        bridge = TransformerBridge.boot_transformers(folder, device="cpu")
    bridged = step(bridge, tokens, return_type="logits_and_cache")
    print(f"{name}: cached and whole logits differ by {alone:.2g} in Hugging Face's model, "
          f"by {bridged:.2g} through the bridge")
    failed |= alone > 1e-3 or (bridged > 1e-2) != is_wrong
sys.exit("this is no longer what was seen" if failed else 0)
PY
