"""Which features make a head look there: attention scores as exact sums over pairs of terms."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias, get_args

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.errors import InputError, UnknownNameError
from saecircuits.heads.reading import HeadReader, Prompt, Side, check_head, read_prompt
from saecircuits.heads.terms import BIAS, Terms, read_terms
from saecircuits.splicing import SplicedModel
from saecircuits.splicing.anatomy import take_apart
from saecircuits.splicing.operators import FULL
from saecircuits.theory.scores import capped, pair_contrasts, pair_scores
from saecircuits.torch_state import in_own_state

POSITION = "position"
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
        pairs: one row per pair of terms: `query_term`, `key_term`, `score` (what the pair adds at
            the key), `contrast` (the same less its mean over keys: what it does to attention),
            `share` of the whole contrast. Terms are features, `error`, `b_dec`, or components;
            `bias` (of norm and weights); and `position` for ALiBi. Rows add up to the key's score
            and contrast. A term that is at other keys only has a score of 0 and a contrast of its
            own.
    """

    layer: int
    head: int
    tokens: tuple[str, ...]
    query: int
    key: int
    keys: pd.DataFrame
    pairs: pd.DataFrame

    @cached_property
    def query_terms(self) -> pd.DataFrame:
        """Scores and contrasts by the query's term, strongest contrast first."""
        return self._by("query_term")

    @cached_property
    def key_terms(self) -> pd.DataFrame:
        """Scores and contrasts by the key's term, strongest contrast first."""
        return self._by("key_term")

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

    def _by(self, column: str) -> pd.DataFrame:
        summed = self.pairs.groupby(column)[["score", "contrast", "share"]].sum().reset_index()
        return _strongest_first(summed)


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

    Raises:
        UnknownNameError: `by` or `against` is none of these.
        InputError: a head, query or key that is not there, or no dictionary at that stream.
        NotCoveredError: a model whose attention is not of a known form.
    """
    check_head(model, layer, head)
    if against not in get_args(Weighting):
        raise UnknownNameError("mean over keys", against, get_args(Weighting))
    tokens = read_prompt(model, prompt)
    n_pos = tokens.shape[1]
    query = n_pos - 1 if query is None else _checked("query", query, n_pos)
    anatomy = take_apart(model, tokens, FULL)
    reader = HeadReader(anatomy.blocks[layer].attention, head)
    terms = read_terms(model, tokens, anatomy, layer, by)
    pattern = reader.attention.pattern[0, head, query]
    weights = pattern if against == "pattern" else (pattern > 0).to(pattern)
    weights = weights / weights.sum()
    sides = [_side(reader, terms, side, n_pos) for side in ("query", "key")]
    at_query = (sides[0][1] == query).nonzero()[:, 0]
    seen = (pattern[sides[1][1]] > 0).nonzero()[:, 0]
    vectors, pos, kind = (part[seen] for part in sides[1])
    pairs = pair_scores(sides[0][0][at_query], vectors, reader.attention.scale)
    alibi = reader.attention.alibi
    position = torch.zeros_like(pattern)
    if alibi is not None:
        position = torch.arange(n_pos, device=pattern.device).to(pattern) * alibi[head]
    scores = torch.zeros_like(pattern).index_add(0, pos, pairs.sum(0)) + position
    keys = _keys(model, tokens, (pattern, weights, scores), reader.attention.cap)
    key = int(pattern.argmax()) if key is None else _checked("key", key, n_pos)
    if pattern[key] <= 0:
        raise InputError(f"key {key} is not seen by query {query}: it is behind the mask")
    names = (*terms.names, BIAS)
    table = _pairs(
        [names[kind] for kind in sides[0][2][at_query].tolist()],
        names,
        scores=pairs.new_zeros(len(pairs), len(names)).index_add(
            1, kind, pairs * (pos == key).to(pairs)
        ),
        contrasts=pair_contrasts(pairs, pos, kind, weights, key, len(names)),
    )
    if alibi is not None:
        centred = float(position[key] - (weights * position).sum())
        row = pd.DataFrame([[POSITION, POSITION, float(position[key]), centred]],
                           columns=table.columns)  # fmt: skip
        table = pd.concat([table, row], ignore_index=True)
    table["share"] = table["contrast"] / table["contrast"].sum()
    texts = tuple(_texts(model, tokens))
    return HeadScores(layer, head, texts, query, key, keys, _strongest_first(table))


def _side(
    reader: HeadReader, terms: Terms, side: Side, n_pos: int
) -> tuple[Float[Tensor, "n d_head"], Int[Tensor, " n"], Int[Tensor, " n"]]:
    """All terms as queries or keys, the bias last: vectors, positions, kinds."""
    every = torch.arange(n_pos, device=terms.pos.device)
    vectors = torch.cat([reader.read(side, terms.vectors, terms.pos), reader.bias(side, every)])
    kind = torch.cat([terms.kind, torch.full_like(every, len(terms.names))])
    return vectors, torch.cat([terms.pos, every]), kind


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


def _pairs(
    query_names: list[str], key_names: tuple[str, ...], *, scores: Tensor, contrasts: Tensor
) -> pd.DataFrame:
    kept = ((scores != 0) | (contrasts != 0)).nonzero()
    return pd.DataFrame(
        {
            "query_term": [query_names[row] for row in kept[:, 0].tolist()],
            "key_term": [key_names[column] for column in kept[:, 1].tolist()],
            "score": scores[kept[:, 0], kept[:, 1]].tolist(),
            "contrast": contrasts[kept[:, 0], kept[:, 1]].tolist(),
        }
    )


def _strongest_first(table: pd.DataFrame) -> pd.DataFrame:
    order = table["contrast"].abs().sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)


def _checked(what: str, position: int, n_pos: int) -> int:
    if not -n_pos <= position < n_pos:
        raise InputError(f"{what} {position} was asked for; the prompt has tokens 0 to {n_pos - 1}")
    return position % n_pos
