"""A head's OV and QK circuits between features: virtual weights, and what they do at a prompt."""

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from saecircuits.errors import InputError
from saecircuits.heads.reading import (
    HeadReader,
    Prompt,
    any_anatomy,
    check_head,
    read_prompt,
)
from saecircuits.heads.terms import BIAS, need_dictionary, read_terms
from saecircuits.splicing import Dictionary, SplicedModel, observe
from saecircuits.splicing.anatomy import Attention, take_apart
from saecircuits.splicing.operators import FULL
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
    target = _target(model, layer, into)
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


@in_own_state
@torch.no_grad()
def moved(
    model: SplicedModel,
    prompt: Prompt,
    layer: int,
    head: int,
    *,
    query: int | None = None,
    into: str | None = None,
) -> pd.DataFrame:
    """What a head moves into features at one position: virtual weights at work at a prompt.

    The head adds at position q the sum over keys of `A[q, k] W_OV N x_k`. Read by the encoder of a
    feature v that is active at q, term u of the stream at k gives

        effect = A[q, k] * (e_v . W_OV d_u) * a_u / norm scale at k

    and all terms (features, `error`, `b_dec` and `bias`) add up to `e_v` times what the head adds.

    Args:
        query: position; the last token by default.
        into: as in `ov`.

    Returns:
        Strongest effect first: `target` (feature), `term`, `key`, `token`, `pattern`, `effect`.

    Raises:
        InputError: no such head or position, or no dictionary there.
    """
    check_head(model, layer, head)
    tokens = read_prompt(model, prompt)
    n_pos = tokens.shape[1]
    query = n_pos - 1 if query is None else query
    if not 0 <= query < n_pos:
        raise InputError(f"query {query} was asked for; the prompt has tokens 0 to {n_pos - 1}")
    anatomy = take_apart(model, tokens, FULL)
    reader = HeadReader(anatomy.blocks[layer].attention, head)
    terms = read_terms(model, tokens, anatomy, layer, "features")
    dictionary = _target(model, layer, into)
    index = next(i for i, s in enumerate(model.splices) if s.dictionary is dictionary)
    targets = observe(model, tokens).sites[index].activations.active(0, query).nonzero()[:, 0]
    attention = reader.attention
    pattern = attention.pattern[0, head, query]
    every = torch.arange(n_pos, device=tokens.device)
    constant = attention.b_V[head]
    if attention.norm.bias is not None:
        constant = constant + attention.norm.bias @ attention.W_V[head]
    values = torch.cat(
        [
            terms.read(lambda vectors, at: reader.normed(vectors, at) @ attention.W_V[head]),
            constant.expand(n_pos, -1),
        ]
    )
    pos = torch.cat([terms.pos, every])
    kind = torch.cat([terms.kind, torch.full_like(every, len(terms.names))])
    written = _written(attention, head, values * pattern[pos, None], query)
    effects = _encoder(dictionary)[targets] @ written.T
    rows, columns = (effects != 0).nonzero().unbind(1)
    names = (*terms.names, BIAS)
    texts = [model.tokenizer.decode([token]) for token in tokens[0].tolist()]
    keys = pos[columns].tolist()
    table = pd.DataFrame(
        {
            "target": targets[rows].tolist(),
            "term": [names[i] for i in kind[columns].tolist()],
            "key": keys,
            "token": [texts[key] for key in keys],
            "pattern": pattern[pos[columns]].tolist(),
            "effect": effects[rows, columns].tolist(),
        }
    )
    order = table["effect"].abs().sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)


def _written(attention: Attention, head: int, values: Tensor, query: int) -> Tensor:
    """What values add to the stream at a position, a norm after the layer held."""
    written = values @ attention.W_O[head]
    if attention.post_norm is not None:
        written = attention.post_norm.push(written) / attention.post_norm.scale[0, query]
    return written


def _target(model: SplicedModel, layer: int, into: str | None) -> Dictionary:
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
