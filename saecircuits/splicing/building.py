"""From a bridge and dictionaries to a spliced model, with everything checked that can be wrong."""

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from saecircuits.errors import DictionaryError, ModelError, SiteError
from saecircuits.kinds import described
from saecircuits.splicing.convert import check_finite, dictionary_from_sae
from saecircuits.splicing.cross_layer import CrossLayerTranscoder
from saecircuits.splicing.declared import check_unprocessed, declared_otherwise
from saecircuits.splicing.dictionary import Dictionary
from saecircuits.splicing.middle import check_middle
from saecircuits.splicing.model import Splice, SplicedModel, in_order
from saecircuits.splicing.placed import check_placed
from saecircuits.splicing.placing import of_embeddings, read_hook
from saecircuits.splicing.reproduction import check_reproduction, check_weights
from saecircuits.splicing.sites import Site, make_site
from saecircuits.torch_state import in_own_state


@in_own_state
def splice(
    bridge: Any,
    dictionaries: Mapping[str, Any] | CrossLayerTranscoder,
    *,
    name: str = "model",
    provenance: Mapping[str, Any] | None = None,
    is_copied: bool = True,
    insist: bool = False,
) -> SplicedModel:
    """A spliced model from a `TransformerBridge` and SAEs or transcoders by hook name.

    Args:
        bridge: a `TransformerBridge`, weights unprocessed. It is not changed.
        dictionaries: hook name of what is written (`blocks.1.hook_resid_post`) to a sae_lens SAE
            or transcoder, or to a `Dictionary`. A transcoder's metadata says what it reads. Or a
            cross-layer transcoder, which replaces every MLP: `splice(bridge, cross_layer)`.
        name: what files call the model.
        is_copied: False for dictionaries that nobody else will change: their weights are then used
            where they are, so that of a mapped file the rows of active features alone are loaded.
        insist: take dictionaries that say they are for another place or model; provenance then says
            under `insisted` what they were taken for all the same.

    Raises:
        UnknownNameError: the model has no such hook point.
        SiteError: the hook point cannot carry a dictionary, or no dictionary was given.
        DictionaryError: the dictionary's kind is unsupported, its widths do not fit, or its
            settings name another hook point or model.
        ModelError: what is no bridge; a bridge that was made inside `torch.inference_mode()`, does
            not run, whose weights were processed, or whose logits are not those of the Hugging Face
            model that it wraps; a tokenizer with tokens that the model has not.
    """
    _check_bridge(bridge)
    _check_blocks(bridge, name)
    if not isinstance(dictionaries, CrossLayerTranscoder) and not dictionaries:
        raise SiteError("no dictionary given; splice needs at least one, by hook name")
    _check_gradients_pass(bridge)
    _check_tokenizer(bridge)
    check_unprocessed(bridge, name)
    check_weights(bridge, name)
    check_reproduction(bridge, name)
    known = set(bridge.hook_dict)
    like = next(bridge.parameters())
    known_of = dict(provenance or {})
    splices, overruled = [], list(known_of.get("insisted", ()))
    for hook, reads, given in _each(bridge, dictionaries):
        dictionary = given
        if not isinstance(given, Dictionary):
            dictionary = dictionary_from_sae(given, hook, is_copied=is_copied)
        site = _site(bridge, hook, known, reads, (dictionary, given))
        if not isinstance(given, Dictionary):
            overruled += declared_otherwise(given, site, name, insist=insist)
        check_finite(dictionary, site.hook)
        if site.kind == "embed":
            dictionary = of_embeddings(bridge, dictionary)
        splices.append(Splice(site=site, dictionary=dictionary.to(like)))
    model = SplicedModel(
        bridge=bridge,
        splices=in_order(splices),
        name=name,
        provenance=known_of | ({"insisted": overruled} if insist else {}),
    )
    _check_reach(model)
    check_placed(model)
    return model


def _each(
    bridge: Any, dictionaries: Mapping[str, Any] | CrossLayerTranscoder
) -> Iterator[tuple[str, str | None, Any]]:
    """What is written, what is read where the dictionary itself does not say it, and it."""
    if not isinstance(dictionaries, CrossLayerTranscoder):
        for hook, given in dictionaries.items():
            yield hook, None, given
        return
    found, n_layers = len(dictionaries.layers), len(bridge.blocks)
    if found != n_layers:
        raise DictionaryError(
            f"the cross-layer transcoder has {found} layers, but the model has {n_layers} blocks; "
            "give one that was trained on this model, with all of its layers"
        )
    for layer, dictionary in enumerate(dictionaries.layers):
        reads, hook = dictionaries.at(layer)
        yield hook, reads, dictionary


def _site(
    bridge: Any, hook: str, known: set[str], reads: str | None, what: tuple[Dictionary, Any]
) -> Site:
    """The site of a dictionary, checked against the bridge.

    Args:
        reads: what it reads, if that is told beside it.
        what: the dictionary, and what it was made from.
    """
    dictionary, given = what
    reads = reads or _said_read(dictionary, given, hook)
    if reads is not None and hook in known:
        metadata = getattr(getattr(given, "cfg", None), "metadata", None)
        hf_name = getattr(metadata, "hf_hook_name", None)
        reads = read_hook(bridge, reads, hook, dictionary, hf_name=hf_name)
    check_middle(bridge, hook)
    site = make_site(hook, known, read_hook=reads)
    if bridge.hook_dict.get(hook) is not bridge.hook_dict[site.point]:
        # A norm follows the block in some models: then these are two tensors, not two names.
        raise SiteError(
            f"cannot splice at {hook!r}: this model changes it before it is added to the "
            f"stream; splice at {site.point!r}"
        )
    check_middle(bridge, site.read_hook)
    return site


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


def _said_read(dictionary: Dictionary, given: Any, hook: str) -> str | None:
    is_transcoder = not isinstance(given, Dictionary) and "transcoder" in given.cfg.architecture()
    if is_transcoder and dictionary.reads in (None, hook):
        raise SiteError(
            f"the transcoder for {hook!r} does not say what it reads: its metadata has "
            f"hook_name={dictionary.reads!r}; set it to the hook point of the MLP's input"
        )
    return dictionary.reads


def _check_reach(model: SplicedModel) -> None:
    """Where features write further on there is a dictionary, and no site cuts the stream before.

    Raises:
        SiteError: one of these is not so.
    """
    reaching = [s for s in model.splices if s.dictionary.later is not None]
    for splice in reaching:
        hooks = splice.dictionary.later.hooks if splice.dictionary.later else ()
        sites = [model.splices[model.index(hook)].site for hook in hooks]
        if sites != sorted(sites) or any(site <= splice.site for site in sites):
            raise SiteError(
                f"the dictionary at {splice.site.hook!r} also writes at {', '.join(hooks)}; it can "
                "write at later sites alone, in the model's order"
            )
    whole = [s.site.hook for s in model.splices if s.site.kind in ("resid_pre", "resid_post")]
    if reaching and whole:
        raise SiteError(
            f"a dictionary at {whole[0]!r} takes the place of the whole stream, past which "
            f"features at {reaching[0].site.hook!r} write; splice the cross-layer transcoder "
            "without it"
        )
