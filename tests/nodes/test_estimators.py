"""Gradients against finite differences; integrated gradients against what they must add up to."""

from typing import Any

import pytest
import torch
from torch import Tensor

from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.effects import node_effects
from saecircuits.nodes.estimators import (
    IntegrationSettings,
    PlaceGradient,
    clean_gradients,
    integrated_gradients,
    midpoints,
)
from saecircuits.splicing import splice
from tests.by_hand import Raw
from tests.models import N_LAYERS, Toy, make_contrast, random_sae
from tests.tolerance import Tolerance

LINEARIZATIONS = ["full", "frozen", "secant"]
POLICIES = ["recompute", "hold"]
CLOSE: Tolerance = {"rtol": 1e-9, "atol": 1e-11}


@pytest.fixture(scope="module")
def toy_relu(toy: Toy) -> Toy:
    """Residual sites with ReLU dictionaries: features that open and close without a jump."""
    dictionaries = {
        f"blocks.{layer}.hook_resid_post": random_sae("standard", seed=20 + layer)
        for layer in range(N_LAYERS)
    }
    return Toy(model=splice(toy.model.bridge, dictionaries, name="toy"), prompts=toy.prompts)


def _contrast(toy: Toy, **choices: Any) -> Contrast:
    return make_contrast(toy.model, toy.prompts, **choices)


@pytest.mark.parametrize(
    ("fixture", "linearization", "policy"),
    [
        *(("toy_mixed", kind, policy) for kind in LINEARIZATIONS for policy in POLICIES),
        *(("toy", "full", policy) for policy in POLICIES),
    ],
)
def test_gradients_are_finite_differences(
    request: pytest.FixtureRequest, fixture: str, linearization: str, policy: str
) -> None:
    # Along a random direction through all tokens at once, on the bare bridge, at every place.
    toy = request.getfixturevalue(fixture)
    contrast = _contrast(toy, linearization=linearization, error_policy=policy)
    raw, step = Raw(contrast), 1e-5
    gradients = clean_gradients(contrast)
    assert list(gradients) == list(contrast.places)
    for place in contrast.places:
        along = torch.randn_like(raw.written[place])
        with torch.no_grad():
            up, down = (raw.plus(place, sign * step * along) for sign in (1, -1))
        expected = (up - down) / (2 * step)
        assert expected.abs().max() > 1e-2
        found = (gradients[place].gradient * along).sum((1, 2))
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
@pytest.mark.parametrize("linearization", LINEARIZATIONS)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.filterwarnings("ignore:A forward hook edited hook_scale")
def test_gradients_are_the_bare_bridge_s_on_other_architectures(
    request: pytest.FixtureRequest, family: str, linearization: str, policy: str
) -> None:
    # Their norms compute in float32, too coarse for finite differences: autograd, one place at a
    # time, with hooks written out.
    toy = request.getfixturevalue(family)
    contrast = _contrast(toy, linearization=linearization, error_policy=policy)
    raw = Raw(contrast)
    for place, found in clean_gradients(contrast).items():
        expected = raw.gradient(place)
        assert expected.abs().max() > 1e-2
        torch.testing.assert_close(found.gradient, expected, rtol=1e-3, atol=1e-4)


def test_the_policies_differ_where_errors_can_carry_something(each_toy: Toy) -> None:
    gradients = [clean_gradients(_contrast(each_toy, error_policy=policy)) for policy in POLICIES]
    last = len(each_toy.model.splices) - 1
    for place in gradients[0]:
        both = [each[place].gradient for each in gradients]
        if place == last:
            torch.testing.assert_close(*both, **CLOSE)
        else:
            assert (both[0] - both[1]).abs().max() > 1e-2


@pytest.mark.parametrize("policy", POLICIES)
def test_gradient_says_what_it_accounts_for(each_toy: Toy, policy: str) -> None:
    contrast = _contrast(each_toy, error_policy=policy)
    for place, found in clean_gradients(contrast).items():
        assert found.steps == 1
        assert found.actual is None
        expected = torch.stack(
            [
                torch.dot(found.gradient[row].flatten(), contrast.change(place)[row].flatten())
                for row in range(5)
            ]
        )
        torch.testing.assert_close(found.explained, expected, **CLOSE)


def test_midpoints_by_hand() -> None:
    torch.testing.assert_close(midpoints(1), torch.tensor([0.5]))
    torch.testing.assert_close(midpoints(4), torch.tensor([0.125, 0.375, 0.625, 0.875]))


@pytest.mark.parametrize("steps", [1, 2, 8])
def test_the_midpoint_rule_is_exact_on_quadratics(steps: int) -> None:
    # d/dt (3 t^2 + 2 t) = 6 t + 2, whose mean over [0, 1] is 5; one-sided sums miss it by 3/steps.
    slope = 6 * midpoints(steps) + 2
    torch.testing.assert_close(slope.mean(), torch.tensor(5.0), rtol=0, atol=1e-6)


def _integrate(contrast: Contrast, steps: int) -> dict[int, PlaceGradient]:
    return integrated_gradients(
        contrast, IntegrationSettings(first_steps=steps, max_steps=steps, tolerance=0.0)
    )


def _actual_by_hand(contrast: Contrast) -> dict[int, Tensor]:
    """`m(clean) - m(place at its baseline)` at every place."""
    raw = Raw(contrast)
    with torch.no_grad():
        return {
            place: raw.metric() - raw.plus(place, -contrast.change(place))
            for place in contrast.places
        }


