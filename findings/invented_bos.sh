#!/usr/bin/env bash
# A tokenizer that a bridge has had is saved with a BOS that it never had.
#
# Guess: loading a model through transformer_lens's bridge leaves the tokenizer that it was given, or
# at least what the tokenizer saves, as it was.
# Seen (transformer_lens 3.9.0, transformers 5.24.0; Qwen 3 with random weights): of a tokenizer with
# an EOS and no BOS, as Qwen's, the caller's own object gets the EOS for its BOS. `save_pretrained`
# writes that into the folder, and whoever loads the folder, without transformer_lens, has a
# tokenizer with a BOS. A tokenizer with neither gets a token behind the model's last embedding.
# Here: saecircuits/tasks/prepending.py asks the files that a tokenizer came from, and prepends
# nothing that they do not name.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
python="$work/env/bin/python"
cat > "$work/seen.py" <<'PY'
import sys
import tempfile
import warnings
from importlib.metadata import version

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformer_lens.model_bridge import TransformerBridge

warnings.simplefilter("ignore")
WORDS = {"<end>": 0, **{f"w{number}": number for number in range(1, 40)}}


def tokenizer(**special):
    raw = Tokenizer(models.WordLevel(WORDS, unk_token="<end>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=raw, **special)


def booted(own):
    torch.manual_seed(0)
    config = transformers.Qwen3Config(
        vocab_size=40, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, head_dim=8, max_position_embeddings=32)
    folder = tempfile.mkdtemp()
    transformers.Qwen3ForCausalLM(config).eval().save_pretrained(folder)
    own.save_pretrained(folder)
    TransformerBridge.boot_transformers(folder, device="cpu", tokenizer=own)
    again = tempfile.mkdtemp()
    own.save_pretrained(again)
    return transformers.AutoTokenizer.from_pretrained(again)


saved = booted(tokenizer(eos_token="<end>"))
bare = booted(tokenizer(pad_token="<end>"))
print(f"transformer_lens {version('transformer-lens')}, transformers {transformers.__version__}: "
      f"saved after the bridge, a tokenizer without BOS has {saved.bos_token!r}; one without BOS "
      f"and EOS has {bare.bos_token!r} with id {bare.bos_token_id} of a model of 40 tokens")
is_so = saved.bos_token == "<end>" and bare.bos_token_id is not None and bare.bos_token_id >= 40
sys.exit(0 if is_so else "this is no longer what was seen")
PY
export HF_HUB_OFFLINE=1
"$python" -m pip install -q torch==2.13.0 transformers==5.24.0 transformer-lens==3.9.0
"$python" "$work/seen.py"
