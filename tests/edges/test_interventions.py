"""Measured edge effects against path patching done by hand on the bare bridge."""

import pytest
import torch
from torch import Tensor

from saecircuits.edges.interventions import intervene_on_edges
from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.estimators import clean_gradients
from saecircuits.nodes.interventions import ERROR, Spot, node_change
from saecircuits.nodes.units import Positions
from tests.by_hand import Raw
from tests.edges.engines import reference_blocks
from tests.edges.test_reference import strongest
from tests.models import Toy, make_contrast
from tests.tolerance import Tolerance

CLOSE: Tolerance = {"rtol": 1e-8, "atol": 1e-10}
Edge = tuple[Spot, Spot | None]


def _some_edges(contrast: Contrast, count: int) -> list[Edge]:
    """Edges of all sizes among the strongest nodes, and a few that cannot carry anything."""
    sizes: dict[Edge, float] = {}
    spots = strongest(contrast, per_unit=1)
    for block in reference_blocks(contrast, clean_gradients(contrast), spots):
        for row, target in enumerate(block.targets or (None,)):
            for column, source in enumerate(block.sources):
                sizes[source, target] = float(block.effects[row, column].detach().abs().max())
    ranked = sorted(sizes, key=lambda edge: -sizes[edge])
    moving = [edge for edge in ranked if sizes[edge] > 1e-6]
    return moving[:: max(1, len(moving) // count)] + ranked[len(moving) :: 1 + len(ranked) // 5]


def _patched_by_hand(contrast: Contrast, raw: Raw, source: Spot, target: Spot | None) -> Tensor:
    """1. the source at its baseline, everything else held; 2. the target alone follows."""
    arriving, metric = raw.cut({source.place: -node_change(contrast, source)})
    if target is None:
        return raw.metric() - metric
    read, written = arriving[target.place]
    dictionary = raw.dictionary(target.place)
    values = contrast.clean.sites[target.place]
    if target.feature == ERROR:
        change = values.error - (written - dictionary.reconstruct(read))
    else:
        acts = values.features - dictionary.encode(read)
        change = acts[..., [target.feature]] * dictionary.W_dec[target.feature]
    inside = (contrast.units.clean == target.unit)[..., None]
    return raw.metric() - raw.plus(target.place, -(change * inside))


@pytest.mark.parametrize(
    ("fixture", "positions", "linearization", "policy"),
    [
        ("toy_mixed", "span", "full", "recompute"),
        ("toy_mixed", "span", "frozen", "hold"),
        ("toy", "each", "secant", "recompute"),
        ("toy_uneven", "span", "full", "hold"),
    ],
)
def test_edge_effects_are_path_patching_by_hand(
    request: pytest.FixtureRequest,
    fixture: str,
    positions: Positions,
    linearization: str,
    policy: str,
) -> None:
    toy: Toy = request.getfixturevalue(fixture)
    contrast = make_contrast(
        toy.model,
        toy.prompts,
        positions=positions,
        linearization=linearization,
        error_policy=policy,
    )
    edges = _some_edges(contrast, 12)
    measured = intervene_on_edges(contrast, edges)
    raw = Raw(contrast)
    with torch.no_grad():
        for row, (source, target) in enumerate(edges):
            expected = _patched_by_hand(contrast, raw, source, target)
            torch.testing.assert_close(measured[row], expected, **CLOSE)
    assert (measured.abs().amax(1) > 1e-3).sum() >= 10
    assert {target is None for _, target in edges} == {True, False}


@pytest.mark.parametrize("tokens_at_once", [1, 90])
def test_how_many_are_patched_at_once_does_not_matter(toy: Toy, tokens_at_once: int) -> None:
    contrast = make_contrast(toy.model, toy.prompts.subset([0, 1]), positions="span")
    edges = _some_edges(contrast, 12)
    found = intervene_on_edges(contrast, edges, tokens_at_once=tokens_at_once)
    torch.testing.assert_close(found, intervene_on_edges(contrast, edges), **CLOSE)


def test_edges_come_back_in_the_order_asked(toy: Toy) -> None:
    contrast = make_contrast(toy.model, toy.prompts, positions="span")
    edges = _some_edges(contrast, 12)
    found = intervene_on_edges(contrast, edges)
    backwards = intervene_on_edges(contrast, edges[::-1])
    torch.testing.assert_close(backwards, found.flip(0), **CLOSE)
    assert intervene_on_edges(contrast, []).shape == (0, 5)


def _keeps_its_gate(contrast: Contrast, raw: Raw, source: Spot, target: Spot | None) -> Tensor:
    """Per prompt, whether what the target reads opens and closes no gate that it depends on."""
    if target is None:
        return torch.ones(len(contrast.prompts), dtype=torch.bool)
    arriving, _ = raw.cut({source.place: -node_change(contrast, source)})
    acts = raw.dictionary(target.place).encode(arriving[target.place][0])
    clean = contrast.clean.sites[target.place].features
    same = (acts > 0) == (clean > 0)
    same = same.all(-1) if target.feature == ERROR else same[..., target.feature]
    return (same | (contrast.units.clean != target.unit)).all(1)


@pytest.mark.parametrize("fixture", ["toy", "toy_mixed"])
def test_in_the_secant_operator_estimates_are_exact_where_no_gate_switches(
    request: pytest.FixtureRequest, fixture: str
) -> None:
    # Then the path from source over target to metric is affine, and the product of two slopes and
    # a change is the effect. A gate that switches is the whole difference.
    toy: Toy = request.getfixturevalue(fixture)
    contrast = make_contrast(toy.model, toy.prompts, linearization="secant")
    spots = strongest(contrast, per_unit=1)
    raw = Raw(contrast)
    agree, switched = 0, 0
    for block in reference_blocks(contrast, clean_gradients(contrast), spots):
        edges = [(s, t) for t in block.targets or (None,) for s in block.sources]
        estimated = block.effects.detach().flatten(0, 1)
        moving = [row for row in range(len(edges)) if estimated[row].abs().max() > 1e-6][::9]
        if not moving:
            continue
        measured = intervene_on_edges(contrast, [edges[row] for row in moving])
        for row, found in zip(moving, measured, strict=True):
            with torch.no_grad():
                holds = _keeps_its_gate(contrast, raw, *edges[row])
            torch.testing.assert_close(estimated[row][holds], found[holds], **CLOSE)
            agree += int(holds.sum())
            switched += int(((estimated[row] - found).abs()[~holds] > 1e-6).sum())
    assert agree > 30
    assert switched > 5, "the example must have gates that switch"
