"""From products of queries and keys to attention patterns: what a layer's softmax is taken of.

    A = softmax(cap(scale * q . k) + bias)

Only differences within a row of A matter, so scores are compared less their mean under A. What the
bias of a position is does not depend on the stream; it is known here up to a slope per head
(ALiBi). Cells of A that are zero are behind the mask.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from saecircuits.splicing.anatomy.recording import Recording
from saecircuits.splicing.sites import AttentionHooks


def read_score_map(
    recording: Recording,
    hooks: AttentionHooks,
    products: Float[Tensor, "batch head pos pos_key"],
) -> tuple[float, Float[Tensor, "batch head pos pos_key"] | None]:
    """What products of queries and keys are multiplied by, and the slope of a soft-cap if any.

    Args:
        products: of every query with every key, as they meet.
    """
    pattern = recording[hooks.pattern]
    # Smaller shares may have lost digits, and weigh nothing.
    allowed = pattern > torch.finfo(torch.float32).tiny
    cap = float(recording.setting("attn_scores_soft_cap", -1.0))
    slope = None
    if cap > 0:
        capped = torch.where(allowed, recording[hooks.scores] / cap, 0.0)
        recording.agree(f"{hooks.module} (softmax)", recording[hooks.scores].softmax(-1), pattern)
        scores, slope = cap * torch.atanh(capped), 1 - capped**2
    else:
        scores = torch.where(allowed, pattern, 1.0).log()

    def centred(values: Tensor) -> Tensor:
        mean = (pattern * values).sum(-1, keepdim=True) / pattern.sum(-1, keepdim=True)
        return (values - mean) * allowed

    scores, products = centred(scores), centred(products)
    if recording.setting("positional_embedding_type") == "alibi":
        keys = torch.arange(pattern.shape[-1]).to(pattern).expand_as(pattern)
        scores, products = (_without(values, centred(keys)) for values in (scores, products))
    scale = float((products * scores).sum() / (products * products).sum())
    recording.agree(f"{hooks.module} (scores)", scale * products, scores)
    return scale, slope


def _without(values: Tensor, bias: Tensor) -> Tensor:
    """What of the values is, head by head, no multiple of the bias."""
    over = (0, 2, 3)
    share = (values * bias).sum(over, keepdim=True) / (bias * bias).sum(over, keepdim=True)
    return values - share * bias
