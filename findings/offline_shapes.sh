#!/usr/bin/env bash
# A dictionary of Gemma Scope 2 that is wholly in the cache cannot be loaded without a network.
#
# Guess: what the hub's cache holds loads with HF_HUB_OFFLINE=1, as other releases do.
# Seen (sae_lens 6.54.12, huggingface_hub 2.4.0): settings and weights come from the cache, and the
# shapes of the weights are asked of huggingface.co all the same, by a plain request that no offline
# setting stops; the load ends in its ConnectionError. A release in sae_lens's own layout makes no
# request. Here: saecircuits/splicing/releases.py reads these releases from the cached file itself.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
python="$work/env/bin/python"
cat > "$work/seen.py" <<'PY'
import json
import os
import sys
import tempfile
from pathlib import Path

cache = Path(tempfile.mkdtemp())
os.environ |= {"HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}

import requests
import sae_lens
import torch
from sae_lens import SAE
from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory
from safetensors.torch import save_file

asked = []


def no_network(self, method, url, **given):
    asked.append(url.split("?")[0])
    raise requests.ConnectionError("no network here")


requests.sessions.Session.request = no_network
commit = "0" * 40


def folder_of(release, sae_id):
    entry = get_pretrained_saes_directory()[release]
    root = cache / ("models--" + entry.repo_id.replace("/", "--"))
    place = root / "snapshots" / commit / entry.saes_map[sae_id]
    place.mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(commit)
    return place


scope = ("gemma-scope-2-270m-pt-res", "layer_9_width_16k_l0_small")
place = folder_of(*scope)
weights = {"w_enc": torch.rand(16, 24), "w_dec": torch.rand(24, 16), "b_enc": torch.rand(24),
           "b_dec": torch.rand(16), "threshold": torch.rand(24)}
save_file(weights, place / "params.safetensors")
(place / "config.json").write_text(json.dumps({
    "architecture": "jump_relu", "model_name": "gemma-v3-270m-pt",
    "hf_hook_point_in": "model.layers.9.output"}))
own = ("gpt2-small-res-jb", "blocks.8.hook_resid_pre")
SAE.from_dict({
    "architecture": "standard", "d_in": 16, "d_sae": 24, "dtype": "float32", "device": "cpu",
    "apply_b_dec_to_input": True, "normalize_activations": "none",
    "metadata": {"hook_name": "blocks.8.hook_resid_pre"}}).save_model(folder_of(*own))
SAE.from_pretrained(*own, device="cpu")
before = list(asked)
try:
    SAE.from_pretrained(*scope, device="cpu")
    ended = "loaded"
except requests.ConnectionError:
    ended = "ConnectionError"
print(f"sae_lens {sae_lens.__version__}: {own[0]} made {len(before)} requests; {scope[0]} ended in "
      f"{ended} after asking {sorted(set(asked))}")
sys.exit(0 if not before and ended == "ConnectionError" else "this is no longer what was seen")
PY
"$python" -m pip install -q torch==2.13.0 transformers==5.24.0 transformer-lens==3.9.0 \
  sae-lens==6.54.12 huggingface-hub==2.4.0
"$python" "$work/seen.py"
