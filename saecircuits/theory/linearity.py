"""How straight a curve is: the metric along a line between two runs."""

import torch
from jaxtyping import Float
from torch import Tensor


def midpoint_deviation(curves: Float[Tensor, "point ..."]) -> Float[Tensor, "..."]:
    """The curve at its middle point, less the middle of its chord; 0 for a straight line.

    Args:
        curves: values at evenly spaced points, an odd number of them.
    """
    assert curves.shape[0] % 2 == 1, f"no middle among {curves.shape[0]} points"
    return curves[curves.shape[0] // 2] - (curves[0] + curves[-1]) / 2


def line_residuals(curves: Float[Tensor, "point ..."]) -> Float[Tensor, "2 ..."]:
    """Sums of squares about the least-squares line, and about the mean, of every curve.

    `1 - first / second`, each summed over curves or not, is the R^2 of a line.
    """
    points = torch.linspace(-1, 1, curves.shape[0], device=curves.device).to(curves)
    centred = curves - curves.mean(0)
    slope = torch.tensordot(points, centred, dims=1) / (points**2).sum()
    line = points.view(-1, *[1] * (curves.ndim - 1)) * slope
    return torch.stack([((centred - line) ** 2).sum(0), (centred**2).sum(0)])
