"""What a head moves into features at one position of a prompt."""

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.errors import InputError
from saecircuits.heads.circuits import target_dictionary
from saecircuits.heads.pairing import Chosen, strongest_products
from saecircuits.heads.reading import HeadReader, Prompt, check_head, read_prompt
from saecircuits.heads.terms import BIAS, Terms, read_terms
from saecircuits.memory_limit import DEFAULT, MemoryLimit, read_limit
from saecircuits.splicing import SplicedModel, observe
from saecircuits.splicing.anatomy import Attention, take_apart
from saecircuits.splicing.operators import FULL
from saecircuits.torch_state import in_own_state


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
    top: int | None = None,
    memory_limit: MemoryLimit = DEFAULT,
) -> pd.DataFrame:
    """What a head moves into features at one position: virtual weights at work at a prompt.

    The head adds at position q the sum over keys of `A[q, k] W_OV N x_k`. Read by the encoder of a
    feature v that is active at q, term u of the stream at k gives

        effect = A[q, k] * (e_v . W_OV d_u) * a_u / norm scale at k

    and all terms (features, `error`, `b_dec` and `bias`) add up to `e_v` times what the head adds.

    Args:
        query: position; the last token by default.
        into: as in `ov`.
        top: how many effects are wanted, the strongest; None for all.
        memory_limit: bytes, or text such as `4GB`, for what is made on the way.

    Returns:
        Strongest effect first: `target` (feature), `term`, `key`, `token`, `pattern`, `effect`.

    Raises:
        InputError: no such head or position, no dictionary there, or a table of all effects that
            does not fit.
    """
    check_head(model, layer, head)
    limit, tokens = int(read_limit(memory_limit)), read_prompt(model, prompt)
    n_pos = tokens.shape[1]
    query = n_pos - 1 if query is None else query
    if not 0 <= query < n_pos:
        raise InputError(f"query {query} was asked for; the prompt has tokens 0 to {n_pos - 1}")
    anatomy = take_apart(model, tokens, FULL)
    reader = HeadReader(anatomy.blocks[layer].attention, head)
    terms = read_terms(model, tokens, anatomy, layer, "features")
    dictionary = target_dictionary(model, layer, into)
    index = next(i for i, s in enumerate(model.splices) if s.dictionary is dictionary)
    targets = observe(model, tokens).sites[index].activations.active(0, query).nonzero()[:, 0]
    pattern = reader.attention.pattern[0, head, query]
    values, pos, kind = _values(reader, terms, n_pos, limit)
    read = dictionary.encoder_rows(targets) @ _written(reader.attention, head, query).T
    found = strongest_products(read, values * pattern[pos, None], top=top, memory_limit=limit)
    texts = [model.tokenizer.decode([token]) for token in tokens[0].tolist()]
    return _table(found, targets, (kind, (*terms.names, BIAS)), (pos, texts, pattern))


def _values(
    reader: HeadReader, terms: Terms, n_pos: int, memory_limit: int
) -> tuple[Float[Tensor, "n d_head"], Int[Tensor, " n"], Int[Tensor, " n"]]:
    """All terms as the head's values, the bias last: vectors, positions, kinds."""
    attention, head = reader.attention, reader.head
    constant = attention.b_V[head]
    if attention.norm.bias is not None:
        constant = constant + attention.norm.bias @ attention.W_V[head]
    of_terms = terms.read(
        lambda vectors, at: reader.normed(vectors, at) @ attention.W_V[head],
        memory_limit=memory_limit,
    )
    every = torch.arange(n_pos, device=of_terms.device)
    return (
        torch.cat([of_terms, constant.expand(n_pos, -1)]),
        torch.cat([terms.pos, every]),
        torch.cat([terms.kind, torch.full_like(every, len(terms.names))]),
    )


def _written(attention: Attention, head: int, query: int) -> Float[Tensor, "d_head d_model"]:
    """What each number of a value adds to the stream at a position, a norm behind it held."""
    if attention.post_norm is None:
        return attention.W_O[head]
    return attention.post_norm.push(attention.W_O[head]) / attention.post_norm.scale[0, query]


def _table(
    found: Chosen,
    targets: Int[Tensor, " n_target"],
    terms: tuple[Int[Tensor, " n"], tuple[str, ...]],
    keys: tuple[Int[Tensor, " n"], list[str], Float[Tensor, " pos"]],
) -> pd.DataFrame:
    (kind, names), (pos, texts, pattern) = terms, keys
    at: list[int] = pos[found.kind].tolist()
    which: list[int] = kind[found.kind].tolist()
    table = pd.DataFrame(
        {
            "target": targets[found.query].tolist(),
            "term": [names[one] for one in which],
            "key": at,
            "token": [texts[key] for key in at],
            "pattern": pattern[pos[found.kind]].tolist(),
            "effect": found.score.tolist(),
        }
    )
    order = table["effect"].abs().sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)
