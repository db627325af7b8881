"""Edges of the reference engine, one by one, against forward passes cut by hand."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from saecircuits.edges.blocks import EdgeBlock
from saecircuits.nodes.contrast import TOKENS, Contrast
from saecircuits.nodes.estimators import PlaceGradient, clean_gradients
from saecircuits.nodes.interventions import ERROR, Spot, node_change
from saecircuits.nodes.units import Positions
from tests.by_hand import Raw
from tests.edges.engines import reference_blocks
from tests.models import Toy, make_contrast
from tests.tolerance import Tolerance

CLOSE: Tolerance = {"rtol": 1e-8, "atol": 1e-10}
CASES = [
    ("toy_mixed", "span", "full", "recompute"),
    ("toy_mixed", "span", "secant", "hold"),
    ("toy_mixed", "each", "frozen", "recompute"),
    ("toy", "sum", "full", "hold"),
    ("toy_uneven", "span", "full", "recompute"),
    ("toy_unusual", "each", "frozen", "hold"),
    ("toy_places", "span", "full", "recompute"),
]


def strongest(contrast: Contrast, *, per_unit: int) -> list[Spot]:
    """Tokens, errors and, unit by unit, the features of largest change that are active."""
    spots = [Spot(TOKENS, unit, ERROR) for unit in range(len(contrast.units))]
    for place in contrast.places[1:]:
        moved = (
            contrast.feature_change(place).dense().abs()
            * contrast.clean.sites[place].features.abs()
        )
        by_unit = torch.einsum("bpu,bpf->uf", contrast.units.membership.to(moved), moved)
        for unit in range(len(contrast.units)):
            spots += [Spot(place, unit, int(f)) for f in by_unit[unit].topk(per_unit).indices]
            spots.append(Spot(place, unit, ERROR))
    return spots


def _edges(blocks: Iterator[EdgeBlock]) -> dict[tuple[Spot, Spot | None], tuple[Tensor, Tensor]]:
    found = {}
    for block in blocks:
        for row, target in enumerate(block.targets or (None,)):
            for column, source in enumerate(block.sources):
                key = (source, target)
                assert key not in found
                found[key] = (
                    block.effects[row, column].detach(),
                    block.weights[row, column].detach(),
                )
    return found


def _direction(contrast: Contrast, source: Spot) -> Tensor:
    """What the source writes per unit of its activation, on its unit's tokens."""
    decoder = contrast.model.splices[source.place].dictionary.W_dec[source.feature]
    return contrast.units.membership[..., source.unit, None].to(decoder) * decoder


def _by_hand(
    contrast: Contrast, source: Spot, target: Spot | None, *, moved: Tensor, along: Tensor | None
) -> Tensor:
    """d/dt of what the target is, the source writing `moved` times t more, all others held.

    The target's tokens are weighted by `along` (`dm/dx` at its site), or, for None, a feature's
    activations by one.
    """
    raw = Raw(contrast)
    t = torch.zeros(len(contrast.prompts), dtype=torch.float64, requires_grad=True)
    arriving, metric = raw.cut({source.place: t[:, None, None] * moved})
    if target is None:
        value = metric
    else:
        read, written = arriving[target.place]
        dictionary = raw.dictionary(target.place)
        member = contrast.units.membership[..., target.unit].to(read)
        if target.feature == ERROR:
            assert along is not None
            error = written - dictionary.reconstruct(read)
            value = (member[..., None] * along * error).sum((1, 2))
        else:
            acts = dictionary.encode(read)[..., target.feature]
            decoder = dictionary.W_dec[target.feature]
            weight = torch.ones_like(acts) if along is None else along @ decoder
            value = (member * weight * acts).sum(1)
    if not value.requires_grad:
        return torch.zeros_like(t)
    (slope,) = torch.autograd.grad(value.sum(), t, allow_unused=True)
    return torch.zeros_like(t) if slope is None else slope


