"""Expansions on random maps of a small stream, with nothing of a model in them."""

from functools import partial

import pytest
import torch
from torch import Tensor

from saecircuits.errors import InputError
from saecircuits.theory import (
    AffineComponent,
    Step,
    all_paths,
    degree_spectrum,
    naive_expansion,
    partial_sum_errors,
    path_changes,
    paths_by_degree,
    reads,
    shares_of_reads,
    through,
    total_change,
)
from saecircuits.theory.affine import StreamMap
from tests.tolerance import Tolerance

SIZES = (1, 2, 1, 2)
CLOSE: Tolerance = {"rtol": 0, "atol": 1e-12}


def _mix(weight: Tensor, across: Tensor, stream: Tensor) -> Tensor:
    return across @ (stream @ weight)


def _component(name: str, bias: float) -> AffineComponent:
    weight, across = torch.randn(7, 7).double() / 3, torch.randn(3, 3).double().tril()
    return AffineComponent(name, partial(_mix, weight, across), bias * torch.randn(3, 7).double())


def _steps(bias: float = 1.0) -> list[Step]:
    return [
        Step(tuple(_component(f"{number}.{member}", bias) for member in range(size)))
        for number, size in enumerate(SIZES)
    ]


def _forward(source: Tensor, steps: list[Step]) -> tuple[Tensor, list[Tensor]]:
    """The stream and what every component writes, one component after the other."""
    stream, outputs = source, []
    for step in steps:
        written = torch.stack([one.linear(stream) + one.bias for one in step.components])
        outputs.append(written)
        stream = stream + written.sum(0)
    return stream, outputs


@pytest.fixture
def source() -> Tensor:
    return torch.randn(3, 7).double()


def test_terms_add_up_and_are_the_sums_of_paths(source: Tensor) -> None:
    steps = _steps()
    stream, _ = _forward(source, steps)
    terms = degree_spectrum(source, steps)
    torch.testing.assert_close(terms.sum(0), stream, **CLOSE)
    paths = all_paths(source, steps)
    assert len(paths) == 2 * 3 * 2 * 3
    for degree, term in enumerate(terms):
        found = torch.stack([value for path, value in paths.items() if len(path) == degree])
        assert len(found) == paths_by_degree(SIZES)[degree]
        torch.testing.assert_close(found.sum(0), term, **CLOSE)
    first, last = steps[0].components[0], steps[3].components[1]
    by_hand = last.linear(first.linear(source) + first.bias)
    torch.testing.assert_close(paths["0.0", "3.1"], by_hand, **CLOSE)


def test_too_many_paths_are_refused(source: Tensor) -> None:
    with pytest.raises(InputError, match="36 paths through 6 components"):
        all_paths(source, _steps(), limit=35)


def test_through_is_what_goes_missing_without_the_component(source: Tensor) -> None:
    steps = _steps()
    stream, outputs = _forward(source, steps)
    found = through(source, steps, outputs)
    names = [one.name for step in steps for one in step.components]
    for row, name in enumerate(names, start=1):
        left = [
            Step(
                tuple(
                    AffineComponent(name, torch.zeros_like, torch.zeros(3, 7).double())
                    if one.name == name
                    else one
                    for one in step.components
                )
            )
            for step in steps
        ]
        torch.testing.assert_close(found[row], stream - _forward(source, left)[0], **CLOSE)
    less = stream - _forward(torch.zeros_like(source), steps)[0]
    torch.testing.assert_close(found[0], less, **CLOSE)


def test_every_read_is_a_sum_of_what_was_written_before(source: Tensor) -> None:
    steps = _steps()
    stream, outputs = _forward(source, steps)
    found = reads(source, outputs)
    torch.testing.assert_close(found[2], source + outputs[0].sum(0) + outputs[1].sum(0), **CLOSE)
    torch.testing.assert_close(found[-1], stream, **CLOSE)
    shares = shares_of_reads(source, outputs)
    assert shares.shape == (5, 7)
    torch.testing.assert_close(shares.sum(1), torch.ones(5).double(), **CLOSE)
    assert (shares[1, 2:] == 0).all()


def test_the_naive_sum_is_right_for_linear_components_alone(source: Tensor) -> None:
    for bias, is_right in ((0.0, True), (1.0, False)):
        steps = _steps(bias)
        stream, _ = _forward(source, steps)
        maps = [[(one.name, partial(_affine, one)) for one in step.components] for step in steps]
        naive = naive_expansion(maps, source, stream, limit=1000)
        assert naive.is_complete
        assert naive.errors[0] == pytest.approx(1.0)
        assert naive.paths == tuple(paths_by_degree(SIZES))
        assert (naive.errors[-1] < 1e-12) == is_right
        if is_right:
            exact = partial_sum_errors(degree_spectrum(source, steps), stream)
            assert naive.errors == pytest.approx(exact, abs=1e-12)


def _affine(component: AffineComponent, stream: Tensor) -> Tensor:
    return component.linear(stream) + component.bias


def test_the_counterexample() -> None:
    # x = 1, F_1(x) = x^2, F_2(x) = x^2: T = 1 + 1 + (1 + 1)^2 = 6; the naive sum is
    # 1 + (F_1 + F_2) + F_2(F_1) = 1 + 2 + 1 = 4.
    one = torch.ones(1, 1).double()
    naive = naive_expansion([[("F1", torch.square)], [("F2", torch.square)]], one, 6 * one, limit=9)
    assert naive.errors == pytest.approx((1.0, 3 / 5, 2 / 5))


@pytest.mark.parametrize(
    ("options", "degrees", "words"),
    [
        ({"limit": 1000}, 5, "complete: degree 4 is the last"),
        ({"limit": 18}, 2, "stopped at degree 1, after 6 .*degree 2 takes 13 more, .* limit is 18"),
        ({"limit": 1000, "max_degree": 2}, 3, "stopped at degree 2, as asked"),
    ],
)
def test_the_naive_sum_says_where_it_stopped(
    source: Tensor, options: dict[str, int], degrees: int, words: str
) -> None:
    import re

    steps = _steps()
    maps = [[(one.name, partial(_affine, one)) for one in step.components] for step in steps]
    naive = naive_expansion(maps, source, source, **options)
    assert len(naive.errors) == len(naive.applications) == degrees
    assert re.fullmatch(words, naive.stopped)
    assert naive.applications[-1] <= options["limit"]


def test_paths_of_linear_components_do_not_interact(source: Tensor) -> None:
    steps = _steps()
    linear = [[(one.name, one.linear) for one in step.components] for step in steps]
    levels = list(path_changes(linear, source, first=1, limit=1000))
    whole = total_change([step.linear for step in steps], source, first=1)
    found = torch.cat([level.values for level in levels]).sum(0)
    torch.testing.assert_close(found, whole, **CLOSE)
    assert levels[0].paths == ((),)
    assert all(path[0][0] != "0" for path in levels[1].paths)
    curved = [[(name, partial(_curved, apply)) for name, apply in step] for step in linear]
    together = [partial(_sum, step) for step in curved]
    bent = torch.cat([one.values for one in path_changes(curved, source, first=1, limit=999)])
    assert (bent.sum(0) - total_change(together, source, first=1)).abs().max() > 0.1


def _curved(apply: StreamMap, change: Tensor) -> Tensor:
    return apply(change).tanh()


def _sum(step: list[tuple[str, partial[Tensor]]], change: Tensor) -> Tensor:
    return torch.stack([apply(change) for _, apply in step]).sum(0)
