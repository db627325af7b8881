"""Taylor's orders: exact where they must be, and of the right order where they are not."""

import torch
from torch import Tensor

from saecircuits.theory.linearity import line_residuals, midpoint_deviation
from saecircuits.theory.taylor import hessian_vector_product, orders_along


def _smooth(x: Tensor) -> Tensor:
    weights = torch.linspace(-1, 1, x.shape[-1] ** 2).view(x.shape[-1], -1).to(x)
    return (torch.tanh(x @ weights) ** 2 + torch.sin(x)).sum(-1)


def test_a_quadratic_metric_is_exact_at_order_two() -> None:
    matrix = torch.randn(5, 5, dtype=torch.float64)
    clean, changes = torch.randn(5).double(), torch.randn(3, 7, 5).double()

    def metric(share: Tensor) -> Tensor:
        x = clean - (1 - share)[..., None] * changes
        return 3 * x[..., 0] + torch.einsum("...i,ij,...j->...", x, matrix, x)

    found = orders_along(metric, torch.empty(3, 7, dtype=torch.float64))
    torch.testing.assert_close(found.second, found.measured, rtol=1e-12, atol=1e-12)
    assert found.remainder.abs().max() < 1e-12
    assert (found.first - found.measured).abs().max() > 0.1


def test_a_linear_metric_is_exact_at_order_one() -> None:
    found = orders_along(lambda share: 2 * share + 1, torch.empty(4, dtype=torch.float64))
    for of in (found.measured, found.first, found.second):
        torch.testing.assert_close(of, torch.full((4,), 2.0).double())
    flat = orders_along(lambda share: torch.ones_like(share), torch.empty(2))
    assert flat.first.abs().max() == flat.second.abs().max() == 0


def test_the_errors_are_of_order_two_and_three() -> None:
    clean, change = torch.randn(6).double(), torch.randn(6).double()
    sizes = torch.tensor([0.1, 0.05, 0.025, 0.0125], dtype=torch.float64)

    def metric(share: Tensor) -> Tensor:
        return _smooth(clean - ((1 - share) * sizes)[:, None] * change)

    found = orders_along(metric, torch.empty_like(sizes))
    for estimate, order in ((found.first, 2), (found.second, 3)):
        error = (found.measured - estimate).abs()
        rates = (error[:-1] / error[1:]).log2()
        assert (rates - order).abs().max() < 0.2, rates


def test_hessian_vector_products_equal_finite_differences() -> None:
    point, direction = torch.randn(2, 6, dtype=torch.float64)
    gradient, product = hessian_vector_product(_smooth, point, direction)
    step = 1e-5

    def gradient_at(x: Tensor) -> Tensor:
        at = x.clone().requires_grad_()
        return torch.autograd.grad(_smooth(at), at)[0]

    torch.testing.assert_close(gradient, gradient_at(point), rtol=0, atol=1e-12)
    ahead, behind = gradient_at(point + step * direction), gradient_at(point - step * direction)
    torch.testing.assert_close(product, (ahead - behind) / (2 * step), rtol=1e-7, atol=1e-8)


def test_straightness_by_hand() -> None:
    share = torch.linspace(0, 1, 5, dtype=torch.float64)
    curves = torch.stack([3 * share - 1, share**2], dim=1)
    deviation = midpoint_deviation(curves)
    torch.testing.assert_close(deviation, torch.tensor([0.0, 0.25 - 0.5]).double())
    about_line, about_mean = line_residuals(curves)
    # Of 0, 1/16, 1/4, 9/16, 1 the line is t - 1/8; left are 1/8, -1/16, -1/8, -1/16, 1/8.
    torch.testing.assert_close(about_line, torch.tensor([0.0, 14 / 256]).double())
    torch.testing.assert_close(about_mean[1], torch.tensor(174 / 256).double())
