"""Which heads read what which heads write, and through which features."""

import pandas as pd
import torch
from torch import Tensor

from saecircuits.errors import InputError
from saecircuits.heads.reading import Prompt, any_anatomy, check_head, read_prompt
from saecircuits.heads.terms import need_dictionary
from saecircuits.splicing import SplicedModel, observe
from saecircuits.splicing.anatomy import Attention, take_apart
from saecircuits.splicing.operators import FULL
from saecircuits.splicing.parts import stream_parts
from saecircuits.theory.composition import (
    HeadMaps,
    composition_through,
    head_maps,
    share_by_chance,
)
from saecircuits.theory.composition import composition as whole_composition
from saecircuits.torch_state import in_own_state


@in_own_state
@torch.no_grad()
def composition(model: SplicedModel, prompt: Prompt | None = None) -> pd.DataFrame:
    """Q-, K- and V-composition of every pair of heads of different layers.

    `|W_OV W_QK| / (|W_OV| |W_QK|)` in Frobenius norms and its fellows (Elhage et al. 2021), norm
    weights folded in, rotary turns and norms of queries and keys left out.

    Args:
        prompt: if given, what is written passes only through the features that are active there
            in the dictionary that the reader reads: composition restricted to features in use.

    Returns:
        One row per `writer` and `reader` (such as `L0.H3`): `q`, `k`, `v`, each between 0 and 1,
        and `chance`, the mean of random matrices of these shapes (of the whole, without features).

    Raises:
        InputError: with a prompt, no dictionary at the stream that some later layer reads.
    """
    attentions = [block.attention for block in any_anatomy(model).blocks]
    maps = [
        [_maps(attention, head) for head in range(len(attention.W_V))] for attention in attentions
    ]
    chance = share_by_chance(*attentions[0].W_V.shape[1:])
    in_use = {} if prompt is None else _in_use(model, prompt)
    rows = []
    for later in range(1, len(maps)):
        for earlier in range(later):
            for second, reader in enumerate(maps[later]):
                for first, writer in enumerate(maps[earlier]):
                    shares = (
                        composition_through(writer, reader, *in_use[later])
                        if in_use
                        else whole_composition(writer, reader)
                    )
                    names = {"writer": f"L{earlier}.H{first}", "reader": f"L{later}.H{second}"}
                    rows.append({**names, **shares, "chance": chance})
    return pd.DataFrame(rows)


@in_own_state
@torch.no_grad()
def carriers(
    model: SplicedModel, prompt: Prompt, writer: tuple[int, int], reader: tuple[int, int]
) -> pd.DataFrame:
    """Which features one head writes and another reads, at a prompt.

    Args:
        writer: layer and head; `reader` of a later layer, with a dictionary spliced at the stream
            that it reads.

    Returns:
        One row per feature active there, most carried first: `feature`, `positions` (where it is
        active), `activation` (sum over them), `written` (sum over them of `e_j` times what the
        writer adds: the part of the activation that is the writer's), `q`, `k`, `v` (norms of the
        feature's direction as the reader's queries, keys and values read it, over the norm of the
        reader's weights).

    Raises:
        InputError: a head that is not there, or no dictionary at the stream that the reader reads.
    """
    for layer, head in (writer, reader):
        check_head(model, layer, head)
    if writer[0] >= reader[0]:
        raise InputError("the reader has to be of a later layer than the writer")
    tokens = read_prompt(model, prompt)
    anatomy = take_apart(model, tokens, FULL)
    index = need_dictionary(model, reader[0])
    site = observe(model, tokens).sites[index]
    active = site.activations
    used, row = active.feature.unique(return_inverse=True)
    name = f"L{writer[0]}.H{writer[1]}"
    parts = stream_parts(model, tokens, anatomy, reader[0])
    added = next(part.stream[0] for part in parts if part.component == name)
    dictionary = model.splices[index].dictionary
    read = None if site.read is None else site.read[0, active.token]
    seen = (dictionary.rows_at(active.feature, read) * added[active.token]).sum(-1)
    attention = anatomy.blocks[reader[0]].attention
    directions = attention.norm.push(dictionary.W_dec[used])

    def summed(values: Tensor) -> list[float]:
        return values.new_zeros(len(used)).index_add(0, row, values).tolist()

    def read_by(weight: Tensor) -> list[float]:
        weight = weight[reader[1]]
        return ((directions @ weight).norm(dim=-1) / weight.norm()).tolist()

    table = pd.DataFrame(
        {
            "feature": used.tolist(),
            "positions": row.bincount(minlength=len(used)).tolist(),
            "activation": summed(active.value),
            "written": summed(seen),
            "q": read_by(attention.W_Q),
            "k": read_by(attention.W_K),
            "v": read_by(attention.W_V),
        }
    )
    return table.sort_values("written", ascending=False, kind="stable").reset_index(drop=True)


def _maps(attention: Attention, head: int) -> HeadMaps:
    W_V = attention.W_V
    eye = torch.eye(W_V.shape[1], dtype=W_V.dtype, device=W_V.device)
    weights = (attention.W_Q, attention.W_K, attention.W_V, attention.W_O)
    return head_maps(attention.norm.push(eye), *(weight[head] for weight in weights))


def _in_use(model: SplicedModel, prompt: Prompt) -> dict[int, tuple[Tensor, Tensor]]:
    """Encoder and decoder rows of the features active at the prompt, by the layer that reads."""
    observation = observe(model, read_prompt(model, prompt))
    found = {}
    for layer in range(1, model.n_layers):
        index = need_dictionary(model, layer)
        used = observation.sites[index].activations.feature.unique()
        dictionary = model.splices[index].dictionary
        found[layer] = dictionary.encoder_rows(used), dictionary.W_dec[used]
    return found
