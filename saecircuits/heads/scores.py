"""Which features make a head look there: attention scores as exact sums over pairs of terms."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

import pandas as pd
import torch
from torch import Tensor

from saecircuits.errors import InputError, UnknownNameError
from saecircuits.heads.pairing import KeyTerms, check_top, sum_pairs, tables_of
from saecircuits.heads.reading import HeadReader, Prompt, Side, check_head, read_prompt
from saecircuits.heads.terms import BIAS, Terms, read_terms
from saecircuits.memory_limit import DEFAULT
from saecircuits.splicing import SplicedModel
from saecircuits.splicing.anatomy import Anatomy, take_apart
from saecircuits.splicing.operators import FULL
from saecircuits.theory.scores import capped
from saecircuits.torch_state import in_own_state

Weighting: TypeAlias = Literal["pattern", "uniform"]


@dataclass(frozen=True, eq=False)
class HeadScores:
    """One query of one head, its scores taken apart.

    Attributes:
        tokens: the text of every token, what is prepended included.
        key: the key that `pairs` is about.
        keys: one row per key that the query sees: `key`, `token`, `pattern` (the model's own
            attention), `score` (the sum of all pairs, before a soft-cap), `contrast` (the score
            less its mean over keys), and `capped` where scores pass a soft-cap.
        pairs: one row per pair of terms, strongest contrast first: `query_term`, `key_term`,
            `score` (what the pair adds at the key), `contrast` (the same less its mean over keys:
            what it does to attention), `share` of the whole contrast. Terms are features, `error`,
            `b_dec`, or components; `bias` (of norm and weights); and `position` for ALiBi. All rows
            add up to the key's score and contrast. A term that is at other keys only has a score of
            0 and a contrast of its own.
        n_pairs: how many pairs there are, of which `pairs` may hold the strongest alone.
        query_terms, key_terms: scores, contrasts and shares by the query's and by the key's term,
            over all pairs, strongest contrast first.
    """

    layer: int
    head: int
    tokens: tuple[str, ...]
    query: int
    key: int
    keys: pd.DataFrame
    pairs: pd.DataFrame
    n_pairs: int
    query_terms: pd.DataFrame
    key_terms: pd.DataFrame

    def to_json(self) -> dict[str, Any]:
        """Everything as one object that JSON can hold."""
        return {
            "layer": self.layer,
            "head": self.head,
            "tokens": list(self.tokens),
            "query": self.query,
            "key": self.key,
            "keys": self.keys.to_dict("records"),
            "pairs": self.pairs.to_dict("records"),
        }


@dataclass(frozen=True)
class Question:
    """What is asked of a head; see `attention`.

    Attributes:
        top: how many pairs are wanted, the strongest; None for all.
        memory_limit: bytes, for everything that is made on the way.
    """

    query: int | None = None
    key: int | None = None
    by: str = "features"
    against: str = "pattern"
    top: int | None = None
    memory_limit: int = DEFAULT


@in_own_state
@torch.no_grad()
def attention(
    model: SplicedModel,
    prompt: Prompt,
    layer: int,
    head: int,
    *,
    query: int | None = None,
    key: int | None = None,
    by: str = "features",
    against: str = "pattern",
) -> HeadScores:
    """Takes a head's attention scores apart into pairs of terms, exactly.

        score[q, k] = scale * sum_u sum_v  R_q(W_Q N u) . R_k(W_K N v)  (+ slope * k with ALiBi)

    where u runs over the terms of the stream at q, and v over those at k; N is the layer's norm at
    the prompt, its scale held, R the rotary turn and the norm of queries and keys where a model
    has them, and norm biases, b_Q and b_K are terms of their own. The sum over all pairs is the
    model's score (THEORY: QK, exact for frozen norms). A soft-cap is applied to the sum.

    Args:
        prompt: text, without BOS; or token ids, taken as they are.
        query: position of the query; the last token by default. Position 0 is what the model
            prepends, if it prepends anything.
        key: position of the key; by default the one attended to most.
        by: `features` of the dictionary spliced at the stream that the layer reads, or
            `components` (tokens, positions, every earlier head and MLP).
        against: which mean over keys a contrast is less of: under the `pattern`, which is what
            moves attention at this prompt; or `uniform` over the keys that the query sees, which
            says more where a head looks at one key alone.

    The table holds all pairs; `scores_of_head` gives the strongest alone, in bounded memory.

    Raises:
        UnknownNameError: `by` or `against` is none of these.
        InputError: a head, query or key that is not there, no dictionary at that stream, or a table
            that would take more than 4 GB.
        NotCoveredError: a model whose attention is not of a known form.
    """
    asked = Question(query, key, by, against)
    return scores_of_head(model, prompt, layer, head, asked)


@in_own_state
@torch.no_grad()
def apart(model: SplicedModel, prompt: Prompt) -> Anatomy:
    """The model's weights and its run on a prompt, taken apart: for several heads at one prompt.

    Raises:
        NotCoveredError: a model whose attention is not of a known form.
    """
    return take_apart(model, read_prompt(model, prompt), FULL)


@in_own_state
@torch.no_grad()
def scores_of_head(
    model: SplicedModel,
    prompt: Prompt,
    layer: int,
    head: int,
    asked: Question,
    *,
    anatomy: Anatomy | None = None,
) -> HeadScores:
    """A head's attention scores as `attention` takes them apart, with as many pairs as are asked.

    Query terms meet the keys a block at a time, and the strongest pairs are kept as they are found:
    memory is within the limit however many pairs there are.

    Args:
        anatomy: of this very prompt (`apart`), if it is at hand.
    """
    check_head(model, layer, head)
    if asked.against not in get_args(Weighting):
        raise UnknownNameError("mean over keys", asked.against, get_args(Weighting))
    check_top(asked.top)
    tokens = read_prompt(model, prompt)
    n_pos = tokens.shape[1]
    query = n_pos - 1 if asked.query is None else _checked("query", asked.query, n_pos)
    if anatomy is None:
        anatomy = take_apart(model, tokens, FULL)
    reader = HeadReader(anatomy.blocks[layer].attention, head)
    terms = read_terms(model, tokens, anatomy, layer, asked.by)
    pattern = reader.attention.pattern[0, head, query]
    key = int(pattern.argmax()) if asked.key is None else _checked("key", asked.key, n_pos)
    if pattern[key] <= 0:
        raise InputError(f"key {key} is not seen by query {query}: it is behind the mask")
    weights = pattern if asked.against == "pattern" else (pattern > 0).to(pattern)
    weights = weights / weights.sum()
    queries = _side(reader, terms, "query", n_pos, asked.memory_limit)
    at_query = (queries.pos == query).nonzero()[:, 0]
    keys = _side(reader, terms, "key", n_pos, asked.memory_limit)
    seen = (pattern[keys.pos] > 0).nonzero()[:, 0]
    found = sum_pairs(
        queries.vectors[at_query],
        KeyTerms(keys.vectors[seen], keys.pos[seen], keys.kind[seen], keys.n_kinds),
        weights,
        scale=reader.attention.scale,
        key=key,
        top=asked.top,
        memory_limit=asked.memory_limit,
    )
    position = torch.zeros_like(pattern)
    alibi = reader.attention.alibi
    if alibi is not None:
        position = torch.arange(n_pos, device=pattern.device).to(pattern) * alibi[head]
    row = (pattern, weights, found.scores + position)
    centred = None if alibi is None else (position[key], position[key] - weights @ position)
    names = (*terms.names, BIAS)
    ends = ([names[kind] for kind in queries.kind[at_query].tolist()], names)
    return HeadScores(
        layer,
        head,
        tuple(_texts(model, tokens)),
        query,
        key,
        _keys(model, tokens, row, reader.attention.cap),
        **tables_of(found, *ends, position=centred, top=asked.top),
    )


def _side(reader: HeadReader, terms: Terms, side: Side, n_pos: int, memory_limit: int) -> KeyTerms:
    """All terms as queries or keys, the bias last."""
    every = torch.arange(n_pos, device=terms.pos.device)
    read = terms.read(partial(reader.read, side), memory_limit=memory_limit)
    vectors = torch.cat([read, reader.bias(side, every)])
    kind = torch.cat([terms.kind, torch.full_like(every, len(terms.names))])
    return KeyTerms(vectors, torch.cat([terms.pos, every]), kind, len(terms.names) + 1)


def _keys(
    model: SplicedModel,
    tokens: Tensor,
    row: tuple[Tensor, Tensor, Tensor],
    cap: float | None,
) -> pd.DataFrame:
    pattern, weights, scores = row
    mean = (weights * scores).sum()
    table = pd.DataFrame(
        {
            "key": range(len(pattern)),
            "token": _texts(model, tokens),
            "pattern": pattern.tolist(),
            "score": scores.tolist(),
            "contrast": (scores - mean).tolist(),
        }
    )
    if cap is not None:
        table["capped"] = capped(scores, cap).tolist()
    return table[pattern.gt(0).cpu().numpy()].reset_index(drop=True)


def _texts(model: SplicedModel, tokens: Tensor) -> list[str]:
    return [model.tokenizer.decode([token]) for token in tokens[0].tolist()]


def _checked(what: str, position: int, n_pos: int) -> int:
    if not -n_pos <= position < n_pos:
        raise InputError(f"{what} {position} was asked for; the prompt has tokens 0 to {n_pos - 1}")
    return position % n_pos
