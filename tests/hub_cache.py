"""A cache of the Hugging Face hub as downloads leave it, with small stand-ins for what is there."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from sae_lens import SAE
from transformers import GPT2Config

from tests.models import WORDS, build_gpt2, build_tokenizer, random_sae

COMMIT = "0123456789" * 4


def cached(cache: Path, repository: str, write: Callable[[Path], None]) -> Path:
    """A repository in the cache; `write` puts its files into the folder that it is given."""
    root = cache / ("models--" + repository.replace("/", "--"))
    snapshot = root / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(COMMIT, encoding="utf-8")
    write(snapshot)
    return snapshot


@contextmanager
def hub_cache(cache: Path) -> Iterator[Path]:
    """Inside: the hub is this cache, and nothing else is in reach."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
        patched.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        yield cache


def write_gpt2(folder: Path, *, n_layer: int = 12, n_embd: int = 16) -> None:
    """A small model that calls itself GPT-2, with as many layers as the small one has."""
    torch.manual_seed(3)
    config = GPT2Config(
        vocab_size=WORDS, n_positions=19, n_embd=n_embd, n_layer=n_layer, n_head=2, n_inner=24,
        initializer_range=0.3, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    build_gpt2(config).eval().save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)


def small_sae(hook: str, *, seed: int, d_sae: int = 24, model: str = "gpt2-small") -> SAE:
    """A SAE whose settings say where it belongs."""
    return random_sae(
        "standard",
        seed=seed,
        d_in=16,
        d_sae=d_sae,
        dtype="float32",
        metadata={"hook_name": hook, "model_name": model, "prepend_bos": True},
    )
