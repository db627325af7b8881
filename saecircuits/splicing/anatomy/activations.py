"""Activation functions and their derivatives, recognised by what they do."""

from collections.abc import Callable

import torch
from torch import Tensor

from saecircuits.splicing.anatomy.checks import agree

Function = Callable[[Tensor], Tensor]
_SQRT_2_OVER_PI = 0.7978845608028654


def find_activation(
    name: str, pre: Tensor, post: Tensor, up: Tensor | None, *, dtype: torch.dtype
) -> tuple[Function, Function]:
    """The function that leads from `pre` to `post`, times `up` if there is one; its derivative.

    A bridge's configuration does not always say, so the function is the one that fits best.

    Args:
        name: the MLP's, for messages.
        dtype: what the model computed in.

    Raises:
        NotCoveredError: none fits.
    """

    def computed(function: Function) -> Tensor:
        return function(pre) if up is None else function(pre) * up

    found, slope = min(_KNOWN, key=lambda pair: float((computed(pair[0]) - post).abs().mean()))
    what = f"{name} (activation function: GELU, tanh GELU, SiLU or ReLU)"
    agree(what, computed(found), post, dtype=dtype)
    return found, slope


def _tanh_gelu(z: Tensor) -> Tensor:
    return torch.nn.functional.gelu(z, approximate="tanh")


def _gelu_slope(z: Tensor) -> Tensor:
    normal = torch.distributions.Normal(torch.zeros_like(z), torch.ones_like(z))
    return normal.cdf(z) + z * torch.exp(normal.log_prob(z))


def _tanh_gelu_slope(z: Tensor) -> Tensor:
    # phi(z) = z (1 + tanh t) / 2 with t = sqrt(2 / pi) (z + 0.044715 z^3)
    tanh = torch.tanh(_SQRT_2_OVER_PI * (z + 0.044715 * z**3))
    inner = _SQRT_2_OVER_PI * (1 + 3 * 0.044715 * z**2)
    return (1 + tanh) / 2 + z * (1 - tanh**2) * inner / 2


def _silu_slope(z: Tensor) -> Tensor:
    gate = torch.sigmoid(z)
    return gate * (1 + z * (1 - gate))


def _relu_slope(z: Tensor) -> Tensor:
    return (z > 0).to(z)


_KNOWN: tuple[tuple[Function, Function], ...] = (
    (torch.nn.functional.gelu, _gelu_slope),
    (_tanh_gelu, _tanh_gelu_slope),
    (torch.nn.functional.silu, _silu_slope),
    (torch.relu, _relu_slope),
)
