"""Both engines on one batch, block by block."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from saecircuits.edges.blocks import EdgeBlock, all_blocks, expandable
from saecircuits.edges.factorised import FactorisedEdges
from saecircuits.edges.reference import ReferenceEdges
from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.estimators import PlaceGradient
from saecircuits.nodes.interventions import Spot

Table = dict[tuple[Spot, Spot | None], Tensor]


def table_of(blocks: Iterator[EdgeBlock]) -> Table:
    """Effects and weights `[2, batch]` of every edge."""
    found: Table = {}
    for block in blocks:
        values = torch.stack([block.effects, block.weights]).detach()
        for row, target in enumerate(block.targets or (None,)):
            for column, source in enumerate(block.sources):
                assert (source, target) not in found
                found[source, target] = values[:, row, column]
    return found


def assert_same(found: Table, expected: Table, tolerance: float) -> None:
    """The same edges, effects and weights each equal relative to the largest."""
    assert found.keys() == expected.keys()
    left, right = (torch.stack([table[edge] for edge in expected]) for table in (found, expected))
    for kind in range(left.shape[1]):
        size = float(right[:, kind].abs().max())
        assert size > 0
        torch.testing.assert_close(left[:, kind], right[:, kind], rtol=0, atol=tolerance * size)


def reference_blocks(
    contrast: Contrast,
    gradients: dict[int, PlaceGradient],
    nodes: Sequence[Spot],
    *,
    targets_at_once: int = 32,
) -> Iterator[EdgeBlock]:
    """All direct edges among nodes and to the metric, by autograd."""
    engine = ReferenceEdges(contrast, gradients, nodes)
    return all_blocks(engine, expandable(contrast, nodes), targets_at_once=targets_at_once)


def factorised_blocks(
    contrast: Contrast,
    gradients: dict[int, PlaceGradient],
    nodes: Sequence[Spot],
    *,
    targets_at_once: int = 128,
) -> Iterator[EdgeBlock]:
    """All direct edges among nodes and to the metric, without autograd."""
    engine = FactorisedEdges(contrast, gradients, nodes)
    return all_blocks(engine, expandable(contrast, nodes), targets_at_once=targets_at_once)
