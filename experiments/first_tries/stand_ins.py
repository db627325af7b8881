"""Stand-ins of real shape for what people have: models, dictionaries, and a hub's cache of both.

Weights are random, sizes and files are those of the real thing. Dictionaries are made to describe
the random model a little: directions are drawn, each feature is on where its direction is strongest
(about `ACTIVE` of them at a token), and one number makes the reconstruction the best of its kind.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
import transformers
from sae_lens import SAE
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

ACTIVE: Final = 60
COMMIT: Final = "0123456789" * 4
NAMES: Final = ("Mary", "John", "Anna", "Tom", "Lucy", "Paul", "Rose", "Jack")
_WORDS: Final = (*NAMES, *["When", "and", "went", "to", "the", "store", "gave", "a", "drink"])
_Tensors = Mapping[str, Tensor]


def cached(cache: Path, repository: str) -> Path:
    """The folder of a repository's present commit in a cache, as a download would have made it."""
    root = cache / f"models--{repository.replace('/', '--')}"
    snapshot = root / "snapshots" / COMMIT
    snapshot.mkdir(parents=True, exist_ok=True)
    (root / "refs").mkdir(exist_ok=True)
    (root / "refs" / "main").write_text(COMMIT, encoding="utf-8")
    return snapshot


def write_model(config: Any, *folders: Path, dtype: torch.dtype = torch.float32) -> None:
    """A random model of this configuration, with a tokenizer of a few words, in every folder."""
    torch.manual_seed(0)
    # A token for padding would have no embedding, and it is token 0 that begins every prompt here.
    config.pad_token_id = None
    with torch.device("cpu"):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)
    vocabulary = {"<|endoftext|>": 0} | {word: n for n, word in enumerate(_WORDS, 1)}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<|endoftext|>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<|endoftext|>", eos_token="<|endoftext|>"
    )
    for folder in folders:
        model.eval().save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def write_task(path: Path) -> None:
    """Pairs of the indirect object: who is given the drink is who did not give it."""
    rows = []
    for number in range(16):
        first, second = NAMES[number % 8], NAMES[(number + 1 + number // 8) % 8]
        text = f"When {first} and {second} went to the store {{}} gave a drink to"
        rows.append(
            {
                "clean": text.format(second), "corrupted": text.format(first),
                "answer": first, "wrong": second,
                "spans": {"giver": [9, 10], "end": [13, 14]},
            }
        )  # fmt: skip
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


def seen(
    folder: Path, hooks: list[str], task: Path, *, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """What a model has at some hook points, on all tokens of the task but the first."""
    bridge = TransformerBridge.boot_transformers(str(folder), device="cpu", dtype=dtype)
    texts = [json.loads(line)["clean"] for line in task.read_text(encoding="utf-8").splitlines()]
    tokens = torch.tensor([bridge.tokenizer.encode(text) for text in texts])
    found: dict[str, Tensor] = {}

    def keep(tensor: Tensor, hook: Any) -> None:
        found[hook.name] = tensor.detach()[:, 1:].flatten(0, 1).float()

    names = {hook: str(bridge.hook_dict[hook].name) for hook in hooks}
    with torch.no_grad(), bridge.hooks(fwd_hooks=[(name, keep) for name in set(names.values())]):
        bridge(tokens)
    return {hook: found[name] for hook, name in names.items()}


def dictionary(read: Tensor, write: Tensor, d_sae: int, *, seed: int) -> dict[str, Tensor]:
    """A ReLU dictionary: `W_enc [d_in, d_sae]`, `b_enc`, `W_dec [d_sae, d_out]`, `b_dec`."""
    generator = torch.Generator().manual_seed(seed)
    centre, mean = read.mean(0), write.mean(0)
    W_enc = torch.randn(read.shape[1], d_sae, generator=generator)
    W_enc /= W_enc.norm(dim=0)
    pre = (read - centre) @ W_enc
    least = pre.topk(min(ACTIVE, d_sae), dim=-1).values[:, -1].median()
    acts = torch.relu(pre - least)
    if read is write:
        W_dec = W_enc.T.contiguous()
    else:  # of a transcoder: what the MLP gives where a feature is on
        given = acts.T @ (write - mean)
        W_dec = given / given.norm(dim=1, keepdim=True).clamp(min=1e-6)
    guess = acts @ W_dec
    factor = float(((write - mean) * guess).sum() / guess.square().sum())
    return {
        "W_enc": W_enc.contiguous(), "b_enc": -least.repeat(d_sae) - centre @ W_enc,
        "W_dec": factor * W_dec, "b_dec": mean,
    }  # fmt: skip


def as_sae_lens(folder: Path, weights: _Tensors, hook: str, model: str) -> None:
    """sae_lens's folder of a standard SAE."""
    d_in, d_sae = weights["W_enc"].shape
    settings = {
        "architecture": "standard", "d_in": d_in, "d_sae": d_sae, "dtype": "float32",
        "device": "cpu", "apply_b_dec_to_input": False, "normalize_activations": "none",
        "metadata": {"hook_name": hook, "model_name": model, "prepend_bos": True},
    }  # fmt: skip
    sae = SAE.from_dict(settings)
    sae.load_state_dict(dict(weights))
    sae.save_model(folder)


def as_dictionary_learning(folder: Path, weights: _Tensors, layer: int, model: str) -> None:
    """dictionary_learning's folder of an AutoEncoder on the stream behind a layer."""
    folder.mkdir(parents=True, exist_ok=True)
    d_in, d_sae = weights["W_enc"].shape
    # It takes its decoder's bias off what it encodes.
    b_enc = weights["b_enc"] + weights["b_dec"] @ weights["W_enc"]
    named = {
        "encoder.weight": weights["W_enc"].T.contiguous(), "encoder.bias": b_enc,
        "decoder.weight": weights["W_dec"].T.contiguous(), "bias": weights["b_dec"],
    }  # fmt: skip
    torch.save(named, folder / "ae.pt")
    trainer = {
        "dict_class": "AutoEncoder", "activation_dim": d_in, "dict_size": d_sae, "layer": layer,
        "lm_name": model, "submodule_name": f"resid_post_layer_{layer}",
    }  # fmt: skip
    settings = {"trainer": trainer, "buffer": {"ctx_len": 128, "io": "out"}}
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")


def as_transcoder_set(folder: Path, layer: int, weights: _Tensors) -> None:
    """A layer of a set as circuit-tracer reads it and mwhanna publishes it."""
    named = {
        "W_enc": weights["W_enc"].T.contiguous(), "b_enc": weights["b_enc"],
        "W_dec": weights["W_dec"].contiguous(), "b_dec": weights["b_dec"],
    }  # fmt: skip
    save_file(named, folder / f"layer_{layer}.safetensors")
