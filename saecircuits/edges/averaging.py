"""Integrated gradients over edges: derivatives between places, averaged along the line of all.

    E(u -> v) = dm/da_v  (mean over k of  da_v/da_u at share_k)  (a_u clean - a_u baseline)

`dm/da_v` is v's own integrated gradient. Under the mean, all places move together from their
baseline to their clean values. So with more and more points the edges into v, from every node and
by every way, add up to `dm/da_v` times a difference: what v's encoder row reads with all of them
clean, less what it reads with all of them at their baselines.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from saecircuits.edges.blocks import EdgeBlock, EdgeEngine
from saecircuits.nodes.interventions import Spot


class AveragedEdges:
    """The mean of what several engines give, each at a point of its own."""

    def __init__(self, engines: Sequence[EdgeEngine]) -> None:
        self._engines = engines

    def into(self, targets: tuple[Spot, ...] | None) -> Iterator[EdgeBlock]:
        """Every edge into some targets, all of one place, or into the metric (None)."""
        count = len(self._engines)
        for first, *others in zip(*(each.into(targets) for each in self._engines), strict=True):
            effects, weights, parts = first.effects, first.weights, first.part_effects
            for other in others:
                assert (other.sources, other.parts) == (first.sources, first.parts)
                effects = effects + other.effects
                weights = weights + other.weights
                parts = parts + other.part_effects
            yield replace(
                first, effects=effects / count, weights=weights / count, part_effects=parts / count
            )
