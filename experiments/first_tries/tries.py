"""What a newcomer tries first: for each, what lies in the cache or the folder, and the command."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import transformers

from experiments.first_tries.stand_ins import (
    as_dictionary_learning,
    as_sae_lens,
    as_transcoder_set,
    cached,
    dictionary,
    seen,
    write_model,
)
from saecircuits.splicing.releases import registry

_JB, _SCOPE = "gpt2-small-res-jb", "gemma-scope-2b-pt-res-canonical"
_QWEN = "mwhanna-qwen3-0.6b-transcoders-lowl0"


@dataclass(frozen=True)
class Try:
    """A command, and what puts the stand-ins where it looks for them.

    Attributes:
        prepare: (cache of the hub, working folder, task): writes model and dictionaries.
        words: of the command, behind `saecircuits discover task.jsonl`.
    """

    name: str
    prepare: Callable[[Path, Path, Path], None]
    words: tuple[str, ...]


def _gpt2(cache: Path, here: Path, task: Path) -> None:
    places = [cached(cache, name) for name in ("gpt2", "openai-community/gpt2")]
    write_model(transformers.GPT2Config(), *places)
    hooks = [f"blocks.{layer}.hook_resid_pre" for layer in (3, 6, 9)]
    entry = registry()[_JB]
    there = cached(cache, entry.repo_id)
    for seed, (hook, x) in enumerate(seen(places[0], hooks, task).items()):
        weights = dictionary(x, x, 24_576, seed=seed)
        as_sae_lens(there / entry.saes_map[hook], weights, hook, "gpt2-small")


def _pythia(cache: Path, here: Path, task: Path) -> None:
    config = transformers.GPTNeoXConfig(
        vocab_size=50_304, hidden_size=512, num_hidden_layers=6, num_attention_heads=8,
        intermediate_size=2_048, max_position_embeddings=2_048,
    )  # fmt: skip
    place = cached(cache, "EleutherAI/pythia-70m-deduped")
    write_model(config, place)
    for layer in (1, 3, 4):
        hook = f"blocks.{layer}.hook_resid_post"
        x = seen(place, [hook], task)[hook]
        weights = dictionary(x, x, 32_768, seed=layer)
        folder = here / "dictionaries" / f"resid_out_layer{layer}"
        as_dictionary_learning(folder, weights, layer, "EleutherAI/pythia-70m-deduped")


def _gemma(cache: Path, here: Path, task: Path) -> None:
    config = transformers.Gemma2Config(
        vocab_size=256_000, hidden_size=2_304, intermediate_size=9_216, num_hidden_layers=26,
        num_attention_heads=8, num_key_value_heads=4, head_dim=256, query_pre_attn_scalar=256,
    )  # fmt: skip
    place = cached(cache, "google/gemma-2-2b")
    write_model(config, place, dtype=torch.bfloat16)
    entry = registry()[_SCOPE]
    there = cached(cache, entry.repo_id)
    hooks = [f"blocks.{layer}.hook_resid_post" for layer in (6, 13, 19)]
    for hook, x in seen(place, hooks, task, dtype=torch.bfloat16).items():
        layer = int(hook.split(".")[1])
        weights = dictionary(x, x, 16_384, seed=layer)
        folder = there / entry.saes_map[f"layer_{layer}/width_16k/canonical"]
        folder.mkdir(parents=True)
        arrays: dict[str, Any] = {name: value.numpy() for name, value in weights.items()}
        arrays["threshold"] = np.zeros(16_384, np.float32)
        np.savez(folder / "params.npz", **arrays)


def _qwen(cache: Path, here: Path, task: Path) -> None:
    config = transformers.Qwen3Config(
        vocab_size=151_936, hidden_size=1_024, intermediate_size=3_072, num_hidden_layers=28,
        num_attention_heads=16, num_key_value_heads=8, head_dim=128, tie_word_embeddings=True,
    )  # fmt: skip
    place = cached(cache, "Qwen/Qwen3-0.6B")
    write_model(config, place)
    there = cached(cache, registry()[_QWEN].repo_id)
    width = 32_768
    (there / "config.yaml").write_text("model_name: Qwen/Qwen3-0.6B\n", encoding="utf-8")
    settings = {"d_model": 1_024, "d_feature": width, "batch_size": 4_096}
    text = "".join(f"{name}:\n  value: {value}\n" for name, value in settings.items())
    (there / "wandb-config.yaml").write_text(text, encoding="utf-8")
    for layer in (7, 14, 21):
        hooks = [f"blocks.{layer}.mlp.hook_in", f"blocks.{layer}.hook_mlp_out"]
        read, write = seen(place, hooks, task).values()
        as_transcoder_set(there, layer, dictionary(read, write, width, seed=layer))


def _own(cache: Path, here: Path, task: Path) -> None:
    config = transformers.LlamaConfig(
        vocab_size=49_152, hidden_size=576, intermediate_size=1_536, num_hidden_layers=30,
        num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True,
    )  # fmt: skip
    write_model(config, here / "my-model")
    hooks = [f"blocks.{layer}.hook_resid_post" for layer in (4, 14, 24)]
    for seed, (hook, x) in enumerate(seen(here / "my-model", hooks, task).items()):
        as_sae_lens(here / "my-saes" / hook, dictionary(x, x, 4_608, seed=seed), hook, "my-model")


TRIES: Final = (
    Try("gpt2", _gpt2, ("--model", "gpt2", "--dictionaries", _JB)),
    Try(
        "pythia-70m",
        _pythia,
        ("--model", "EleutherAI/pythia-70m-deduped", "--dictionaries", "./dictionaries"),
    ),
    Try("qwen3-0.6b", _qwen, ("--model", "Qwen/Qwen3-0.6B", "--dictionaries", _QWEN)),
    Try("own", _own, ("--model", "./my-model", "--dictionaries", "./my-saes")),
    Try(
        "gemma-2-2b",
        _gemma,
        ("--model", "google/gemma-2-2b", "--dictionaries", _SCOPE, "--dtype", "bfloat16"),
    ),
)
