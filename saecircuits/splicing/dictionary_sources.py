"""Where dictionaries come from, one word each: `RELEASE[:IDS]`, `FOLDER[:IDS]`, `OWNER/NAME[:IDS]`.

A folder with one dictionary that does not say what it is of is told by hand, `FOLDER@HOOK`, or
`FOLDER@READ,WRITTEN` for a transcoder; where its files do say it, they are believed.

A release is one of sae_lens's registry, a folder is walked, a repository is one of the Hugging Face
hub. Ids have commas between them and may be patterns; `all` stands for every one. What a source has
is listed before any weights are read or fetched (`splicing.offers`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NoReturn

from saecircuits.errors import DictionaryError, InputError, UnknownNameError, cut, public_path
from saecircuits.splicing.cross_layer import CrossLayerTranscoder
from saecircuits.splicing.cross_layer_folder import is_cross_layer_folder, read_cross_layer
from saecircuits.splicing.declared import declared_by
from saecircuits.splicing.folders import dictionary_at, read_dictionaries
from saecircuits.splicing.hub import dictionaries_in, fetched, is_repository, revision_of
from saecircuits.splicing.layouts.circuit_tracer import CROSS_LAYER
from saecircuits.splicing.layouts.found import Declared, FoundDictionary, Unread
from saecircuits.splicing.offers import Offer, check_one_each, chosen
from saecircuits.splicing.releases import kind_in, layer_in, list_release, registry
from saecircuits.splicing.sites import kind_of_hook, layer_of_hook, make_site

_NAMED: Final = 3


@dataclass(frozen=True, eq=False)
class Brought:
    """A dictionary that was loaded.

    Attributes:
        hooks: the hook points that it writes; of a cross-layer transcoder every MLP's output.
        dictionary: a SAE of sae_lens, a `Dictionary`, or a cross-layer transcoder.
        declared: what its files say of its training.
        offer: what it was before it was loaded.
    """

    hooks: tuple[str, ...]
    dictionary: Any
    declared: Declared
    offer: Offer


def list_dictionaries(source: str | Path) -> tuple[Offer, ...]:
    """What a release, folder or repository has; no weights are fetched or read.

    Raises:
        UnknownNameError: neither a release of the registry, nor a folder, nor the form of a
            repository's name.
        ModelError: a repository that is neither cached nor in reach.
        DictionaryError: a folder without dictionaries; a place that is said of a folder which says
            another one, or has several.
    """
    name = str(source)
    if Path(name).is_dir():
        return _of_folder(Path(name), name)
    folder, _, place = name.rpartition("@")
    if folder and Path(folder).is_dir():
        return (_placed(Path(folder), place, name),)
    if name in registry():
        return list_release(name)
    if is_repository(name):
        return _of_repository(name)
    raise UnknownNameError("release, folder or repository of dictionaries", name, registry())


def asked_for(
    words: str | Path | Sequence[str | Path], sites: str | Sequence[str] | None = None
) -> tuple[Offer, ...]:
    """The dictionaries that some words name, one for a place.

    Args:
        words: `SOURCE` for its default, or `SOURCE:IDS`.
        sites: a kind of tensor, or hook names, that each source is narrowed to.

    Raises:
        InputError: no word; two dictionaries for one place; and what `chosen` refuses.
    """
    given = [words] if isinstance(words, str | Path) else list(words)
    if not given:
        raise InputError(
            "no dictionaries were named; give a release, a folder or a repository, such as "
            "dictionaries='gpt2-small-res-jb'"
        )
    found: list[Offer] = []
    for word in given:
        source, patterns = parsed(word)
        found += chosen(list_dictionaries(source), patterns, sites)
    check_one_each(found)
    return tuple(found)


def parsed(word: str | Path) -> tuple[str, tuple[str, ...]]:
    """The source of a word, and the ids or patterns of ids; none for the source's default."""
    text = str(word)
    # A folder may have a colon in its name, and a drive's letter has one behind it.
    if Path(text).is_dir() or ":" not in text:
        return text, ()
    folder, _, place = text.rpartition("@")
    if folder and Path(folder).is_dir() and ":" not in place:
        return text, ()
    source, _, ids = text.rpartition(":")
    patterns = tuple(part.strip() for part in ids.split(",") if part.strip())
    if not source or not patterns:
        raise InputError(
            f"{cut(text, 80)!r} names no dictionaries; write SOURCE, or SOURCE:ID,ID with ids or "
            "patterns of the source, such as gpt2-small-res-jb:blocks.8.hook_resid_pre"
        )
    return source, patterns


