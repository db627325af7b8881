"""From products of queries and keys to attention patterns: what a layer's softmax is taken of.

    A = softmax(cap(scale * q . k) + bias)

Only differences within a row of A matter, so scores are compared less their mean under A. What the
bias of a position is does not depend on the stream; it is known here up to a slope per head
(ALiBi). Cells of A that are zero are behind the mask.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from saecircuits.splicing.anatomy.recording import Recording
from saecircuits.splicing.part_hooks import AttentionHooks


@dataclass(frozen=True, eq=False)
class ScoreMap:
    """What lies between products of queries and keys and the softmax.

    Attributes:
        scale: what products are multiplied by.
        slope: derivative of the soft-cap; None where there is none.
        cap: the soft-cap, `cap * tanh(score / cap)`; None where there is none.
        alibi: what is added to a score for every position that the key is further on, by head;
            None without ALiBi.
    """

    scale: float
    slope: Float[Tensor, "batch head pos pos_key"] | None
    cap: float | None
    alibi: Float[Tensor, " head"] | None


def read_score_map(
    recording: Recording,
    hooks: AttentionHooks,
    products: Float[Tensor, "batch head pos pos_key"],
) -> ScoreMap:
    """How scores come of products, checked against the patterns.

    Args:
        products: of every query with every key, as they meet.
    """
    pattern = recording[hooks.pattern]
    # Smaller shares may have lost digits, and weigh nothing.
    allowed = pattern > torch.finfo(torch.float32).tiny
    cap = float(recording.setting("attn_scores_soft_cap", -1.0))
    slope, alibi = None, None
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
        keys = torch.arange(pattern.shape[-1], device=pattern.device).to(pattern).expand_as(pattern)
        bias = centred(keys)
        shares = [_share(values, bias) for values in (scores, products)]
        scores, products = scores - shares[0] * bias, products - shares[1] * bias
        alibi = shares
    scale = float((products * scores).sum() / (products * products).sum())
    recording.agree(f"{hooks.module} (scores)", scale * products, scores)
    if alibi is not None:
        alibi = (alibi[0] - scale * alibi[1]).flatten()
    return ScoreMap(scale, slope, cap if cap > 0 else None, alibi)


def _share(values: Tensor, bias: Tensor) -> Tensor:
    """Which multiple of the bias is nearest to the values, head by head; `[1, head, 1, 1]`."""
    over = (0, 2, 3)
    return (values * bias).sum(over, keepdim=True) / (bias * bias).sum(over, keepdim=True)
