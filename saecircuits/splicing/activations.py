"""Feature activations of many tokens, of which a few in a thousand are not zero: kept sparse."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saecircuits.splicing.dictionary import Dictionary

# Dense activations that exist at one time while a run is encoded, in numbers (64 MB of float32).
_AT_ONCE = 2**24


@dataclass(frozen=True, eq=False)
class Activations:
    """Activations, or differences of activations, of every feature at every token.

    Attributes:
        matrix: sparse COO, coalesced, `[batch * pos, d_sae]`.
        n_batch: prompts, laid one after the other in the rows.
    """

    matrix: Float[Tensor, "n_token d_sae"]
    n_batch: int

    @property
    def d_sae(self) -> int:
        """Number of features."""
        return self.matrix.shape[1]

    @property
    def token(self) -> Int[Tensor, " n_entry"]:
        """The token of every stored entry, ascending, counted through all prompts."""
        return self.matrix.indices()[0]

    @property
    def feature(self) -> Int[Tensor, " n_entry"]:
        """The feature of every stored entry, ascending within a token."""
        return self.matrix.indices()[1]

    @property
    def value(self) -> Float[Tensor, " n_entry"]:
        """Every stored entry."""
        return self.matrix.values()

    def dense(self) -> Float[Tensor, "batch pos d_sae"]:
        """Every activation, zeros included."""
        return self.matrix.to_dense().unflatten(0, (self.n_batch, -1))

    def decode(self, W_dec: Float[Tensor, "d_sae d_out"]) -> Float[Tensor, "batch pos d_out"]:
        """`a @ W_dec`, touching the rows of active features alone."""
        return torch.sparse.mm(self.matrix, W_dec).unflatten(0, (self.n_batch, -1))

    def of(self, features: Int[Tensor, " n_chosen"]) -> Float[Tensor, "batch pos n_chosen"]:
        """The activations of chosen features, which may repeat."""
        chosen, back = features.unique(return_inverse=True)
        column = torch.searchsorted(chosen, self.feature)
        is_chosen = column < len(chosen)
        if len(chosen):
            is_chosen &= chosen[column.clamp(max=len(chosen) - 1)] == self.feature
        dense = self.matrix.values().new_zeros(self.matrix.shape[0], len(chosen))
        dense[self.token[is_chosen], column[is_chosen]] = self.value[is_chosen]
        return dense[:, back].unflatten(0, (self.n_batch, -1))

    def active(self, prompt: int | Tensor, pos: int | Tensor) -> Bool[Tensor, "*lead d_sae"]:
        """Which features are active at some tokens."""
        n_pos = self.matrix.shape[0] // self.n_batch
        rows = torch.as_tensor(prompt * n_pos + pos, device=self.matrix.device)
        picked = self.matrix.index_select(0, rows.flatten()).to_dense() != 0
        return picked.unflatten(0, rows.shape) if rows.ndim else picked[0]

    def weighted(self, weights: Float[Tensor, " n_entry"]) -> "Activations":
        """Every stored entry times a number of its own."""
        matrix = sparse_matrix(self.matrix.indices(), self.value * weights, self.matrix.shape)
        return Activations(matrix, self.n_batch)

    def minus(self, other: "Activations") -> "Activations":
        """The difference, entry by entry."""
        return Activations((self.matrix - other.matrix).coalesce(), self.n_batch)


@torch.no_grad()
def encode_sparse(dictionary: Dictionary, read: Float[Tensor, "batch pos d_in"]) -> Activations:
    """The activations of what is read, a few tokens at a time."""
    together = max(1, _AT_ONCE // dictionary.d_sae)
    indices, values = [], []
    for start, tokens in enumerate(read.flatten(0, 1).split(together)):
        acts = dictionary.encode(tokens)
        token, feature = acts.nonzero().unbind(1)
        indices.append(torch.stack([token + start * together, feature]))
        values.append(acts[token, feature])
    shape = (read.shape[0] * read.shape[1], dictionary.d_sae)
    return Activations(
        sparse_matrix(torch.cat(indices, 1), torch.cat(values), shape), read.shape[0]
    )


def sparse_matrix(
    indices: Int[Tensor, "2 n_entry"], values: Float[Tensor, " n_entry"], shape: Sequence[int]
) -> Float[Tensor, "rows columns"]:
    """A sparse matrix of entries in order, row by row, no place twice."""
    return torch.sparse_coo_tensor(
        indices, values, tuple(shape), is_coalesced=True, check_invariants=False
    )


def sparse_product(
    left: Float[Tensor, "rows inner"], right: Float[Tensor, "inner columns"]
) -> Float[Tensor, "rows columns"]:
    """`left @ right` of a sparse matrix with a dense one, or sparse with a sparse one.

    Every entry of `left` takes the whole row of `right` that it names: torch's own product of two
    sparse matrices is not there on every device.
    """
    left = left.to(right.dtype)
    if not right.is_sparse:
        return torch.sparse.mm(left, right)
    right = right.coalesce()
    (rows, inner), (at, column) = left.indices(), right.indices()
    sizes = torch.bincount(at, minlength=right.shape[0])
    count = sizes[inner]
    entry = torch.repeat_interleave(torch.arange(len(inner), device=at.device), count)
    step = torch.arange(len(entry), device=at.device) - (count.cumsum(0) - count)[entry]
    taken = (sizes.cumsum(0) - sizes)[inner][entry] + step
    product = torch.sparse_coo_tensor(
        torch.stack([rows[entry], column[taken]]),
        left.values()[entry] * right.values()[taken],
        (left.shape[0], right.shape[1]),
        check_invariants=False,
    )
    return product.coalesce()