def brought(offer: Offer) -> Brought:
    """The dictionary of an offer, read, and fetched where that is needed."""
    found = offer.load()
    if isinstance(found, FoundDictionary):
        return Brought((found.writes,), found.load(), found.declared, offer)
    if isinstance(found, CrossLayerTranscoder):
        hooks = tuple(found.at(layer)[1] for layer in range(len(found.layers)))
        return Brought(hooks, found, Declared(), offer)
    metadata = found.cfg.metadata
    hook = metadata.hook_name_out or metadata.hook_name
    if hook is None:
        raise InputError(
            f"the settings of {offer.name!r} do not say where it belongs; load it with sae_lens "
            "and give it to splice() by its hook point"
        )
    return Brought((hook,), found, declared_by(found), offer)


def public_name(one: Brought) -> str:
    """What loads a dictionary, as it may stand in a published file: no folders above its own."""
    return f"{public_path(one.offer.source)}:{one.offer.id}"


def revisions_of(offers: Sequence[Offer]) -> dict[str, str]:
    """The commits of the repositories that dictionaries come from, by repository."""
    known = registry()
    sources = {offer.source for offer in offers}
    repositories = {known[name].repo_id if name in known else name for name in sources}
    found = {name: revision_of(name) for name in sorted(repositories) if is_repository(name)}
    return {name: commit for name, commit in found.items() if commit is not None}


def _of_repository(name: str) -> tuple[Offer, ...]:
    """What a repository has, by the names of its files; nothing of it is read."""
    paths, is_cross_layer = dictionaries_in(name)
    if is_cross_layer:
        return (_cross_layer(name, lambda: read_cross_layer(fetched(name))),)
    if not paths:
        raise DictionaryError(
            f"the repository {name!r} has no file that a dictionary's weights are called; give one "
            "with dictionaries of sae_lens, sparsify, dictionary_learning, circuit-tracer or Gemma "
            "Scope"
        )
    return tuple(_unread(name, path) for path in paths)


def _unread(source: str, path: str) -> Offer:
    return Offer(
        source=source,
        id=path,
        layer=layer_in(path),
        kind=kind_in(path, source),
        load=lambda: dictionary_at(fetched(source, path)),
    )


def _cross_layer(source: str, load: Callable[[], Any]) -> Offer:
    """A cross-layer transcoder, which goes to every MLP at once."""
    return Offer(source=source, id=".", kind=CROSS_LAYER, load=load)


def _of_folder(folder: Path, source: str) -> tuple[Offer, ...]:
    if is_cross_layer_folder(folder):
        return (_cross_layer(source, lambda: read_cross_layer(folder)),)
    listing = read_dictionaries(folder)
    found = [_offer(one, folder, source) for one in listing.dictionaries]
    unread = [_not_read(one, folder, source) for one in listing.unread]
    return tuple(sorted([*found, *unread], key=lambda offer: offer.id))


def _offer(one: FoundDictionary, folder: Path, source: str) -> Offer:
    return Offer(
        source=source,
        id=_id(one.path, folder),
        hook=one.writes,
        layer=layer_of_hook(one.writes),
        kind="transcoder" if one.reads != one.writes else kind_of_hook(one.writes),
        width=one.d_sae,
        model=one.declared.model,
        load=lambda: one,
    )


def _placed(folder: Path, place: str, source: str) -> Offer:
    """The one dictionary of a folder, at the hook points that the user says."""
    reads, _, writes = (part.strip() for part in place.partition(","))
    writes = writes or reads
    make_site(writes, (writes,))  # refuses what can be no site of any model
    listing = read_dictionaries(folder)
    missing = [one.at for one in listing.unread if one.at is not None]
    if len(missing) != 1 or listing.dictionaries:
        known = [f"{_id(one.path, folder)} is of {one.writes}" for one in listing.dictionaries]
        found = "; ".join(known[:_NAMED]) or f"{len(missing)} that do not say what they are of"
        raise DictionaryError(
            f"{source!r} says what one dictionary is of, and in the folder there are: {found}; "
            "name the folder of one that does not say it itself"
        )
    return replace(_offer(missing[0](reads, writes), folder, source), id=".", is_placed=True)


def _not_read(one: Unread, folder: Path, source: str) -> Offer:
    def refuse() -> NoReturn:
        raise DictionaryError(f"{one.path} cannot be used: {one.reason}")

    return Offer(source=source, id=_id(one.path, folder), load=refuse, refused=one.reason)


def _id(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
