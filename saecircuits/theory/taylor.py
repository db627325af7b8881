"""Taylor's orders of an effect, and Hessian-vector products.

What is taken away goes along a line: `m(t)` is the metric when the share t of a change is left,
clean at t = 1 and at the baseline at t = 0. The effect `m(1) - m(0)` is, by Taylor about t = 1,

    order 1     m'(1)                       attribution patching
    order 2     m'(1) - m''(1) / 2          exact for a quadratic m
    remainder   effect - order 2            of third order in the change for a smooth m

`m'(1) = grad . d` and `m''(1) = d . H d` for a change d. Where m has kinks or jumps between 0 and 1
(ReLU, thresholds of features) the derivatives at 1 know nothing of them: they are in the remainder.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Orders:
    """What Taylor's first two orders say of effects, and what they are.

    Attributes:
        measured: `m(1) - m(0)`.
        first: the estimate to order 1.
        second: the estimate to order 2, the first included.
    """

    measured: Float[Tensor, "*lines"]
    first: Float[Tensor, "*lines"]
    second: Float[Tensor, "*lines"]

    @property
    def remainder(self) -> Float[Tensor, "*lines"]:
        """What order 2 leaves."""
        return self.measured - self.second


def hessian_vector_product(
    function: Callable[[Tensor], Tensor],
    point: Float[Tensor, "*shape"],
    direction: Float[Tensor, "*shape"],
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """The gradient at a point and the Hessian times a direction, by two backward passes.

    Args:
        function: gives one number, or several that are added up.
    """
    with torch.enable_grad():
        at = point.detach().requires_grad_()
        gradient = _gradient(function(at), at, create_graph=True)
        product = _gradient(gradient * direction, at)
    return gradient.detach(), product


def orders_along(curve: Callable[[Tensor], Tensor], like: Float[Tensor, "*lines"]) -> Orders:
    """Orders of many effects at once: one line each.

    Args:
        curve: m at one t per line; the m of a line depends on its own t alone.
        like: a tensor of the shape, dtype and device that `curve` takes.
    """
    with torch.no_grad():
        measured = curve(torch.ones_like(like)) - curve(torch.zeros_like(like))
    slope, bend = hessian_vector_product(curve, torch.ones_like(like), torch.ones_like(like))
    return Orders(
        measured=measured, first=slope.to(measured), second=(slope - bend / 2).to(measured)
    )


def _gradient(values: Tensor, at: Tensor, *, create_graph: bool = False) -> Tensor:
    """The gradient of a sum; zero where it does not depend on the point."""
    if not values.requires_grad:
        return torch.zeros_like(at)
    (gradient,) = torch.autograd.grad(
        values.sum(), at, create_graph=create_graph, allow_unused=True
    )
    return torch.zeros_like(at) if gradient is None else gradient
