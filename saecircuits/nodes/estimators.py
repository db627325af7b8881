"""What moving a place by a little, or all the way, does to the metric: `dm/dx` at every place.

    gradient                at the clean run: the effect of moving one node, to first order
    integrated gradients    the mean of the gradient along the straight line from the baseline to
                            the clean value of a whole site, by the midpoint rule: the nodes'
                            shares in their joint change. At each site they add up to
                            m(clean) - m(site at its baseline); what is missing from that sum is
                            the completeness gap, and the number of steps doubles until it is small
                            (Sundararajan, Taly and Yan 2017, proposition 1)

Either gives one gradient per place, and a node's effect is its product with the node's change:
`E(u) = sum over the unit's tokens of (dm/dx . d_u) (a_u clean - a_u baseline)`.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from saecircuits.nodes.contrast import TOKENS, Contrast
from saecircuits.splicing.carrying import beside
from saecircuits.splicing.observation import pass_through


@dataclass(frozen=True)
class IntegrationSettings:
    """How finely integrated gradients are computed.

    Attributes:
        tolerance: largest completeness gap, relative to the summed size of the true changes.
        first_steps: steps tried first; doubled while the gap is above the tolerance.
        max_steps: the last number of steps tried; a gap that remains is reported.
    """

    tolerance: float = 1e-3
    first_steps: int = 4
    max_steps: int = 64


@dataclass(frozen=True, eq=False)
class PlaceGradient:
    """`dm/dx` at one place, and how well it accounts for the joint change there.

    Attributes:
        gradient: logits per unit of the written tensor, or of all that the place's nodes write,
            side by side.
        explained: per prompt, gradient times the place's change, all nodes together.
        actual: per prompt, `m(clean) - m(place at its baseline)`; None where it was not measured.
        steps: integration points; 1 for the gradient at the clean run.
    """

    gradient: Float[Tensor, "batch pos _"]
    explained: Float[Tensor, " batch"]
    actual: Float[Tensor, " batch"] | None
    steps: int


def clean_gradients(contrast: Contrast) -> dict[int, PlaceGradient]:
    """The gradient of the metric at the clean run, at every place, from one backward pass."""
    written: dict[int, Tensor] = {}
    through = pass_through(contrast.model, contrast.held_errors(), contrast.carried())

    def at_tokens(tokens: Tensor) -> Tensor:
        written[TOKENS] = tokens.detach().requires_grad_()
        return written[TOKENS]

    def at_site(index: int, read: Tensor, write: Tensor) -> Tensor:
        written[index] = through(index, read, write)
        return written[index]

    with torch.enable_grad():
        logits = contrast.model.forward(
            contrast.tokens, at_site=at_site, at_tokens=at_tokens, operator=contrast.operator
        )
        metric = contrast.metric(logits).sum()
        tokens, *at_sites = torch.autograd.grad(metric, [written[p] for p in contrast.places])
        by_site = beside(contrast.model, dict(enumerate(at_sites)))
    return {
        place: PlaceGradient(
            gradient=gradient,
            explained=_explained(contrast, place, gradient),
            actual=None,
            steps=1,
        )
        for place, gradient in {TOKENS: tokens, **by_site}.items()
    }


def integrated_gradients(
    contrast: Contrast, settings: IntegrationSettings | None = None
) -> dict[int, PlaceGradient]:
    """The mean gradient along each place's own line from baseline to clean, at every place."""
    settings = settings or IntegrationSettings()
    return {place: _integrate(contrast, place, settings) for place in contrast.places}


def midpoints(steps: int) -> Float[Tensor, " step"]:
    """The points of the midpoint rule on [0, 1]: `(k + 1/2) / steps`."""
    return (torch.arange(steps, device="cpu") + 0.5) / steps


def _integrate(contrast: Contrast, place: int, settings: IntegrationSettings) -> PlaceGradient:
    end = contrast.clean_value(place)
    change = contrast.change(place)
    with torch.no_grad():
        ends = contrast.run_with(place, torch.cat([end, end - change]))
    actual = ends[0] - ends[1]
    scale = actual.abs().sum()
    steps = settings.first_steps
    while True:
        gradient = _mean_gradient(contrast, place, end=end, change=change, steps=steps)
        explained = _explained(contrast, place, gradient)
        gap = (explained - actual).abs().sum()
        if gap <= settings.tolerance * scale or 2 * steps > settings.max_steps:
            return PlaceGradient(gradient, explained, actual, steps)
        steps *= 2


def _mean_gradient(
    contrast: Contrast, place: int, *, end: Tensor, change: Tensor, steps: int
) -> Tensor:
    total = torch.zeros_like(end)
    # A few points at a time: enough to keep the processor busy, little enough to fit anywhere.
    together = max(1, 4096 // (end.shape[0] * end.shape[1]))
    for points in midpoints(steps).split(together):
        from_end = (1 - points.to(end))[:, None, None, None]
        values = (end - from_end * change).flatten(0, 1).requires_grad_()
        with torch.enable_grad():
            metric = contrast.run_with(place, values).sum()
            (gradient,) = torch.autograd.grad(metric, values)
        total += gradient.unflatten(0, (len(points), -1)).sum(0)
    return total / steps


def _explained(contrast: Contrast, place: int, gradient: Tensor) -> Tensor:
    return (gradient * contrast.change(place)).sum((1, 2)).cpu()
