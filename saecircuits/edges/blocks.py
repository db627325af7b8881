"""What an engine gives: direct effects of the nodes of one place on some nodes of a later place."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from saecircuits.edges.parts import Part
from saecircuits.nodes.contrast import TOKENS, Contrast
from saecircuits.nodes.experiment import Experiment
from saecircuits.nodes.interventions import ERROR, Spot


@dataclass(frozen=True, eq=False)
class EdgeBlock:
    """Direct effects of some sources at one place on some targets at one later place.

    Attributes:
        sources: the nodes read, all at one place.
        targets: the nodes that read, all at one place; None for the metric.
        effects: in the metric's units, prompt by prompt.
        weights: the linear weight, `da_v/da_u` summed over the tokens of both units (for the metric
            `dm/da_u`). Error and token nodes have no activation to take a
            derivative by: as sources they count as one whole change, as targets 0.
        parts: the components that carry the edges; empty where the engine does not tell them apart.
        part_effects: effects by component, summed over prompts; over parts they add up to effects.
        held: effects with the gates of the targets held, where `effects` have them crossed; None
            where these are the same.
    """

    sources: tuple[Spot, ...]
    targets: tuple[Spot, ...] | None
    effects: Float[Tensor, "n_target n_source batch"]
    weights: Float[Tensor, "n_target n_source batch"]
    parts: tuple[Part, ...]
    part_effects: Float[Tensor, "n_part n_target n_source"]
    held: Float[Tensor, "n_target n_source batch"] | None = None

    @property
    def linear(self) -> Float[Tensor, "n_target n_source batch"]:
        """Effects with the gates of the targets held."""
        return self.effects if self.held is None else self.held


@runtime_checkable
class EdgeEngine(Protocol):
    """Direct effects of the nodes that it was made for, on a batch of prompts."""

    def into(self, targets: tuple[Spot, ...] | None) -> Iterator[EdgeBlock]:
        """Every edge into some targets, all of one place, or into the metric (None)."""
        ...


@runtime_checkable
class LinearEngine(EdgeEngine, Protocol):
    """An engine whose edges are slopes at a run with every gate held."""

    def asleep(self) -> EdgeEngine:
        """The same for features as targets at the tokens where they are off, as if they were on.

        So an effect is `dm/da_v` times what the value before the gate loses; error nodes have none.
        """
        ...


def expandable(on: Contrast | Experiment, nodes: Sequence[Spot]) -> list[Spot]:
    """The nodes that edges can end in.

    Tokens read nothing. Error nodes are functions of the stream under the policy `recompute` alone;
    under `hold` they are sources only.
    """
    is_held = on.error_policy == "hold"
    return [
        spot for spot in nodes if spot.place != TOKENS and not (is_held and spot.feature == ERROR)
    ]


def all_blocks(
    engine: EdgeEngine, targets: Sequence[Spot], *, targets_at_once: int = 128
) -> Iterator[EdgeBlock]:
    """Every edge into the metric, and then place by place into these targets."""
    yield from engine.into(None)
    for some in chunks(targets, targets_at_once):
        yield from engine.into(some)


def chunks(targets: Sequence[Spot], size: int) -> Iterator[tuple[Spot, ...]]:
    """The targets in forward order, at most `size` at a time and never of two places.

    At one place features come before error nodes, as `edges.thresholds` wants them.
    """
    for place in sorted({spot.place for spot in targets}):
        here = [spot for spot in targets if spot.place == place]
        here.sort(key=lambda spot: spot.feature == ERROR)
        for start in range(0, len(here), size):
            yield tuple(here[start : start + size])


def without_parts(
    sources: tuple[Spot, ...],
    targets: tuple[Spot, ...] | None,
    effects: Float[Tensor, "n_target n_source batch"],
    weights: Float[Tensor, "n_target n_source batch"],
) -> EdgeBlock:
    """A block whose components are not told apart."""
    return EdgeBlock(
        sources, targets, effects, weights, (), weights.new_zeros(0, *weights.shape[:2])
    )
