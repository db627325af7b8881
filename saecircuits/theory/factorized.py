"""The factorized view, exact: what a component reads is the sum of all that was written before."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def reads(
    source: Float[Tensor, "pos d_model"],
    outputs: Sequence[Float[Tensor, "_ pos d_model"]],
) -> Float[Tensor, "reader pos d_model"]:
    """`r_i = x_0 + sum of o_b over the components b before step i`, and T as the last row.

    Args:
        outputs: step by step, what each of its components writes.
    """
    written = torch.stack([one.sum(0) for one in outputs])
    return torch.cat([source[None], source + written.cumsum(0)])


def shares_of_reads(
    source: Float[Tensor, "pos d_model"],
    outputs: Sequence[Float[Tensor, "_ pos d_model"]],
) -> Float[Tensor, "reader n_source"]:
    """How much of what each step reads is whose: `o_b . r_i / |r_i|^2`; rows add up to 1.

    Columns are x_0 and then the components in order; what comes later has share 0. The last row is
    of T. Products and norms run over all positions.
    """
    read = reads(source, outputs).flatten(1)
    written = torch.cat([source[None], *outputs]).flatten(1)
    shares = read @ written.T / (read * read).sum(1, keepdim=True)
    counts = [1, *(len(one) for one in outputs)]
    firsts = torch.tensor(counts, device=read.device).cumsum(0)
    is_before = torch.arange(len(written), device=read.device) < firsts[:, None]
    return shares * is_before.to(shares)
