"""From a bridge and dictionaries to a spliced model, with everything checked that can be wrong."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from saecircuits.errors import ModelError, SiteError
from saecircuits.kinds import described
from saecircuits.splicing.convert import check_finite, dictionary_from_sae
from saecircuits.splicing.dictionary import Dictionary
from saecircuits.splicing.fit import check_fit
from saecircuits.splicing.model import Splice, SplicedModel, in_order
from saecircuits.splicing.reproduction import check_reproduction, check_weights
from saecircuits.splicing.sites import make_site
from saecircuits.torch_state import in_own_state


@in_own_state
def splice(
    bridge: Any,
    dictionaries: Mapping[str, Any],
    *,
    name: str = "model",
    provenance: Mapping[str, Any] | None = None,
    is_copied: bool = True,
) -> SplicedModel:
    """A spliced model from a `TransformerBridge` and SAEs or transcoders by hook name.

    Args:
        bridge: a `TransformerBridge`, weights unprocessed. It is not changed.
        dictionaries: hook name of what is written (`blocks.1.hook_resid_post`) to a sae_lens SAE
            or transcoder, or to a `Dictionary`. A transcoder's metadata says what it reads.
        name: what files call the model.
        is_copied: False for dictionaries that nobody else will change: their weights are then used
            where they are, so that of a mapped file the rows of active features alone are loaded.

    Raises:
        UnknownNameError: the model has no such hook point.
        SiteError: the hook point cannot carry a dictionary, or no dictionary was given.
        DictionaryError: the dictionary's kind is unsupported, or its widths do not fit.
        ModelError: what is no bridge; a bridge that was made inside `torch.inference_mode()`, does
            not run, or whose logits are not those of the Hugging Face model that it wraps; a
            tokenizer with tokens that the model has not.
    """
    _check_bridge(bridge)
    _check_blocks(bridge, name)
    if not dictionaries:
        raise SiteError("no dictionary given; splice needs at least one, by hook name")
    _check_gradients_pass(bridge)
    _check_tokenizer(bridge)
    check_weights(bridge, name)
    check_reproduction(bridge, name)
    known = set(bridge.hook_dict)
    like = next(bridge.parameters())
    splices = []
    for hook, given in dictionaries.items():
        site = make_site(hook, known, read_hook=_read_hook(given, hook))
        if bridge.hook_dict.get(hook) is not bridge.hook_dict[site.hook]:
            # A norm follows the block in some models: then these are two tensors, not two names.
            raise SiteError(
                f"cannot splice at {hook!r}: this model changes it before it is added to the "
                f"stream; splice at {site.hook!r}"
            )
        dictionary = given
        if not isinstance(given, Dictionary):
            dictionary = dictionary_from_sae(given, site.hook, is_copied=is_copied)
        check_finite(dictionary, site.hook)
        splices.append(Splice(site=site, dictionary=dictionary.to(like)))
    model = SplicedModel(
        bridge=bridge, splices=in_order(splices), name=name, provenance=provenance or {}
    )
    check_fit(model)
    return model


def _check_bridge(bridge: Any) -> None:
    from transformer_lens.model_bridge import TransformerBridge

    if isinstance(bridge, TransformerBridge):
        return
    boot = "TransformerBridge.boot_transformers"
    kinds = {kind.__name__ for kind in type(bridge).__mro__}
    if isinstance(bridge, str | PurePath):
        advice = f"give {boot}(...) of that name or folder, or use load_model"
    elif isinstance(bridge, SplicedModel):
        advice = "it is spliced already; give model.bridge"
    elif "PreTrainedModel" in kinds:
        advice = f"give {boot}(folder, hf_model=model, tokenizer=tokenizer)"
    elif "HookedTransformer" in kinds:
        advice = f"its weights are processed and its hooks are others; give {boot}(name)"
    else:
        advice = f"give {boot}(...)"
    raise ModelError(
        f"splice was given {described(bridge)} as bridge; it takes a TransformerBridge of "
        f"transformer_lens: {advice}"
    )


def _check_blocks(bridge: Any, name: str) -> None:
    """Refuses encoders with decoders, and what else is no single stack of blocks.

    Raises:
        ModelError: naming the stacks that there are.
    """
    if hasattr(bridge, "blocks"):
        return
    stacks = [part for part, _ in bridge.named_children() if part.endswith("blocks")]
    raise ModelError(
        f"model {name!r} ({type(bridge.original_model).__name__}) is no single stack of blocks "
        f"({', '.join(stacks) or 'it has none'}); circuits here are of decoders alone, which read "
        "and write one text from left to right"
    )


def _check_gradients_pass(bridge: Any) -> None:
    for name, weight in (*bridge.named_parameters(), *bridge.named_buffers()):
        if weight.is_inference():
            raise ModelError(
                f"the model was made inside torch.inference_mode(), where torch makes tensors that "
                f"no gradient can pass ({name}); load it outside, it can then be used anywhere"
            )


def _check_tokenizer(bridge: Any) -> None:
    """Refuses a tokenizer with more tokens than the model has embeddings; added ones may be unused.

    Raises:
        ModelError: it belongs to another model.
    """
    words = getattr(getattr(bridge, "tokenizer", None), "vocab_size", None)
    rows = bridge.cfg.d_vocab
    if isinstance(words, int) and words > rows:
        raise ModelError(
            f"the tokenizer has {words:,} tokens, but the model has embeddings of {rows:,}; give "
            "the model its own tokenizer"
        )


def _read_hook(given: Any, hook: str) -> str | None:
    metadata = getattr(getattr(given, "cfg", None), "metadata", None)
    if metadata is None or "transcoder" not in given.cfg.architecture():
        return None
    if metadata.hook_name in (None, hook):
        raise SiteError(
            f"the transcoder for {hook!r} does not say what it reads: its metadata has "
            f"hook_name={metadata.hook_name!r}; set it to the hook point of the MLP's input"
        )
    return metadata.hook_name
