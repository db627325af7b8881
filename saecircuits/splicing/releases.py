"""Releases of sae_lens's registry: what one has, read off the registry itself.

Nothing is fetched for a listing. The registry has ids and, for many releases, L0; layer, kind and
width stand in ids, paths and names of releases, in the ways that releases write them:

    blocks.8.hook_resid_pre_768                      layer_5/width_16k/average_l0_68
    transcoder/layer_17_width_65k_l0_small_affine    l24r_8x        resid_post_layer_3_trainer_1

What a dictionary really reads and writes is known from its settings, once it is fetched.
"""

import re
import warnings
from collections.abc import Iterator
from functools import partial
from math import log2
from typing import Any, Final

from saecircuits.errors import ModelError, UnknownNameError
from saecircuits.splicing.declared import official_name
from saecircuits.splicing.folders import dictionary_at
from saecircuits.splicing.hub import fetched
from saecircuits.splicing.offers import Offer
from saecircuits.splicing.sites import kind_of_hook

_ADVICE: Final = r"\s*This SAE has non-empty model_from_pretrained_kwargs"
_HOOK: Final = re.compile(r"blocks\.\d+\.(?:hook_[a-z]+(?:_[a-z]+)*|attn\.hook_z)(?![a-z])")
_LAYER: Final = re.compile(r"(?:layer_?|blocks\.|\bl)(\d+)(?!\d)")
_WIDTH: Final = re.compile(r"(?:width_|[-_]w)(\d+)([km])", re.IGNORECASE)
_POWER: Final = re.compile(r"width-2pow(\d+)")
_COUNT: Final = re.compile(r"hook_[a-z_]+_(\d{3,})$")
# Parts of names by what they say of the tensor; the first that is there counts.
_KIND_WORDS: Final = (
    ("transcoder", "transcoder"),
    ("clt", "transcoder"),
    ("resid_mid", "resid_mid"),
    ("resid-mid", "resid_mid"),
    ("embedding", "embed"),
    ("res", "resid_post"),
    ("lxr", "resid_post"),
    ("mlp", "mlp_out"),
    ("lxm", "mlp_out"),
    ("att", "z"),
    ("lxa", "attn_out"),
)
# Conversions of sae_lens that ask the hub for shapes although everything is cached, and name what a
# transcoder reads by another tensor's name (sae_lens 6.54).
_READ_HERE: Final = ("gemma_3",)
# Of these a release has a layer at a time, with decoders summed up or cut: not what was trained.
_CUT: Final = ("mntss_clt_layer_transcoder",)
# The registry's conversions, by what their dictionaries are at, where no name says it.
_CUT_WORDS: Final = (
    "it is a layer of a cross-layer transcoder, whose features write behind many layers; give the "
    "whole one, --dictionaries {}"
)
_AT_RESID_POST: Final = ("goodfire", "deepseek_r1", "qwen_scope", "llama_scope_r1_distill")


def registry() -> dict[str, Any]:
    """sae_lens's registry: releases by name."""
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    return get_pretrained_saes_directory()


def list_release(release: str) -> tuple[Offer, ...]:
    """The dictionaries of a release, in the registry's order; nothing is fetched.

    Raises:
        UnknownNameError: no such release.
    """
    known = registry()
    if release not in known:
        raise UnknownNameError("SAE release", release, known)
    return tuple(_offers(release, known[release]))


def releases_for(model: str) -> list[str]:
    """The releases that were made for a model that transformer_lens knows by this name."""
    wanted = official_name(model)
    if wanted is None:
        return []
    return [name for name, entry in registry().items() if official_name(entry.model) == wanted]


def _offers(release: str, entry: Any) -> Iterator[Offer]:
    for sae_id, path in entry.saes_map.items():
        hook = _HOOK.search(sae_id)
        kind = kind_of_hook(hook[0]) if hook else _kind(entry, sae_id, path)
        l0 = entry.expected_l0.get(sae_id, 0.0)
        variance = entry.expected_var_explained.get(sae_id, 1.0)
        yield Offer(
            source=release,
            id=sae_id,
            hook=hook[0] if hook else None,
            layer=None if kind == "embed" else layer_in(sae_id, path),
            kind=kind,
            width=_width(sae_id) or _width(path) or _width(entry.repo_id),
            # What the registry has where nothing was stated.
            l0=None if l0 == 0.0 else float(l0),
            variance_explained=None if variance == 1.0 else float(variance),
            model=entry.model,
            load=partial(_load, release, sae_id),
            refused=_CUT_WORDS.format(entry.repo_id) if entry.conversion_func in _CUT else None,
        )


def kind_in(*texts: str) -> str | None:
    """What tensor some dictionaries are at, by words in ids, paths and names; the first counts."""
    for text in texts:
        for word, kind in _KIND_WORDS:
            if word in text.lower():
                return kind
    return None


def layer_in(*texts: str) -> int | None:
    """The block that an id or path names; the first that names one counts."""
    found = next((match for text in texts if (match := _LAYER.search(text))), None)
    return None if found is None else int(found[1])


def _kind(entry: Any, sae_id: str, path: str) -> str | None:
    if entry.conversion_func in _AT_RESID_POST:
        return "resid_post"
    return kind_in(sae_id, path, entry.release, entry.repo_id.rpartition("/")[2])


def _width(text: str) -> int | None:
    if found := _WIDTH.search(text):
        # 16k and 64k, 65k, 131k, 1m are the powers of two that are near; others count by 1,024.
        count, power = int(found[1]), {"k": 1, "m": 2}[found[2].lower()]
        near = 2 ** round(log2(count * 1000**power))
        return near if abs(count * 1000**power / near - 1) < 0.05 else count * 1024**power
    if found := _POWER.search(text):
        return 2 ** int(found[1])
    found = _COUNT.search(text)
    return int(found[1]) if found else None


def _load(release: str, sae_id: str) -> Any:
    from sae_lens import SAE

    entry = registry()[release]
    if entry.conversion_func in _READ_HERE:
        return dictionary_at(fetched(entry.repo_id, entry.saes_map[sae_id]))
    try:
        with warnings.catch_warnings():
            # It advises another model class; what it is about is done in `splicing.convert`.
            warnings.filterwarnings("ignore", _ADVICE)
            return SAE.from_pretrained(release, sae_id, device="cpu")
    except OSError as error:
        raise ModelError(
            f"{sae_id!r} of release {release!r} is not cached and cannot be fetched "
            f"({type(error).__name__}); connect once, or use a shipped model"
        ) from error
