"""Rows at every token that they reach: the way on, once an attention layer has been left again.

A target then has a cotangent `c_t` at every token up to its own. An attention layer is passed
inside its heads: what the tokens t of a row bring to a token s is added up there, d_head wide,
before any weight is met, so that a layer costs one product per weight and token, however long the
prompt is.

    u_t   = W_O^h c_t
    dS_ts = A_ts (u_t . v_s - sum_s' A_ts' u_t . v_s') * slope / sqrt(d_head)
    values of s   sum_t A_ts u_t
    keys of s     sum_t dS_ts q_t       turned back, through the norm of keys
    queries of t  sum_s dS_ts k_s       likewise

Only tokens from the first at which a source stands count: what is before them meets nothing, and
nothing flows back to a later token.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.edges.factorised.attention import Crossing, reaching
from saecircuits.edges.factorised.rows import Rows
from saecircuits.splicing.anatomy import Attention

# Numbers that are held for spread rows at one time, about (134 MB of float32).
_HELD = 2**25
# Of these, those that are made at one time on leaving the heads.
_AT_ONCE = 2**22


@dataclass(frozen=True, eq=False)
class Plane:
    """The rows of one prompt as a table: origins by tokens.

    Attributes:
        rows: where they stand among all rows.
        tokens: those that any of them is at.
        shape: origins, and tokens.
        cell: where each row stands in the table, flattened; None where all cells are rows.
    """

    prompt: int
    rows: slice
    tokens: slice
    shape: tuple[int, int]
    cell: Int[Tensor, " n_row"] | None

    def table(
        self, values: Float[Tensor, "n_row head d_head"]
    ) -> Float[Tensor, "head n_cell d_head"]:
        """The plane's rows, head by head; 0 where there is no row."""
        here = values[self.rows]
        if self.cell is not None:
            cells = here.new_zeros(self.shape[0] * self.shape[1], *here.shape[1:])
            here = cells.index_copy_(0, self.cell, here)
        return here.transpose(0, 1).contiguous()

    def rows_of(
        self, table: Float[Tensor, "head n_cell d_head"]
    ) -> Float[Tensor, "n_row head d_head"]:
        """The other way round."""
        cells = table.transpose(0, 1)
        return cells if self.cell is None else cells[self.cell]


def planes(rows: Rows) -> tuple[Plane, ...]:
    """Spread rows prompt by prompt, as they are ordered; prompts without rows are left out."""
    found, start = [], 0
    for prompt, count in enumerate(torch.bincount(rows.prompt, minlength=rows.n_prompt).tolist()):
        here = slice(start, start + count)
        start += count
        if not count:
            continue
        origins, origin = rows.origin[here].unique_consecutive(return_inverse=True)
        pos = rows.pos[here]
        first, last = int(pos.min()), int(pos.max())
        shape = (len(origins), last + 1 - first)
        cell = None if count == shape[0] * shape[1] else origin * shape[1] + pos - first
        found.append(Plane(prompt, here, slice(first, last + 1), shape, cell))
    return tuple(found)


def gather(
    attention: Attention,
    value: Float[Tensor, "n_row head d_head"],
    rows: Rows,
    on: tuple[Plane, ...],
) -> Float[Tensor, "n_row many_heads d_head"]:
    """What spread rows have at each token once a layer's heads have added up their tokens.

    Args:
        value: `u_t`, every row's own.

    Returns:
        Each row's own token read as values, head by head, and where patterns move as keys and as
        queries.
    """
    found = [value.new_zeros(0, *value.shape[1:])] * (1 if attention.is_held else 3)
    if on:
        by_plane = [_gather(attention, plane.table(value), plane) for plane in on]
        found = [
            torch.cat([plane.rows_of(table) for plane, table in zip(on, tables, strict=True)])
            for tables in zip(*by_plane, strict=True)
        ]
    if attention.is_held:
        return found[0]
    values, keys, queries = found
    keys = attention.pull_back_key(keys, rows.prompt, at=rows.pos)
    queries = attention.pull_back_query(queries, rows.prompt, rows.pos)
    return torch.cat([values, keys, queries], 1)