@pytest.mark.parametrize(("fixture", "positions", "linearization", "policy"), CASES)
def test_edges_are_slopes_of_a_pass_cut_by_hand(
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
    spots = strongest(contrast, per_unit=1)
    found = _edges(reference_blocks(contrast, clean_gradients(contrast), spots))
    gradients = {place: Raw(contrast).gradient(place) for place in contrast.places}
    chosen = sorted(found, key=lambda edge: -float(found[edge][0].abs().sum()))
    kinds = set()
    for source, target in [*chosen[:15], *chosen[15 :: max(1, len(chosen) // 15)]]:
        effect, weight = found[source, target]
        along = None if target is None else gradients[target.place]
        change = node_change(contrast, source)
        expected = _by_hand(contrast, source, target, moved=change, along=along)
        torch.testing.assert_close(effect, expected, **CLOSE)
        is_linear = source.feature != ERROR and (target is None or target.feature != ERROR)
        if is_linear:
            moved = _direction(contrast, source)
            expected = _by_hand(contrast, source, target, moved=moved, along=None)
            torch.testing.assert_close(weight, expected, **CLOSE)
        kinds.add((source.feature == ERROR, target is None or target.feature == ERROR))
    assert len(kinds) >= 3
    assert float(found[chosen[0]][0].abs().max()) > 0.1


@pytest.mark.parametrize("policy", ["recompute", "hold"])
def test_which_edges_there_are(toy_mixed: Toy, policy: str) -> None:
    # Forward only, none within a site, errors as targets under `recompute` alone, and the metric
    # from everywhere.
    contrast = make_contrast(
        toy_mixed.model, toy_mixed.prompts, positions="span", error_policy=policy
    )
    spots = strongest(contrast, per_unit=2)
    found = _edges(reference_blocks(contrast, clean_gradients(contrast), spots))
    for source, target in found:
        assert target is None or source.place < target.place
    errors = [target for _, target in found if target is not None and target.feature == ERROR]
    assert bool(errors) == (policy == "recompute")
    assert {source for source, target in found if target is None} >= {
        spot for spot in spots if spot.place >= 4
    }


def test_a_residual_site_lets_nothing_by(toy: Toy) -> None:
    # All of the stream passes a residual site, so its nodes hold everything that comes before:
    # edges reach the next site and no further.
    contrast = make_contrast(toy.model, toy.prompts, positions="span")
    found = _edges(
        reference_blocks(contrast, clean_gradients(contrast), strongest(contrast, per_unit=2))
    )
    for (source, target), (effect, _) in found.items():
        reaches = 3 if target is None else target.place
        if reaches > source.place + 1:
            assert effect.abs().max() == 0, (source, target)


@pytest.mark.parametrize("vectors_at_once", [1, 3, 1000])
def test_blocks_are_bookkeeping(toy_mixed: Toy, vectors_at_once: int) -> None:
    contrast = make_contrast(toy_mixed.model, toy_mixed.prompts, positions="span")
    spots, gradients = strongest(contrast, per_unit=1), clean_gradients(contrast)
    expected = _edges(reference_blocks(contrast, gradients, spots))
    found = _edges(reference_blocks(contrast, gradients, spots, targets_at_once=vectors_at_once))
    assert found.keys() == expected.keys()
    for edge, (effect, weight) in found.items():
        torch.testing.assert_close(effect, expected[edge][0], **CLOSE)
        torch.testing.assert_close(weight, expected[edge][1], **CLOSE)


def test_edges_are_weighed_by_the_gradient_that_ranks_their_targets(toy_mixed: Toy) -> None:
    # Effects are linear in dm/da_v; weights and edges to the metric do not know it.
    contrast = make_contrast(toy_mixed.model, toy_mixed.prompts, positions="span")
    spots, gradients = strongest(contrast, per_unit=1), clean_gradients(contrast)
    tripled = {
        place: PlaceGradient(3 * found.gradient, found.explained, None, 1)
        for place, found in gradients.items()
    }
    once = _edges(reference_blocks(contrast, gradients, spots))
    thrice = _edges(reference_blocks(contrast, tripled, spots))
    for edge, (effect, weight) in once.items():
        factor = 1 if edge[1] is None else 3
        torch.testing.assert_close(thrice[edge][0], factor * effect, **CLOSE)
        torch.testing.assert_close(thrice[edge][1], weight, **CLOSE)


def test_nodes_need_not_be_everywhere(toy: Toy) -> None:
    contrast = make_contrast(toy.model, toy.prompts, positions="span")
    gradients = clean_gradients(contrast)
    last = [spot for spot in strongest(contrast, per_unit=1) if spot.place == 2]
    found = _edges(reference_blocks(contrast, gradients, last))
    assert set(found) == {(spot, None) for spot in last}
    assert list(reference_blocks(contrast, gradients, [])) == []
