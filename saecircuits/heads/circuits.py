"""A head's OV and QK circuits between features: virtual weights, and what they do at a prompt."""

import torch
from jaxtyping import Float
from torch import Tensor

from saecircuits.errors import InputError
from saecircuits.heads.reading import (
    any_anatomy,
    check_head,
)
from saecircuits.heads.terms import need_dictionary
from saecircuits.splicing import Dictionary, SplicedModel
from saecircuits.torch_state import in_own_state


@in_own_state
@torch.no_grad()
def ov(
    model: SplicedModel, layer: int, head: int, *, into: str | None = None
) -> Float[Tensor, "n_target n_source"]:
    """Virtual weights `e_v . W_OV d_u`: how feature u, where it is attended to, writes feature v.

    They hold for every prompt: norm weights are folded in, norm scales and attention left out.

    Args:
        into: the site of the features written; by default the first spliced site of the stream
            behind the head. Sources are those of the stream that the layer reads.

    Raises:
        InputError: no such head, or no dictionary there.
    """
    check_head(model, layer, head)
    sources = model.splices[need_dictionary(model, layer)].dictionary
    target = target_dictionary(model, layer, into)
    attention = any_anatomy(model).blocks[layer].attention
    written = attention.norm.push(sources.W_dec) @ attention.W_V[head] @ attention.W_O[head]
    if attention.post_norm is not None:
        written = attention.post_norm.push(written)
    return (written @ _encoder(target).T).T


@in_own_state
@torch.no_grad()
def qk(
    model: SplicedModel, layer: int, head: int, *, distance: int = 0
) -> Float[Tensor, "n_query n_key"]:
    """Virtual weights `d_q W_QK d_k`: how feature k draws the attention of feature q.

    Scaled as scores are, norm weights folded in and norm scales left out. A soft-cap, and norms of
    queries and keys, are of the whole and left out too.

    Args:
        distance: how many tokens back the key is; nothing changes without rotary positions.

    Raises:
        InputError: no such head, no dictionary at the stream that the layer reads, or a distance
            that the model's context has no room for.
    """
    check_head(model, layer, head)
    dictionary = model.splices[need_dictionary(model, layer)].dictionary
    attention = any_anatomy(model).blocks[layer].attention
    queries, keys = (
        attention.norm.push(dictionary.W_dec) @ weight[head]
        for weight in (attention.W_Q, attention.W_K)
    )
    if attention.rotary is not None:
        if not 0 <= distance < len(attention.rotary.cos):
            raise InputError(
                f"distance {distance} was asked for; it can be 0 to {len(attention.rotary.cos) - 1}"
            )
        at = torch.full((len(queries),), distance, device=queries.device)
        queries = attention.rotary.turn_at(queries, at)
        keys = attention.rotary.turn_at(keys, torch.zeros_like(at))
    return attention.scale * queries @ keys.T


def target_dictionary(model: SplicedModel, layer: int, into: str | None) -> Dictionary:
    """The dictionary at a site, or else the first that reads the stream behind a layer."""
    if into is not None:
        return model.splices[model.index(into)].dictionary
    behind = [
        splice
        for index, splice in enumerate(model.splices)
        if (block := model.block_behind(index)) is not None and block > layer
    ]
    if not behind:
        raise InputError(
            f"no dictionary is spliced at the stream behind layer {layer}; splice one at "
            f"blocks.{layer}.hook_resid_post, or name a site with `into`"
        )
    return behind[0].dictionary


def _encoder(dictionary: Dictionary) -> Float[Tensor, "n_feature d_in"]:
    features = torch.arange(dictionary.d_sae, device=dictionary.W_enc.device)
    return dictionary.encoder_rows(features)