def _gather(
    attention: Attention, u: Float[Tensor, "head n_cell d_head"], plane: Plane
) -> tuple[Float[Tensor, "head n_cell d_head"], ...]:
    here, tokens = plane.prompt, plane.tokens
    # Patterns have a column for every key: a softmax knows those before the first token as well.
    before = slice(0, tokens.stop)
    pattern = attention.pattern[here, :, tokens, before][:, None]
    at_tokens = pattern[..., tokens].transpose(-1, -2)
    values = (at_tokens @ u.unflatten(1, plane.shape)).flatten(1, 2)
    if attention.is_held:
        return (values,)
    moved = (u @ attention.v[here, before].permute(1, 2, 0)).unflatten(1, plane.shape)
    score = moved.sub_((pattern * moved).sum(-1, keepdim=True)).mul_(pattern)
    if attention.slope is not None:
        score *= attention.slope[here, :, tokens, before][:, None]
    score *= attention.scale
    q = attention.q[here, tokens].transpose(0, 1)[:, None]
    keys = (score[..., tokens].transpose(-1, -2) @ q).flatten(1, 2)
    queries = score.flatten(1, 2) @ attention.k[here, before].transpose(0, 1)
    return values, keys, queries


def read_back(
    attention: Attention,
    left: Float[Tensor, "n_row many_heads d_head"],
    prompt: Int[Tensor, " n_row"],
    pos: Int[Tensor, " n_row"],
) -> Float[Tensor, "n_row d_model"]:
    """From the heads to the stream that a layer reads, each row at its own token.

    Args:
        left: as values, keys and queries, in this order; some of the last may be missing.
    """
    vectors = _read(attention, left)
    return attention.norm.pull_back(vectors, prompt, pos)


def _read(
    attention: Attention, left: Float[Tensor, "n_row many_heads d_head"]
) -> Float[Tensor, "n_row d_model"]:
    n_head, shared = len(attention.W_V), attention.shared
    values, *others = left.split(n_head, 1)
    vectors = _through(attention.W_V, values, shared)
    if others:
        vectors += _through(attention.W_K, others[0], shared)
    if len(others) > 1:
        vectors += _through(attention.W_Q, others[1], 1)
    return vectors


def _through(
    W: Float[Tensor, "head d_model d_head"], left: Float[Tensor, "n_row head d_head"], shared: int
) -> Float[Tensor, "n_row d_model"]:
    """A product with `W_V`, `W_K` or `W_Q`, whose heads may be the same for some neighbours."""
    if shared > 1:
        W, left = W[::shared], left.unflatten(1, (-1, shared)).sum(2)
    return left.flatten(1) @ W.transpose(1, 2).flatten(0, 1)


def leave(
    attention: Attention, crossing: Crossing, rows: Rows, spread: Rows, *, n_way: int
) -> Float[Tensor, "n_spread d_model"]:
    """Rows that were crossed at their own token, out of the heads to all tokens that they reach.

    Args:
        rows: as they were crossed, by `n_way` ways, which are added up.
        spread: the same at every token that they reach.
    """
    n_row, size = len(rows.pos), crossing.value.shape[1] * crossing.value.shape[2]
    found = spread.effect_weight.new_zeros(len(spread.pos), attention.W_V.shape[1])
    for some in torch.arange(len(found), device=found.device).split(max(1, _AT_ONCE // (4 * size))):
        row, at = spread.origin[some], spread.pos[some]
        prompt, pos = rows.prompt[row], rows.pos[row]
        own = (pos == at).nonzero()[:, 0]
        for way in range(n_way):
            crossed = row + way * n_row
            found[some] += _read(
                attention, reaching(attention, crossing, crossed, (prompt, pos), at=at)
            )
            if crossing.from_keys is not None:
                queries = _through(attention.W_Q, crossing.from_keys[crossed[own]], 1)
                found.index_add_(0, some[own], queries)
    return attention.norm.pull_back(found, spread.prompt, spread.pos)


def pieces(counts: Int[Tensor, " n_row"], most: int) -> list[slice]:
    """Neighbouring rows, as many at one time as have at most so many tokens; at least one row."""
    found, start, total = [], 0, 0
    for row, count in enumerate(counts.tolist()):
        if total + count > most and row > start:
            found.append(slice(start, row))
            start, total = row, 0
        total += count
    return [*found, slice(start, len(counts))]


def most_cells(attention: Attention) -> int:
    """So many tokens of rows go at one time, and no more."""
    n_head, d_model, d_head = attention.W_V.shape
    n_pos = attention.pattern.shape[-1]
    return max(1, _HELD // (8 * d_model + n_head * (12 * d_head + 4 * n_pos)))


def sum_of(tensors: Iterable[Tensor]) -> Tensor:
    """The sum of some tensors, at least one."""
    return reduce(torch.add, tensors)
