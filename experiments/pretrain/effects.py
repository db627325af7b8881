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

A counterfactual prompt changes little. Where most of the text is the same, the stream differs by
less than a dictionary's error; reconstructions make the difference smaller, layer by layer, or lose
it, well as both streams are described. `twins` are rows that differ by a word here and there, so
that what is made of such changes can be counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from activations import collect_with
from public_model import Model
from torch import Tensor


@dataclass(frozen=True)
class Reference:
    """What the untouched model does with rows of text.

    Attributes:
        final: what the unembedding reads, `[row, position, width]`.
        streams: at the sites, in float32.
        gradients: there, of the summed log-probabilities of `drawn`.
        drawn: a token for every position but 0, drawn from the model's distribution behind it,
            `[row, position - 1]`.
    """

    final: Tensor
    streams: dict[str, Tensor]
    gradients: dict[str, Tensor]
    drawn: Tensor


def drawn_gradients(
    model: Model, ids: Tensor, sites: Sequence[str], generator: torch.Generator, chunk: int = 512
) -> Reference:
    """A run of the untouched model, and effects on log-probabilities of tokens drawn from it."""
    streams: dict[str, Tensor] = {}
    with torch.enable_grad():
        final = model.final(ids, low=True, tap=collect_with(streams, sites))
    up = torch.zeros_like(final)
    states, wanted = final[:, 1:].detach().flatten(0, 1), up[:, 1:].flatten(0, 1).clone()
    weight = model.unembedding.detach()
    tokens = []
    with torch.no_grad():
        for start in range(0, len(states), chunk):
            part = slice(start, start + chunk)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = states[part] @ weight.T
            shares = logits.float().softmax(-1)
            tokens.append(torch.multinomial(shares, 1, generator=generator)[:, 0])
            with torch.autocast("cpu", dtype=torch.bfloat16):
                mean = shares @ weight
            wanted[part] = (weight[tokens[-1]].float() - mean.float()).to(wanted)
    up[:, 1:] = wanted.view_as(up[:, 1:])
    found = torch.autograd.grad(final, [streams[site] for site in sites], up)
    gradients = {site: grad.float() for site, grad in zip(sites, found, strict=True)}
    return Reference(
        final=final.detach(),
        streams={site: streams[site].detach().float() for site in sites},
        gradients=gradients,
        drawn=torch.cat(tokens).view(len(ids), -1),
    )


def twins(
    ids: Tensor, drawn: Tensor, generator: torch.Generator, every: int = 32
) -> tuple[Tensor, Tensor]:
    """The same rows with a token here and there replaced by another that could stand there.

    Args:
        ids: `[row, position]`.
        drawn: of the model, behind every position but 0 (`Reference.drawn`).
        every: one token in so many is replaced, each at a random place of its stretch; none at
            position 0 or 1.

    Returns:
        The rows, and where they are the same, `[row, position]`.
    """
    others = torch.cat([ids[:, :2], drawn[:, :-1]], dim=1)
    n_row, n_pos = ids.shape
    starts = torch.arange(0, n_pos, every)
    chosen = starts + torch.randint(0, every, (n_row, len(starts)), generator=generator)
    changed = torch.zeros_like(ids, dtype=torch.bool)
    changed.scatter_(1, chosen.clamp(max=n_pos - 1), True)
    other = torch.where(changed, others, ids)
    return other, other == ids


def share_lost(gradient: Tensor, lost: Tensor, whole: Tensor) -> Tensor:
    """Sum of the squared effects of what is lost, over that of the whole; a number."""
    return (gradient * lost).sum(-1).square().sum() / (gradient * whole).sum(-1).square().sum()
