"""Dictionaries that can be loaded, before any of their weights are: what there is, what is taken.

A source (a release of the registry, a folder, a repository of a hub) offers dictionaries, each by
an id. Ids are chosen by name or by pattern (`blocks.*.hook_resid_post`); where nothing is chosen,
the default is small and stated: three places spread over the depth, at each the narrowest
dictionary. Two dictionaries for one place are never chosen silently.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from saecircuits.errors import InputError, UnknownNameError, cut

# Of the tensors that a source has dictionaries at in as many layers, which comes first.
_KINDS: Final = ("resid_post", "resid_pre", "transcoder", "mlp_out", "attn_out", "z", "resid_mid")
_DEPTHS: Final = (0.25, 0.5, 0.75)
_EVERY: Final = ("*", "all")
_NAMED: Final = 6


@dataclass(frozen=True, eq=False, kw_only=True)
class Offer:
    """One dictionary that can be loaded.

    Attributes:
        source: the release, folder or repository, as it was asked for.
        id: its name there.
        hook: the hook point that it writes; None where that is known from its settings alone.
        layer: the block; None where it is not known, or for the embedding.
        kind: what tensor it is at: `resid_post`, `mlp_out`, `transcoder`, ...; None if not known.
        width: how many features it has; None if not known.
        l0: features that are on at a token, as its source says; None if it does not.
        variance_explained: the share of variance, as its source says; None if it does not.
        model: the model that it was made for, as its source says; None if it does not.
        is_placed: whether `hook` is what the user says, its files saying nothing.
        refused: why it cannot be loaded; None if it can.
        load: fetches it: a SAE of sae_lens, or what was found in a folder.
    """

    source: str
    id: str
    load: Callable[[], Any]
    hook: str | None = None
    layer: int | None = None
    kind: str | None = None
    width: int | None = None
    l0: float | None = None
    variance_explained: float | None = None
    model: str | None = None
    is_placed: bool = False
    refused: str | None = None

    @property
    def place(self) -> str | None:
        """Where it goes, as far as it is known: two with one place exclude each other."""
        if self.hook is not None:
            return self.hook
        return None if self.layer is None else f"layer {self.layer} {self.kind or ''}".strip()

    @property
    def stated(self) -> dict[str, float]:
        """What its source says of it, by figure; empty if it says nothing."""
        found = {"variance_explained": self.variance_explained, "l0": self.l0}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def name(self) -> str:
        """What loads this one and no other: `SOURCE:ID`."""
        return f"{self.source}:{self.id}"


def chosen(
    offers: Sequence[Offer], patterns: Sequence[str], sites: str | Sequence[str] | None = None
) -> tuple[Offer, ...]:
    """The dictionaries that were asked for, in the order of the source.

    Args:
        offers: everything that one source has.
        patterns: ids, or patterns of ids (`*` and `?`); `all` for every one; empty for the default.
        sites: a kind of tensor (`resid_post`), or hook names, that what was named is narrowed to.

    Raises:
        UnknownNameError: a pattern, kind or hook that matches nothing.
        InputError: two dictionaries for one place; a default that cannot be told; what is there but
            cannot be read.
    """
    source = offers[0].source if offers else "the source"
    named = matching(offers, patterns) if patterns else list(offers)
    if sites is not None:
        named = _at_sites(named, sites, source)
    readable = [offer for offer in named if offer.refused is None]
    if not patterns and sites is None:
        return default_of(readable, source, refused=[o for o in named if o.refused is not None])
    for offer in named:
        if offer.refused is not None and not set(patterns) & set(_EVERY):
            raise InputError(f"{offer.name!r} cannot be loaded: {offer.refused}")
    if not readable:
        raise InputError(f"nothing of {source!r} can be loaded: {named[0].refused}")
    check_one_each(readable)
    return tuple(readable)


def matching(offers: Sequence[Offer], patterns: Sequence[str]) -> list[Offer]:
    """The dictionaries whose ids are among some names and patterns, in the order of the source.

    Raises:
        UnknownNameError: a pattern that matches nothing.
    """
    for pattern in patterns:
        if not any(_matches(offer.id, pattern) for offer in offers):
            source = cut(offers[0].source, 80) if offers else ""
            ids = [offer.id for offer in offers]
            raise UnknownNameError(f"dictionary of {source!r}", pattern, ids)
    return [offer for offer in offers if any(_matches(offer.id, p) for p in patterns)]


def default_of(
    offers: Sequence[Offer], source: str, *, refused: Sequence[Offer] = ()
) -> tuple[Offer, ...]:
    """What is loaded of a source where nothing of it is named.

    Of the kind of tensor that has most layers (of several, the stream first) the layers at a
    quarter, a half and three quarters of those that there are; at each the narrowest dictionary,
    and of these the one in the middle by L0. Up to three dictionaries at different places are all
    taken.

    Raises:
        InputError: layers are not known, so that some have to be named; or nothing can be loaded.
    """
    if not offers:
        reason = f": {refused[0].refused}" if refused else ""
        raise InputError(f"nothing of {source!r} can be loaded{reason}")
    places = [offer.place for offer in offers]
    if len(offers) <= len(_DEPTHS) and len(set(places)) == len(offers):
        return tuple(offers)
    at = {(offer.kind, offer.layer) for offer in offers if offer.layer is not None}
    counts = Counter(kind for kind, _ in at)
    kind = max(counts, key=lambda kind: (counts[kind], -_rank(kind)), default=None)
    layers = sorted({o.layer for o in offers if o.layer is not None and o.kind == kind})
    if not layers:
        raise InputError(
            f"{source!r} has {len(offers)} dictionaries and no layers in their names; name some: "
            f"{source}:{_listed(offers)}"
        )
    wanted = sorted({layers[min(int(d * len(layers)), len(layers) - 1)] for d in _DEPTHS})
    return tuple(
        _plainest([o for o in offers if o.layer == layer and o.kind == kind]) for layer in wanted
    )


def check_one_each(offers: Sequence[Offer]) -> None:
    """Refuses two dictionaries for one place.

    Raises:
        InputError: naming both.
    """
    at: dict[str, Offer] = {}
    for offer in offers:
        place = offer.place
        if place is None:
            continue
        if place in at:
            here = [o.id for o in offers if o.place == place]
            names = ", ".join(map(repr, here[:_NAMED])) + (", ..." if len(here) > _NAMED else "")
            raise InputError(
                f"{len(here)} dictionaries were asked for at {place}: {names}; a place has one, so "
                f"name it: {offer.source}:{here[0]}"
            )
        at[place] = offer


def _at_sites(offers: Sequence[Offer], sites: str | Sequence[str], source: str) -> list[Offer]:
    if isinstance(sites, str):
        found = [offer for offer in offers if offer.kind == sites or offer.hook == sites]
        if not found:
            kinds = {offer.kind for offer in offers if offer.kind is not None}
            raise UnknownNameError(f"kind of site in {cut(source, 80)!r}", sites, kinds)
        return found
    hooks = {offer.hook: offer for offer in offers if offer.hook is not None}
    for site in sites:
        if site not in hooks:
            raise UnknownNameError(f"site with a dictionary in {cut(source, 80)!r}", site, hooks)
    return [offer for offer in offers if offer.hook in sites]


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or pattern in _EVERY or fnmatchcase(name, pattern)


def _rank(kind: str | None) -> int:
    return _KINDS.index(kind) if kind in _KINDS else len(_KINDS)


def _plainest(offers: Sequence[Offer]) -> Offer:
    """The narrowest; of several as narrow the one in the middle by L0, or the first."""
    least = min(offer.width or 0 for offer in offers)
    narrow = [offer for offer in offers if (offer.width or 0) == least]
    if all(offer.l0 is not None for offer in narrow):
        narrow.sort(key=lambda offer: offer.l0 or 0.0)
        return narrow[(len(narrow) - 1) // 2]
    return narrow[0]


def _listed(offers: Sequence[Offer]) -> str:
    return ",".join(offer.id for offer in offers[:2]) + (",..." if len(offers) > 2 else "")
