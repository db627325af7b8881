"""What a dictionary says of itself against what is done with it: model, hook point, weights.

A dictionary of another layer, of another model, or of a model whose weights were processed, has the
right widths, reads numbers, and is wrong. What its settings say is compared with where it is put.
"""

from collections.abc import Sequence
from typing import Any

from saecircuits.errors import DictionaryError, ModelError
from saecircuits.splicing.layouts.found import Declared
from saecircuits.splicing.sites import Site, is_same_tensor


def declared_by(sae: Any) -> Declared:
    """What the settings of a SAE of sae_lens say; a field is None where they do not."""
    metadata = sae.cfg.metadata
    excluded = metadata.exclude_special_tokens
    return Declared(
        model=metadata.model_name,
        prepend_bos=metadata.prepend_bos,
        excludes_special_tokens=tuple(excluded) if isinstance(excluded, list) else excluded,
        context_size=metadata.context_size,
        normalisation=str(sae.cfg.normalize_activations or "none"),
        hf_reads=metadata.hf_hook_name,
    )


def declared_otherwise(sae: Any, site: Site, name: str, *, insist: bool) -> list[str]:
    """What a SAE of sae_lens says against where it is put, if that is insisted on.

    Args:
        name: of the model.

    Raises:
        DictionaryError: it says something else, and nobody insists.
    """
    made_for = sae.cfg.metadata.model_name
    found = [_against_place(sae, site), _against_model(made_for, name, site.hook)]
    return _overruled(found, insist=insist)


def made_for_another(made_for: str | None, name: str, site: str, *, insist: bool) -> list[str]:
    """The same of a dictionary's model alone.

    Names that transformer_lens does not know (a folder's, say) say nothing, and are not compared.

    Args:
        made_for: the model that it was trained on, as its files say.
    """
    return _overruled([_against_model(made_for, name, site)], insist=insist)


def _overruled(found: Sequence[tuple[str, str] | None], *, insist: bool) -> list[str]:
    said = [one for one in found if one is not None]
    if said and not insist:
        fact, advice = said[0]
        raise DictionaryError(f"{fact}; {advice}, or give insist=True to have it all the same")
    return [fact for fact, _ in said]


def _against_place(sae: Any, site: Site) -> tuple[str, str] | None:
    metadata = sae.cfg.metadata
    # Of a transcoder `hook_name` is what it reads, which the site was made from.
    trained_at = metadata.hook_name_out
    if not site.is_transcoder:
        trained_at = trained_at or metadata.hook_name
    if trained_at is None or is_same_tensor(trained_at, site.hook):
        return None
    fact = f"the dictionary for {site.hook!r} says that it was trained at {trained_at!r}"
    return fact, "splice it there"


def _against_model(made_for: str | None, name: str, site: str) -> tuple[str, str] | None:
    theirs, ours = official_name(made_for), official_name(name)
    if theirs is None or ours is None or theirs == ours:
        return None
    fact = (
        f"the dictionary for {site!r} says that it was trained on {made_for!r}, but the model is "
        f"{name!r}"
    )
    return fact, "use dictionaries of this model"


def check_unprocessed(bridge: Any, name: str) -> None:
    """Refuses a bridge whose weights were folded or centred after loading.

    Raises:
        ModelError: it says how to load the model.
    """
    if getattr(bridge, "_weights_processed", False):
        raise ModelError(
            f"the weights of the bridge over {name!r} were folded or centred, and dictionaries "
            "read the model's own activations; give one without enable_compatibility_mode(), or "
            "with its no_processing=True"
        )


def official_name(name: str | None) -> str | None:
    """The name on the hub of a model that transformer_lens knows, or None."""
    if name is None:
        return None
    from transformer_lens import supported_models

    # Where the hub has put what transformer_lens calls plain gpt2.
    wanted = name.lower().removeprefix("openai-community/")
    for official in supported_models.OFFICIAL_MODEL_NAMES:
        aliases = supported_models.MODEL_ALIASES.get(official, [])
        names = [official, official.rpartition("/")[2], *aliases]
        if wanted in (known.lower() for known in names):
            return official
    return None
