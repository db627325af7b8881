"""What the tokens do to the metric to first order, and what of it goes by features alone.

The tokens' linear effect is `sum over tokens of dm/dx . (x clean - x baseline)`, x the embedding
and the gradient that of the spliced model at the clean run. With every error recomputed the splice
is the identity, so this is the sum over all paths. With every error held at its clean value no
derivative passes through one, and what is left is the sum over paths that meet no error node: they
pass through features, through skip weights, and beside the dictionaries where these do not hold the
whole stream. In the second run a site writes what it does in the clean one, and backwards

    dm/da_i      = sum over places t where feature i writes, of  dm/dwritten_t . d_{i,t}
    dm/dread_s   = sum over features i active at s, of  dm/da_i e_i   +  W_skip^T dm/dwritten_s

of which rows of active features alone are needed.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from saecircuits.nodes.contrast import TOKENS, Contrast
from saecircuits.nodes.estimators import PlaceGradient, clean_gradients
from saecircuits.splicing import Activations, Dictionary
from saecircuits.splicing.activations import sparse_matrix

# Numbers that are gathered at one time (16 MB of float32).
_AT_ONCE = 2**22


def token_effects(
    contrast: Contrast, slopes: PlaceGradient | None = None
) -> Float[Tensor, "2 batch"]:
    """The tokens' linear effect on every prompt's metric, and what of it goes by features alone.

    In logits, summed over all tokens: positive supports the answer. Both are slopes at the clean
    run under the contrast's operator and baseline, whatever its error policy and the estimator.

    Args:
        slopes: what `clean_gradients` gives at the tokens with errors recomputed, if it is there.

    Returns:
        On the CPU, in the dtype that the model computes in.
    """
    if slopes is None:
        slopes = clean_gradients(replace(contrast, error_policy="recompute"))[TOKENS]
    return torch.stack([slopes.explained, effect_by_features(contrast)])


def effect_by_features(contrast: Contrast) -> Float[Tensor, " batch"]:
    """The tokens' linear effect on every prompt's metric that passes through no error node.

    See `token_effects`; errors are held for this.
    """
    model, clean = contrast.model, contrast.clean.sites
    values: dict[int, Tensor] = {}
    embedded: list[Tensor] = []

    def at_tokens(tokens: Tensor) -> Tensor:
        embedded.append(tokens.detach().requires_grad_())
        return embedded[0]

    def at_site(index: int, read: Tensor, write: Tensor) -> Tensor:
        dictionary = model.splices[index].dictionary
        values[index] = _Read.apply(read, clean[index].activations, dictionary)
        writers = [
            (model.splices[place].dictionary, clean[place].activations, at)
            for place, at in model.writers(index)
        ]
        sources = [values[place] for place, _ in model.writers(index)]
        written = _Write.apply(write, writers, *sources)
        skipped = dictionary.skip(read)
        if isinstance(skipped, Tensor):
            written = written + (skipped - skipped.detach()).to(written)
        return written

    with torch.enable_grad():
        logits = model.forward(
            contrast.tokens, at_site=at_site, at_tokens=at_tokens, operator=contrast.operator
        )
        (gradient,) = torch.autograd.grad(contrast.metric(logits).sum(), embedded)
    return (gradient * contrast.change(TOKENS)).sum((1, 2)).cpu()


class _Read(torch.autograd.Function):
    """From what a site reads to the activations of its active features, one entry each."""

    @staticmethod
    def forward(ctx: Any, read: Tensor, acts: Activations, dictionary: Dictionary) -> Tensor:
        ctx.save_for_backward(read)
        ctx.acts, ctx.dictionary = acts, dictionary
        return acts.value.clone()

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore
        (read,) = ctx.saved_tensors
        acts, dictionary = ctx.acts, ctx.dictionary
        used, column = acts.feature.unique(return_inverse=True)
        indices, shape = torch.stack([acts.token, column]), (acts.matrix.shape[0], len(used))
        by_token = sparse_matrix(indices, slopes[0], shape)
        found = dictionary.rows_summed(by_token, used, read.flatten(0, 1))
        return found.unflatten(0, read.shape[:2]).to(read), None, None


class _Write(torch.autograd.Function):
    """From activations to what is written at a place: its clean value, errors held."""

    @staticmethod
    def forward(
        ctx: Any,
        write: Tensor,
        writers: list[tuple[Dictionary, Activations, int]],
        *values: Tensor,
    ) -> Tensor:
        ctx.writers = writers
        return write.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        found: list[Tensor | None] = [None, None]
        for dictionary, acts, at in ctx.writers:
            flat = gradients[0].flatten(0, 1).to(acts.value)
            slopes = torch.empty_like(acts.value)
            for some in _chunks(len(slopes), dictionary.d_out):
                rows = dictionary.directions(acts.feature[some], at)
                slopes[some] = (flat[acts.token[some]] * rows).sum(-1)
            found.append(slopes)
        return tuple(found)


def _chunks(n_entry: int, width: int) -> Iterator[slice]:
    """Entries so many at a time that rows of this width fit."""
    step = max(1, _AT_ONCE // width)
    return (slice(start, start + step) for start in range(0, n_entry, step))
