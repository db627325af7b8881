"""Causes that are known by where a node stands."""

from collections.abc import Collection

import numpy as np
import pytest

from saecircuits.nodes.contrast import TOKENS, Contrast
from saecircuits.nodes.interventions import Spot
from saecircuits.splicing.part_hooks import Nonlinearity
from saecircuits.validation.causes import (
    GATES,
    _depth,
    _estimated,
    _most,
    cause_of_edges,
    cause_of_nodes,
)
from tests.edges.test_reference import strongest
from tests.models import Toy, make_contrast


@pytest.fixture(scope="module")
def contrast(toy: Toy) -> Contrast:
    return make_contrast(toy.model, toy.prompts, positions="each")


def test_behind_the_last_block_only_the_final_norm_is_left(contrast: Contrast) -> None:
    nodes = [spot for spot in strongest(contrast, per_unit=1) if spot.place == 2]
    cause = cause_of_nodes(contrast, nodes)
    assert cause is not None
    assert cause.text == "the scale of the final norm"
    assert cause.share == pytest.approx(1.0)


def test_earlier_nodes_have_causes_in_later_blocks(contrast: Contrast) -> None:
    nodes = [spot for spot in strongest(contrast, per_unit=1) if spot.place == 0]
    cause = cause_of_nodes(contrast, nodes)
    assert cause is not None
    assert "layer 0" not in cause.text
    assert 0 < cause.share < 1


def test_where_nothing_moves_there_is_no_cause(contrast: Contrast) -> None:
    unmoved = contrast.feature_change(2).dense()[:, 2].abs().sum(0) == 0
    nodes = [Spot(2, int(contrast.units.clean[0, 2]), int(unmoved.nonzero()[0]))]
    assert cause_of_nodes(contrast, nodes) is None


@pytest.mark.parametrize("crosses", [False, True])
def test_edges_are_estimated_as_each_by_itself(contrast: Contrast, crosses: bool) -> None:
    spots = strongest(contrast, per_unit=1)
    sources = [spot for spot in spots if spot.place in (TOKENS, 0)]
    edges = [
        (source, target)
        for target in [*(spot for spot in spots if spot.place > 0), None]
        for source in sources
    ]
    assert any(target is not None and target.feature < 0 for _, target in edges)
    together = _estimated(contrast, edges, crosses=crosses)
    alone = [_estimated(contrast, [edge], crosses=crosses)[0] for edge in edges]
    assert together == pytest.approx(alone, abs=1e-12)
    assert np.abs(together).max() > 1e-3


@pytest.mark.parametrize("count", [1, 8, 9, 57, 200])
def test_of_many_layers_the_one_that_does_most_is_found_by_halves(count: int) -> None:
    rng = np.random.default_rng(count)
    ones = [Nonlinearity("norm", layer) for layer in range(count)]
    does = dict(zip(ones, rng.random(count), strict=True))
    chosen = ones[rng.integers(count)]
    does[chosen] += count
    asked = []

    def alone(some: Collection[Nonlinearity]) -> float:
        asked.append(len(some))
        return sum(does[one] for one in some)

    assert _most(ones, alone) == chosen
    assert len(asked) <= 2 * np.log2(count) + 8


def test_layers_are_halved_by_depth() -> None:
    ones = [Nonlinearity("norm", layer) for layer in (None, 10, 2, 0)]
    assert [one.layer for one in sorted(ones, key=_depth)] == [0, 2, 10, None]


def test_gates_are_a_cause_where_edges_do_not_cross_thresholds(contrast: Contrast) -> None:
    spots = strongest(contrast, per_unit=2)
    sources = [spot for spot in spots if spot.place == TOKENS][:2]
    targets = [spot for spot in spots if spot.place == 0 and spot.feature >= 0][:4]
    causes = {
        crosses: [
            cause.text
            for source in sources
            for target in targets
            if (cause := cause_of_edges(contrast, [(source, target)], crosses=crosses)) is not None
        ]
        for crosses in (False, True)
    }
    assert GATES in causes[False]
    assert GATES not in causes[True]
    assert causes[True]
