"""Models that also see or hear are refused by their configuration, before anything is loaded.

transformer_lens installs a package by itself (torchvision, by pip) where the processor of such a
model cannot be had, so its bridge must not be asked for one.
"""

from typing import Any, Final

from saecircuits.errors import ModelError

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
        f"save its language model by itself, as {alone} (docs/models.md has the lines), and give "
        "that folder"
        if alone
        else "give a model of text alone"
    )
    raise ModelError(
        f"model {name!r} ({kind}) reads more than text: its configuration has "
        f"{', '.join(others)}; {way}"
    )


def _language_model(config: Any) -> str | None:
    """The class of the language model inside, where transformers has one of text alone."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    found = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.get_text_config().model_type)
    return None if found in (config.architectures or ()) else found
