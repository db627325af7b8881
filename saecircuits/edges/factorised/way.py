"""The stations of a forward pass, in order: components, and cuts of the whole stream."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Literal

from saecircuits.nodes.contrast import TOKENS
from saecircuits.splicing import SplicedModel


@dataclass(frozen=True)
class Station:
    """A component, or a cut of the whole stream.

    Attributes:
        kind: `tokens` begins the stream; `stream` is a site on all of it.
        place: the site that cuts the station's output; None where it is not cut.
        is_scaled: true of the dictionary of token embeddings, whose units are those of the tokens.
        heads: attention: the site that cuts the heads' results before the output weights, or None.
    """

    kind: Literal["tokens", "stream", "attention", "mlp"]
    layer: int
    place: int | None
    heads: int | None = None
    is_transcoder: bool = False
    reads_before_weight: bool = False
    reads_stream: bool = False
    is_scaled: bool = False


def stations(model: SplicedModel) -> tuple[Station, ...]:
    """All stations of a model, from the token embedding to the last block's stream."""
    at = {(splice.site.layer, splice.site.kind): i for i, splice in enumerate(model.splices)}
    way = [Station("tokens", -1, TOKENS)]
    if (0, "embed") in at:
        way.append(Station("stream", -1, at[0, "embed"], is_scaled=True))
    for layer in range(model.n_layers):
        if (layer, "resid_pre") in at:
            way.append(Station("stream", layer, at[layer, "resid_pre"]))
        way.append(
            Station("attention", layer, at.get((layer, "attn_out")), heads=at.get((layer, "heads")))
        )
        if (layer, "resid_mid") in at:
            way.append(Station("stream", layer, at[layer, "resid_mid"]))
        mlp = at.get((layer, "mlp_out"))
        site = None if mlp is None else model.splices[mlp].site
        way.append(
            Station(
                "mlp",
                layer,
                mlp,
                is_transcoder=site is not None and site.is_transcoder,
                reads_before_weight=site is not None and site.reads_before_weight,
                reads_stream=site is not None and site.reads_stream,
            )
        )
        if (layer, "resid_post") in at:
            way.append(Station("stream", layer, at[layer, "resid_post"]))
    return tuple(way)


def passes(model: SplicedModel, station: Station) -> bool:
    """True where something gets through a component's place: itself, or skip weights."""
    if station.kind not in ("attention", "mlp"):
        return False
    if station.place is None:
        return True
    return model.splices[station.place].dictionary.W_skip is not None


def leaves_again(
    model: SplicedModel, way: Sequence[Station], sources: Container[int | None]
) -> bool:
    """True where rows inside an attention layer's heads leave them before they meet a source.

    Args:
        way: the stations before the layer, the last one first.
        sources: the places where sources stand.
    """
    for station in way:
        if passes(model, station):
            return True
        if station.kind in ("stream", "tokens") or station.place in sources:
            return False
    return False


def spreads(model: SplicedModel, way: Sequence[Station], *, is_crossed: bool) -> bool:
    """True where rows leave an attention layer's heads again before the stream is cut.

    Args:
        way: the stations before a target, the last one first.
        is_crossed: it stands inside the heads of a layer itself.
    """
    for station in way:
        if station.kind in ("stream", "tokens"):
            return False
        if is_crossed and passes(model, station):
            return True
        is_open = station.kind == "attention" and station.place is None and station.heads is None
        is_crossed |= is_open
    return False
