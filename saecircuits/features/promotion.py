"""What a feature does to the logits directly, past everything that later blocks make of it.

    promotion_v = d . (w * U_v)  -  its mean over the vocabulary

with decoder row d (its mean removed where the final norm removes the stream's), weight w of the
final norm and unembedding column U_v: times what the model multiplies logits by, and behind the
projection of the stream where there is one. The norm's scale is one positive number per token; it
is left out, so values compare features with each other but are not logits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log, sqrt

import torch
from jaxtyping import Float
from torch import Tensor

from saecircuits.splicing import SplicedModel
from saecircuits.splicing.anatomy import NotCoveredError, Unembedding, read_out

_LISTED = 10
_FEATURES_AT_ONCE = 64
# The largest of n normal values is about sqrt(2 ln n) deviations. Unembeddings are not normal: on a
# small trained model 1 in 100 random directions came to 1.2 times that.
_CLEARLY = 1.2


@dataclass(frozen=True)
class Promotion:
    """Tokens by direct effect, as (token id, value), strongest first.

    Attributes:
        stands_out: the first promoted token is well above what a random direction would give.
    """

    promoted: tuple[tuple[int, float], ...] = ()
    suppressed: tuple[tuple[int, float], ...] = ()
    stands_out: bool = False


def promotions(model: SplicedModel, site: str, features: Sequence[int]) -> Iterator[Promotion]:
    """The promotion of each feature.

    Empty for a site that does not write to the stream, and in a model in which more than a norm and
    linear maps lies between the stream and the logits.
    """
    splice = model.splices[model.index(site)]
    if not splice.site.is_in_stream:
        yield from (Promotion() for _ in features)
        return
    try:
        end = read_out(model)
    except NotCoveredError:
        yield from (Promotion() for _ in features)
        return
    # Vocabularies are padded for speed; ids beyond the tokenizer stand for nothing.
    n_known = min(end.W_U.shape[1], len(model.tokenizer))
    for start in range(0, len(features), _FEATURES_AT_ONCE):
        chosen = splice.dictionary.indices(features[start : start + _FEATURES_AT_ONCE])
        # Of a feature that writes at several places, the sum of what it adds to the stream.
        rows = splice.dictionary.directions(chosen)
        rows = rows.unflatten(-1, (splice.dictionary.n_written, -1)).sum(-2)
        for values in direct_logit_effects(end, rows)[:, :n_known]:
            yield _strongest(values.float().cpu())


@torch.no_grad()
def direct_logit_effects(
    end: Unembedding, directions: Float[Tensor, "n_node d_model"]
) -> Float[Tensor, "n_node d_vocab"]:
    """`promotion_v` for directions of the residual stream, for every token v."""
    effects = end.norm.push(directions.to(end.W_U)) @ end.W_U
    return effects - effects.mean(-1, keepdim=True)


def _strongest(values: Float[Tensor, " d_vocab"]) -> Promotion:
    count = min(_LISTED, len(values) // 2)
    up, down = values.topk(count), (-values).topk(count)
    limit = _CLEARLY * sqrt(2 * log(len(values))) * float(values.std())
    return Promotion(
        promoted=tuple(zip(up.indices.tolist(), up.values.tolist(), strict=True)),
        suppressed=tuple(zip(down.indices.tolist(), (-down.values).tolist(), strict=True)),
        stands_out=bool(up.values[0] > limit),
    )
