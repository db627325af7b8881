"""Models that also see or hear are refused by their configuration, before anything is loaded.

transformer_lens installs a package by itself (torchvision, by pip) where the processor of such a
model cannot be had, so its bridge must not be asked for one.
"""

from pathlib import Path
from typing import Any, Final

import torch

from saecircuits.errors import ModelError
from saecircuits.splicing.checkpoints import WholeCheckpoint

# How the parts of a configuration are called that are not of text.
_OTHERS: Final = ("vision", "audio", "speech", "image", "video")


def check_text_alone(name: str) -> None:
    """Refuses a folder or hub name whose model reads more than text.

    Raises:
        ModelError: naming what it has beside its language model, and how to have that alone.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(name)
    others = [part for part in config.sub_configs if part.startswith(_OTHERS)]
    if not others:
        return
    kind = ", ".join(config.architectures or [config.model_type])
    alone = _language_model(config)
    way = (
        f"save its language model by itself, as {alone}, by "
        "saecircuits.splicing.modalities.save_language_model(model, folder), and give that folder"
        if alone
        else "give a model of text alone"
    )
    raise ModelError(
        f"model {name!r} ({kind}) reads more than text: its configuration has "
        f"{', '.join(others)}; {way}"
    )


@torch.no_grad()
def save_language_model(name: str | Path, folder: str | Path) -> None:
    """Saves the language model inside a model that also sees or hears, with its tokenizer.

    What is saved has the whole model's logits for text, which is tried on a few tokens.

    Args:
        name: of the whole model: a folder, or a hub name that is cached or in reach.
        folder: for the language model.

    Raises:
        ModelError: there is no class of text alone for it, or its logits are not the whole model's.
    """
    import transformers

    config = transformers.AutoConfig.from_pretrained(name)
    kind = _language_model(config)
    if kind is None:
        raise ModelError(f"transformers has no class for the language model of {str(name)!r} alone")
    whole = WholeCheckpoint().from_pretrained(str(name), config=config, dtype="auto").eval()
    if not hasattr(getattr(whole, "model", None), "language_model"):
        raise ModelError(f"{type(whole).__name__} does not show its language model")
    inner = whole.model.language_model
    alone = getattr(transformers, kind)(config.get_text_config()).to(inner.dtype).eval()
    alone.model.load_state_dict(inner.state_dict())
    alone.lm_head.load_state_dict(whole.lm_head.state_dict())
    tokens = torch.arange(1, 6, device=inner.device)[None]
    if not torch.equal(alone(input_ids=tokens).logits, whole(input_ids=tokens).logits):
        raise ModelError(f"the language model of {str(name)!r} by itself has other logits")
    alone.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(name).save_pretrained(folder)


def _language_model(config: Any) -> str | None:
    """The class of the language model inside, where transformers has one of text alone."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    found = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.get_text_config().model_type)
    return None if found in (config.architectures or ()) else found
