"""Integrated gradients over edges: completeness, and both engines at any point of the line."""

import pytest
import torch
from torch import Tensor

from saecircuits.edges.averaging import AveragedEdges
from saecircuits.edges.blocks import EdgeEngine, all_blocks, expandable
from saecircuits.edges.factorised import FactorisedEdges
from saecircuits.edges.reference import ReferenceEdges
from saecircuits.nodes.contrast import TOKENS, Contrast
from saecircuits.nodes.estimators import clean_gradients, midpoints
from saecircuits.nodes.interventions import ERROR, Spot
from tests.edges.engines import assert_same, table_of
from tests.edges.test_reference import strongest
from tests.models import Toy, make_contrast


def _everything(contrast: Contrast) -> list[Spot]:
    """Every node that differs from its baseline on some prompt."""
    units = range(len(contrast.units))
    spots = [Spot(TOKENS, unit, ERROR) for unit in units]
    for place in contrast.places[1:]:
        spots += [Spot(place, unit, ERROR) for unit in units]
        changed = contrast.feature_change(place).dense().abs().sum(0)
        for unit in units:
            here = changed[contrast.units.clean[0] == unit].sum(0)
            spots += [Spot(place, unit, int(f)) for f in here.nonzero()[:, 0]]
    return spots


def _read(contrast: Contrast, share: float) -> list[Tensor]:
    """What every site reads when all places before it are on the line."""
    reads: list[Tensor] = []
    moved, moved_tokens = contrast.between(share)

    def at_site(index: int, read: Tensor, write: Tensor) -> Tensor:
        reads.append(read)
        return moved(index, read, write)

    contrast.model.forward(
        contrast.tokens, at_site=at_site, at_tokens=moved_tokens, operator=contrast.operator
    )
    return reads


def _into_features(contrast: Contrast, steps: int) -> dict[Spot, Tensor]:
    """Per feature target and prompt, the sum of the effects of all its in-edges."""
    spots = _everything(contrast)
    gradients = clean_gradients(contrast)
    points = midpoints(steps).tolist()
    engine = AveragedEdges(
        [FactorisedEdges(contrast, gradients, spots, is_split=False, share=s) for s in points]
    )
    targets = [spot for spot in strongest(contrast, per_unit=1) if spot.feature != ERROR]
    totals: dict[Spot, Tensor] = {}
    for block in all_blocks(engine, expandable(contrast, targets)):
        for row, target in enumerate(block.targets or ()):
            summed = block.effects[row].sum(0)
            totals[target] = totals.get(target, torch.zeros_like(summed)) + summed
    return totals


def test_edges_into_a_feature_add_up_to_what_it_reads(each_toy: Toy) -> None:
    contrast = make_contrast(each_toy.model, each_toy.prompts)
    gradients = clean_gradients(contrast)
    clean, base = _read(contrast, 1.0), _read(contrast, 0.0)

    def gap(steps: int) -> float:
        worst = 0.0
        for target, total in _into_features(contrast, steps).items():
            dictionary = contrast.model.splices[target.place].dictionary
            e = dictionary.encoder_rows(torch.tensor([target.feature]))[0]
            d = dictionary.W_dec[target.feature]
            active = contrast.clean.sites[target.place].features[..., target.feature] > 0
            there = (contrast.units.clean == target.unit) & active
            slope = gradients[target.place].gradient @ d
            expected = (slope * ((clean[target.place] - base[target.place]) @ e) * there).sum(1)
            worst = max(worst, float((total - expected).abs().max()))
        return worst

    # The midpoint rule's error goes with the square of the step.
    coarse, fine = gap(2), gap(8)
    assert coarse > 1e-3
    assert fine < coarse / 8


@pytest.mark.parametrize("share", [0.0, 0.3])
@pytest.mark.parametrize("policy", ["recompute", "hold"])
def test_both_engines_agree_anywhere_on_the_line(
    each_family: Toy, share: float, policy: str
) -> None:
    contrast = make_contrast(
        each_family.model, each_family.prompts, positions="span", error_policy=policy
    )
    spots, gradients = strongest(contrast, per_unit=1), clean_gradients(contrast)
    engines: list[EdgeEngine] = [
        FactorisedEdges(contrast, gradients, spots, share=share),
        ReferenceEdges(contrast, gradients, spots, share=share),
    ]
    found, expected = (
        table_of(all_blocks(engine, expandable(contrast, spots))) for engine in engines
    )
    # Hugging Face's RMSNorm works in float32.
    assert_same(found, expected, 1e-9 if each_family.model.name == "toy" else 2e-6)


def test_the_mean_of_one_engine_is_that_engine(toy: Toy) -> None:
    contrast = make_contrast(toy.model, toy.prompts)
    spots, gradients = strongest(contrast, per_unit=1), clean_gradients(contrast)
    one = FactorisedEdges(contrast, gradients, spots)
    other = FactorisedEdges(contrast, gradients, spots, share=0.5)
    alone, mean = (
        [block.effects for block in all_blocks(engine, expandable(contrast, spots))]
        for engine in (AveragedEdges([one]), AveragedEdges([one, other]))
    )
    single = [block.effects for block in all_blocks(one, expandable(contrast, spots))]
    half = [block.effects for block in all_blocks(other, expandable(contrast, spots))]
    for a, b, c, m in zip(alone, single, half, mean, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
        torch.testing.assert_close(m, (b + c) / 2, rtol=0, atol=1e-14)
    assert any(bool((a != c).any()) for a, c in zip(alone, half, strict=True))