@pytest.mark.parametrize(
    ("linearization", "policy"), [("full", "hold"), ("frozen", "recompute"), ("secant", "hold")]
)
def test_the_completeness_gap_is_measured_against_the_true_change(
    toy_mixed: Toy, linearization: str, policy: str
) -> None:
    contrast = _contrast(toy_mixed, linearization=linearization, error_policy=policy)
    expected = _actual_by_hand(contrast)
    for place, found in _integrate(contrast, 1).items():
        torch.testing.assert_close(found.actual, expected[place], **CLOSE)


@pytest.mark.parametrize("linearization", ["full", "frozen"])
def test_the_completeness_gap_closes(toy_mixed: Toy, linearization: str) -> None:
    # The model is smooth, so the midpoint rule converges with the square of the step.
    contrast = _contrast(toy_mixed, linearization=linearization)
    few, many = _gaps(contrast, 2), _gaps(contrast, 64)
    assert few.max() > 1e-3, "the example must bend"
    assert (many < 1e-3).all()
    assert ((many < few / 20) | (few < 1e-9)).all()


def _actual(found: PlaceGradient) -> Tensor:
    assert found.actual is not None, "only integrated gradients measure it"
    return found.actual


def _missed(found: PlaceGradient) -> Tensor:
    return (found.explained - _actual(found)).abs().sum()


def _gaps(contrast: Contrast, steps: int) -> Tensor:
    """Relative completeness gap of every place."""
    return torch.stack(
        [
            _missed(found) / _actual(found).abs().sum()
            for found in _integrate(contrast, steps).values()
        ]
    )


def test_it_closes_under_hold_where_features_do_not_jump(toy_relu: Toy) -> None:
    # ReLU features bend at zero but do not jump, so the line integral is the true change. The
    # gradient does jump, so the error falls with the step, not with its square.
    contrast = _contrast(toy_relu, error_policy="hold")
    few, many = _gaps(contrast, 8), _gaps(contrast, 512)
    assert (many < 1e-2).all()
    assert (many < few / 20).all()


def test_under_hold_it_leaves_out_the_jumps_of_jumprelu(toy: Toy) -> None:
    # A JumpReLU feature appears at its threshold, not at zero. No gradient sees that, so under
    # `hold` a gap remains however fine the steps are, and it is reported. Behind the last site
    # nothing jumps.
    contrast = _contrast(toy, error_policy="hold")
    few, many = _gaps(contrast, 64), _gaps(contrast, 512)
    assert (many[:-1] > 0.1).all()
    assert (many[:-1] > 0.9 * few[:-1]).all()
    assert many[-1] < 1e-5


def test_in_the_secant_operator_integrated_gradients_are_the_gradient(each_toy: Toy) -> None:
    # An affine function has one gradient: one step says all, and nothing is missing.
    contrast = _contrast(each_toy, linearization="secant")
    gradients = clean_gradients(contrast)
    for place, found in _integrate(contrast, 1).items():
        torch.testing.assert_close(found.gradient, gradients[place].gradient, **CLOSE)
        torch.testing.assert_close(found.explained, found.actual, rtol=1e-8, atol=1e-10)


def test_nodes_of_a_site_share_the_joint_change(each_toy: Toy) -> None:
    # Features and error node of a site, over all units: their effects add up to
    # m(clean) - m(site at its baseline), up to the gap that is left.
    contrast = _contrast(each_toy)
    found = _integrate(contrast, 64)
    effects = node_effects(contrast, found)
    expected = _actual_by_hand(contrast)
    for place in contrast.places:
        total = effects.effects[:, effects.index.columns(place)].sum(axis=1)
        torch.testing.assert_close(torch.tensor(total).flatten(), found[place].explained, **CLOSE)
        torch.testing.assert_close(found[place].explained, expected[place], rtol=2e-3, atol=2e-3)


def test_steps_double_until_the_gap_is_small(toy: Toy) -> None:
    contrast = _contrast(toy)
    never = integrated_gradients(contrast, IntegrationSettings(tolerance=0.0, max_steps=20))
    assert {found.steps for found in never.values()} == {16}
    at_once = integrated_gradients(contrast, IntegrationSettings(tolerance=10.0))
    assert {found.steps for found in at_once.values()} == {4}
    default = integrated_gradients(contrast)
    for place, found in default.items():
        gap = _missed(found) / _actual(found).abs().sum()
        assert gap <= 1e-3 or found.steps == 64, place
        # And no more steps than were needed: half as many left a larger gap.
        if found.steps > 4:
            half = _integrate(contrast, found.steps // 2)[place]
            assert _missed(half) > 1e-3 * _actual(half).abs().sum()


def test_integration_does_not_depend_on_how_points_are_laid_out(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 5 prompts of 6 tokens: 4096 tokens hold 136 points; 200 points take two passes.
    contrast = _contrast(toy)
    both = _integrate(contrast, 200)[0].gradient
    halves = []
    for half in (slice(0, 100), slice(100, 200)):
        monkeypatch.setattr(
            "saecircuits.nodes.estimators.midpoints",
            lambda steps, half=half: midpoints(200)[half],
        )
        halves.append(_integrate(contrast, 100)[0].gradient)
    torch.testing.assert_close(both, (halves[0] + halves[1]) / 2, **CLOSE)
