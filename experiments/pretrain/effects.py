"""What the training of dictionaries lowers beside divergence: how much of an effect they lose.

A metric m depends on the stream x at a site by its gradient g. With a dictionary's reconstruction
y(x) = x - e in place of x, m changes at first order by -g.e: the effect that its error node has.
The metric is not known when dictionaries are trained. In its place stands the log-probability of a
token drawn from the model's own distribution: over such draws the mean of (g.e)^2 is e'Fe with
Fisher's information F, and half of it is the divergence of the next-token distribution at second
order (gradient-aware dictionaries of Olmo et al. 2024, arXiv 2411.10397, weigh features by
gradients of a loss; here the error is weighed, by the model's own information).

An effect also has to pass: if the stream changes by v, the features that are on change what they
write by J v, with J = W_dec' diag(on) W_enc', and J v takes the place of v for all that reads the
stream as features. What is lost is g.(v - J v). Changes v are differences between texts at one
position, which is what a counterfactual prompt changes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from activations import collect_with
from public_model import Model
from torch import Tensor


def drawn_gradients(
    model: Model, ids: Tensor, sites: Sequence[str], generator: torch.Generator, chunk: int = 512
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """What the unembedding reads, the stream at the sites, and the gradients there.

    Gradients are those of the summed log-probabilities of one token a position, drawn from the
    model's own distribution there, position 0 left out; all `[row, position, width]`, in float32
    but the first.
    """
    streams: dict[str, Tensor] = {}
    with torch.enable_grad():
        final = model.final(ids, low=True, tap=collect_with(streams, sites))
    up = torch.zeros_like(final)
    states, wanted = final[:, 1:].detach().flatten(0, 1), up[:, 1:].flatten(0, 1).clone()
    weight = model.unembedding.detach()
    with torch.no_grad():
        for start in range(0, len(states), chunk):
            part = slice(start, start + chunk)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = states[part] @ weight.T
            shares = logits.float().softmax(-1)
            drawn = torch.multinomial(shares, 1, generator=generator)[:, 0]
            with torch.autocast("cpu", dtype=torch.bfloat16):
                mean = shares @ weight
            wanted[part] = (weight[drawn].float() - mean.float()).to(wanted)
    up[:, 1:] = wanted.view_as(up[:, 1:])
    found = torch.autograd.grad(final, [streams[site] for site in sites], up)
    gradients = {site: grad.float() for site, grad in zip(sites, found, strict=True)}
    return final.detach(), {site: streams[site].detach().float() for site in sites}, gradients


def share_lost(gradient: Tensor, lost: Tensor, whole: Tensor) -> Tensor:
    """Sum of the squared effects of what is lost, over that of the whole; a number."""
    return (gradient * lost).sum(-1).square().sum() / (gradient * whole).sum(-1).square().sum()
