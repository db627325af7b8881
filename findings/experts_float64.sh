#!/usr/bin/env bash
# A mixture-of-experts model in float64.
#
# Guess: every model of transformers runs in float64 on a CPU; the gradient checks and identities
# that want float64 then hold for mixtures of experts as they do for Llama.
# Seen (transformers 5.24.0, torch 2.13.0, CPU): Llama runs; Mixtral and Qwen 2 MoE raise a
# RuntimeError at the first expert, because experts are computed by torch's grouped matrix product,
# which takes float32, bfloat16 and float16 alone. With `experts_implementation="eager"` or
# "batched_mm" the same weights run, and agree with each other. Here: a model that does not run in
# a dtype is refused when it is loaded, with the reason (saecircuits/splicing/reproduction.py).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
python="$work/env/bin/python"
export HF_HUB_OFFLINE=1
"$python" -m pip install -q torch==2.13.0 transformers==5.24.0
"$python" - <<'PY'
import sys

import torch
import transformers

sizes = {
    "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 2, "intermediate_size": 24, "max_position_embeddings": 32,
    "bos_token_id": 0, "eos_token_id": 0,
}
qwen = {
    "num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 8,
    "shared_expert_intermediate_size": 8,
}
configs = {
    "Llama": lambda: transformers.LlamaConfig(**sizes),
    "Mixtral": lambda: transformers.MixtralConfig(**sizes, num_local_experts=3),
    "Qwen 2 MoE": lambda: transformers.Qwen2MoeConfig(**sizes, **qwen),
}
tokens = torch.arange(6)[None]


def logits(config, experts):
    torch.manual_seed(0)
    named = {} if experts is None else {"experts_implementation": experts}
    model = transformers.AutoModelForCausalLM.from_config(config, **named).double().eval()
    try:
        with torch.no_grad():
            return model(tokens).logits
    except RuntimeError as error:
        return str(error)


failed = False
for name, config in configs.items():
    found = logits(config(), None)
    print(f"{name} in float64:", found if isinstance(found, str) else f"{found.dtype}")
    failed |= isinstance(found, str) == (name == "Llama")
    if name == "Llama":
        continue
    eager, batched = logits(config(), "eager"), logits(config(), "batched_mm")
    if isinstance(eager, str) or isinstance(batched, str):
        print("  other experts do not run either:", eager, batched)
        failed = True
        continue
    gap = float((eager - batched).abs().max())
    print(f"  eager and batched_mm run, and differ by {gap:.1g}")
    failed |= gap > 1e-12
sys.exit("this is no longer what was seen" if failed else 0)
PY
