"""The stream that a head reads, as terms: features of a dictionary, or components of the model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.errors import InputError, UnknownNameError
from saecircuits.memory_limit import DEFAULT
from saecircuits.splicing import SplicedModel, observe
from saecircuits.splicing.anatomy import Anatomy
from saecircuits.splicing.parts import dictionary_before, stream_parts

Basis: TypeAlias = Literal["features", "components"]
BIAS = "bias"


@dataclass(frozen=True, eq=False)
class Terms:
    """Vectors that add up, position by position, to the stream.

    Active features come first, `value * W_dec[feature]`, and are made when they are read: side by
    side they take d_model numbers each.

    Attributes:
        whole: the vectors of the other terms.
        pos: the position of every vector.
        kind: which entry of `names` a vector is.
        names: `feature 17`, `error`, `b_dec`; or components such as `tokens` and `L0.H3`.
    """

    value: Float[Tensor, " n_active"]
    feature: Int[Tensor, " n_active"]
    W_dec: Float[Tensor, "d_sae d_model"]
    whole: Float[Tensor, "n_whole d_model"]
    pos: Int[Tensor, " n"]
    kind: Int[Tensor, " n"]
    names: tuple[str, ...]

    def read(
        self,
        by: Callable[[Float[Tensor, "n_some d_model"], Int[Tensor, " n_some"]], Tensor],
        *,
        memory_limit: int = DEFAULT,
    ) -> Float[Tensor, "n d_out"]:
        """What a linear map makes of every vector, given it and its position.

        Args:
            memory_limit: an eighth of it is for the vectors of one call, and their copies.
        """
        together = max(1, memory_limit // 8 // (4 * self.whole.shape[1] * self.whole.itemsize))
        n_active, found = len(self.value), []
        for start in range(0, n_active, together):
            rows = slice(start, min(start + together, n_active))
            vectors = self.value[rows, None] * self.W_dec[self.feature[rows]]
            found.append(by(vectors, self.pos[rows]))
        found.append(by(self.whole, self.pos[n_active:]))
        return torch.cat(found)


def read_terms(
    model: SplicedModel, tokens: Int[Tensor, "1 pos"], anatomy: Anatomy, layer: int, by: str
) -> Terms:
    """The terms of the stream that enters block `layer`.

    Raises:
        UnknownNameError: `by` is neither features nor components.
        InputError: no dictionary is spliced at that stream.
    """
    check_basis(by)
    if by == "components":
        parts = stream_parts(model, tokens, anatomy, layer)
        names = tuple(part.component for part in parts)
        return _everywhere([part.stream[0] for part in parts], names)
    index = need_dictionary(model, layer)
    site, W_dec = observe(model, tokens).sites[index], model.splices[index].dictionary.W_dec
    active = site.activations
    used, kind = active.feature.unique(return_inverse=True)
    rest = site.rest if site.rest.ndim == 3 else site.rest.expand_as(site.error)
    whole = _everywhere([site.error[0], rest[0]], ("error", "b_dec"))
    return Terms(
        active.value,
        active.feature,
        W_dec,
        whole.whole,
        torch.cat([active.token, whole.pos]),
        torch.cat([kind, whole.kind + len(used)]),
        (*(f"feature {feature}" for feature in used.tolist()), *whole.names),
    )


def check_basis(by: str) -> None:
    """Raises UnknownNameError unless `by` is features or components."""
    if by not in get_args(Basis):
        raise UnknownNameError("basis", by, get_args(Basis))


def need_dictionary(model: SplicedModel, layer: int) -> int:
    """The splice at the stream that block `layer` reads; InputError where there is none."""
    index = dictionary_before(model, layer)
    if index is None:
        before = "" if layer == 0 else f"blocks.{layer - 1}.hook_resid_post or "
        raise InputError(
            f"no dictionary is spliced at the stream that layer {layer} reads; spliced are "
            f"{', '.join(model.hooks) or 'none'}. Splice one at {before}"
            f"blocks.{layer}.hook_resid_pre, or ask for components instead of features"
        )
    return index


def _everywhere(streams: list[Tensor], names: tuple[str, ...]) -> Terms:
    """Terms that are there at every position."""
    stacked = torch.stack(streams)
    n_kinds, n_pos = stacked.shape[:2]
    pos = torch.arange(n_pos, device=stacked.device).repeat(n_kinds)
    kind = torch.arange(n_kinds, device=stacked.device).repeat_interleave(n_pos)
    none = stacked.new_zeros(0)
    return Terms(none, none.long(), stacked[0, :0], stacked.flatten(0, 1), pos, kind, names)
