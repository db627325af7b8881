"""Activation functions and their derivatives, recognised by what they do."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import torch
from torch import Tensor, nn

from saecircuits.splicing.anatomy.checks import agree

Function = Callable[[Tensor], Tensor]
_SQRT_2_OVER_PI = 0.7978845608028654
# Of the mean; other functions are further off, and rounding to bfloat16 less.
_CLOSE: Final = 1e-3


def find_activation(
    name: str,
    pre: Tensor,
    post: Tensor,
    up: Tensor | None,
    *,
    own: Any = None,
    dtype: torch.dtype,
) -> tuple[Function, Function]:
    """The function that leads from `pre` to `post`, times `up` if there is one; its derivative.

    A bridge's configuration does not always say, so the function is the one that fits best: of
    those that are known here, or else of those that the MLP holds, with autograd's derivative.

    Args:
        name: the MLP's, for messages.
        own: the MLP itself, of Hugging Face.
        dtype: what the model computed in.

    Raises:
        NotCoveredError: none fits, or what fits does not act on every number alone.
    """

    def gap(function: Function) -> float:
        found = function(pre) if up is None else function(pre) * up
        return float((found - post).abs().mean())

    found, slope = min(_KNOWN, key=lambda pair: gap(pair[0]))
    if not gap(found) <= _CLOSE * float(post.abs().mean()):
        functions = [function for function in _held_by(own) if _is_elementwise(function, pre)]
        found = min((found, *functions), key=gap)
        slope = slope if found not in functions else _by_autograd(found)
    computed = found(pre) if up is None else found(pre) * up
    agree(f"{name} (activation function)", computed, post, dtype=dtype)
    return found, slope


def _held_by(own: Any) -> Iterator[Any]:
    """What a module calls that has no weight matrix: its activation function is among it."""
    if own is None:
        return
    for part in (*own.children(), *vars(own).values()):
        is_map = isinstance(part, nn.Module) and any(p.ndim > 1 for p in part.parameters())
        if callable(part) and not is_map:
            yield part


@torch.no_grad()
def _is_elementwise(function: Function, pre: Tensor) -> bool:
    """Whether a function gives one number for each, whatever stands beside it."""
    try:
        whole, turned = function(pre), function(pre.flip(-1)).flip(-1)
        alone = function(pre[..., :1])
    except Exception:  # what is no activation function fails in ways of its own
        return False
    if not isinstance(whole, Tensor) or whole.shape != pre.shape or alone.shape[-1] != 1:
        return False
    return torch.allclose(whole, turned) and torch.allclose(whole[..., :1], alone)


def _by_autograd(function: Function) -> Function:
    def slope(z: Tensor) -> Tensor:
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            (found,) = torch.autograd.grad(function(z).sum(), z)
        return found

    return slope


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


def _squared_relu(z: Tensor) -> Tensor:
    return torch.relu(z) ** 2


def _squared_relu_slope(z: Tensor) -> Tensor:
    return 2 * torch.relu(z)


_KNOWN: tuple[tuple[Function, Function], ...] = (
    (torch.nn.functional.gelu, _gelu_slope),
    (_tanh_gelu, _tanh_gelu_slope),
    (torch.nn.functional.silu, _silu_slope),
    (torch.relu, _relu_slope),
    (_squared_relu, _squared_relu_slope),
)
