#!/usr/bin/env bash
# Cached decoding through transformer_lens's bridge after transformers renamed its cache.
#
# Guess: a model that generates through the bridge with transformers 5.23.0 generates the same with
# 5.24.0; at worst the new name of an argument is an error or a warning about a wrong call.
# Seen (transformer_lens 3.9.0, GPT-2 and Llama with random weights, CPU): with 5.23.0 cached and
# uncached logits agree to rounding. With 5.24.0 attention layers are handed `cache` and no longer
# `past_key_values`; the bridge's attention looks for the old name, finds nothing and attends to the
# newest token alone. Logits are off by more than 0.1, `generate` writes another text, nothing is
# raised. Here: saecircuits/splicing/remembering.py gives the cache under both names.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
python="$work/env/bin/python"
cat > "$work/seen.py" <<'PY'
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
builders = {
    "GPT-2": lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(
        **ends, n_positions=32, n_embd=16, n_layer=2, n_head=2, initializer_range=0.4)),
    "Llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(
        **ends, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=32, initializer_range=0.4)),
}
expected_wrong = sys.argv[1] == "wrong"
failed = False
for name, build in builders.items():
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        build().eval().save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        bridge = TransformerBridge.boot_transformers(folder, device="cpu")
    tokens = torch.randint(1, 40, (2, 12))
    with torch.no_grad():
        _, past = bridge(tokens[:, :8], return_type="logits_and_cache", use_cache=True)
        cached, _ = bridge(
            tokens[:, 8:9], return_type="logits_and_cache", use_cache=True, past_key_values=past
        )
        whole = bridge(tokens[:, :9])
    gap = float((cached[:, -1] - whole[:, -1]).abs().max())
    print(f"transformers {transformers.__version__}, {name}: cached and whole logits differ by {gap:.3g}")
    failed |= (gap > 0.1) != expected_wrong or (not expected_wrong and gap > 1e-4)
sys.exit("this is no longer what was seen" if failed else 0)
PY
export HF_HUB_OFFLINE=1
"$python" -m pip install -q torch==2.13.0 transformers==5.23.0 transformer-lens==3.9.0
"$python" "$work/seen.py" right
"$python" -m pip install -q transformers==5.24.0
"$python" "$work/seen.py" wrong
