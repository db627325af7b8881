"""Bridges over models from a folder, a hub, or random; what fails is refused in one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import torch

from saecircuits.errors import ModelError, SaecircuitsError
from saecircuits.splicing.checkpoints import WholeCheckpoint
from saecircuits.splicing.declared import official_name
from saecircuits.splicing.devices import read_place
from saecircuits.splicing.modalities import check_text_alone
from saecircuits.torch_state import in_own_state


def boot(name: str, *, dtype: torch.dtype, device: torch.device, **given: Any) -> Any:
    """The bridge over a model.

    Args:
        name: an absolute folder, or a hub model's name: transformer_lens takes a relative folder
            that is called like a hub model for that.
        given: what transformer_lens's `boot_transformers` takes beside.

    Raises:
        ModelError: the model cannot be loaded, lacks weights, or reads more than text.
    """
    hint = "; give a shipped name, a folder, or a hub model that is cached or in reach"
    if "hf_model" not in given:
        given["model_class"] = WholeCheckpoint()
    with quiet(), refused(f"model {name!r} cannot be loaded", hint):
        if "hf_model" not in given:
            check_text_alone(official_name(name) or name)
        from transformer_lens.model_bridge import TransformerBridge

        return TransformerBridge.boot_transformers(name, device=device, dtype=dtype, **given)


@in_own_state
def random_bridge(
    config: Any,
    tokenizer: Any,
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> Any:
    """A bridge over a model with random weights; nothing is downloaded.

    Args:
        config: of Hugging Face; its initialisation is the model's, drawn by torch's generator in
            float32 on the CPU, so that one seed draws the same for every device.
        tokenizer: of Hugging Face.
    """
    where, kind = read_place(device, dtype)
    import transformers

    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    model.config.architectures = [type(model).__name__]
    with TemporaryDirectory() as folder:
        # The bridge reads settings and tokenizer from a folder, though the model is there.
        model.config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        placed = model.eval().to(device=where, dtype=kind)
        return boot(folder, dtype=kind, device=where, hf_model=placed)


@contextmanager
def refused(
    what: str, hint: str = "; its files are broken or do not fit together"
) -> Iterator[None]:
    """Any failure inside as a ModelError: libraries report broken files in every way there is."""
    try:
        yield
    except SaecircuitsError:
        raise
    except Exception as error:
        reason = (str(error).strip() or "no reason").splitlines()[0]
        raise ModelError(f"{what} ({type(error).__name__}: {reason}){hint}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Loading bars of the libraries below off, for the time of loading only."""
    import transformers

    had_bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        if had_bars:
            transformers.utils.logging.enable_progress_bar()
