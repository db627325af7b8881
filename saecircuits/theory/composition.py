"""Composition of attention heads (Elhage et al. 2021, "A Mathematical Framework for Transformer
Circuits", section "Composition").

Streams are rows here: a head reads `x W_V` and writes `x W_V W_O`, so its OV circuit is the matrix
`W_V W_O` and its QK circuit `W_Q W_K^T`, both `[d_model, d_model]` of rank at most d_head.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Stream = Float[Tensor, "d_model d_model"]


@dataclass(frozen=True, eq=False)
class HeadMaps:
    """What a head does to streams as they are, norm weights (not scales) folded in.

    Attributes:
        ov: row x becomes `x @ ov` at the positions that attend.
        qk: `x_q @ qk @ x_k` is the score, but for scale and positions.
    """

    ov: Stream
    qk: Stream


def head_maps(
    push: Stream,
    W_Q: Float[Tensor, "d_model d_head"],
    W_K: Float[Tensor, "d_model d_head"],
    W_V: Float[Tensor, "d_model d_head"],
    W_O: Float[Tensor, "d_head d_model"],
) -> HeadMaps:
    """The circuits of a head whose norm turns row x into `x @ push` over its scale."""
    return HeadMaps(ov=push @ W_V @ W_O, qk=push @ W_Q @ W_K.T @ push.T)


def share(first: Float[Tensor, "n d_model"], then: Float[Tensor, "d_model m"]) -> float:
    """`|first then| / (|first| |then|)` in Frobenius norms: 0 where nothing is read.

    1 is reached only by rank 1 and full agreement; compare with `share_by_chance`.
    """
    product = torch.linalg.matrix_norm(first @ then)
    sizes = torch.linalg.matrix_norm(first) * torch.linalg.matrix_norm(then)
    return float(product / sizes) if sizes > 0 else 0.0


def composition(writer: HeadMaps, reader: HeadMaps) -> dict[str, float]:
    """How much of what `writer` writes is read by the queries, keys and values of `reader`."""
    return {
        "q": share(writer.ov, reader.qk),
        "k": share(writer.ov, reader.qk.T),
        "v": share(writer.ov, reader.ov),
    }


def composition_through(
    writer: HeadMaps,
    reader: HeadMaps,
    encoder: Float[Tensor, "n_feature d_model"],
    decoder: Float[Tensor, "n_feature d_model"],
) -> dict[str, float]:
    """The same with what is written let through by the given features alone.

    `ov` is replaced by `ov @ encoder.T @ decoder`: what the features see of it, as they write it.
    """
    return composition(HeadMaps(writer.ov @ encoder.T @ decoder, writer.qk), reader)


def share_by_chance(d_model: int, d_head: int, *, seed: int = 0, draws: int = 8) -> float:
    """The mean `share` of two products of Gaussian matrices of a head's shape."""
    generator = torch.Generator().manual_seed(seed)

    def product() -> Tensor:
        left = torch.randn(d_model, d_head, generator=generator, device="cpu")
        return left @ torch.randn(d_head, d_model, generator=generator, device="cpu")

    return sum(share(product(), product()) for _ in range(draws)) / draws


def virtual_pattern(
    second: Float[Tensor, "*lead pos pos_key"], first: Float[Tensor, "*lead pos pos_key"]
) -> Float[Tensor, "*lead pos pos_key"]:
    """Where a virtual head (second after first) looks: `A2 A1`; rows sum to 1 as theirs do."""
    return second @ first
