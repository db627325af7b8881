"""Estimators: how effects are found, one class a way; each gives nodes and edges alike.

An estimator of your own is a class with a name and `gradients`, an object of which is given in the
place of a name: `attribute(model, prompts, estimator=Mine())`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Final, TypeAlias

import numpy as np
from scipy import sparse

from saecircuits.choices import looked_up
from saecircuits.edges.averaging import AveragedEdges
from saecircuits.edges.blocks import EdgeBlock, EdgeEngine
from saecircuits.edges.engines import ChosenEngine, Prepare
from saecircuits.edges.interventions import intervene_on_edges
from saecircuits.edges.reference import ReferenceEdges
from saecircuits.errors import InputError
from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.effects import NodeEffects, node_effects
from saecircuits.nodes.estimators import (
    IntegrationSettings,
    PlaceGradient,
    clean_gradients,
    integrated_gradients,
    midpoints,
)
from saecircuits.nodes.interventions import Spot, intervene

# `dm/dx` at every place.
Gradients: TypeAlias = dict[int, PlaceGradient]


class Estimator(ABC):
    """A way to find effects.

    Attributes:
        name: in settings and files.
        description: for cards and help.
        is_slope: effects are slopes at the clean run: of the model as it is they can cross the
            thresholds of the features that edges end in (`edges.thresholds`).
        is_measured: effects of nodes and edges are measured, thresholds crossed as they are.
        points: at how many points of a line derivatives along edges are taken.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    is_slope: ClassVar[bool] = False
    is_measured: ClassVar[bool] = False

    @property
    def points(self) -> int:
        return 1

    def tuned(self, *, tolerance: float, edge_steps: int) -> "Estimator":
        """The same with these settings, where it has them."""
        return self

    @abstractmethod
    def gradients(self, contrast: Contrast) -> Gradients:
        """`dm/dx` at every place: a node's effect is its product with the node's change."""

    def effects(self, contrast: Contrast, gradients: Gradients) -> NodeEffects:
        """The effect of every node on every prompt."""
        return node_effects(contrast, gradients)

    def along_edges(self, engine: ChosenEngine) -> ChosenEngine:
        """The engine, with its derivatives taken as this estimator takes them."""
        return engine


class Gradient(Estimator):
    """The gradient at the clean run: the effect of moving one node, to first order."""

    name = "gradient"
    description = "gradient"
    is_slope = True

    def gradients(self, contrast: Contrast) -> Gradients:
        return clean_gradients(contrast)


@dataclass(frozen=True)
class IntegratedGradients(Estimator):
    """The mean gradient from baseline to clean: the nodes' shares in their joint change."""

    name = "integrated_gradients"
    description = "integrated gradients"
    tolerance: float = 1e-3
    edge_steps: int = 8

    @property
    def points(self) -> int:
        return self.edge_steps

    def tuned(self, *, tolerance: float, edge_steps: int) -> "IntegratedGradients":
        return IntegratedGradients(tolerance, edge_steps)

    def gradients(self, contrast: Contrast) -> Gradients:
        return integrated_gradients(contrast, IntegrationSettings(tolerance=self.tolerance))

    def along_edges(self, engine: ChosenEngine) -> ChosenEngine:
        points = midpoints(self.edge_steps).tolist()
        return replace(engine, prepare=partial(_averaged, engine.prepare, points))


class Intervention(Estimator):
    """Nodes and edges set to their baseline one by one: exact, slow, what others are held to."""

    name = "intervention"
    description = "intervention"
    is_measured = True

    def gradients(self, contrast: Contrast) -> Gradients:
        return clean_gradients(contrast)

    def effects(self, contrast: Contrast, gradients: Gradients) -> NodeEffects:
        estimated = node_effects(contrast, gradients)
        # A gradient of zero does not say that an effect is: closed gates may open.
        changed = np.union1d(
            (estimated.activations - estimated.baselines).nonzero()[1],
            estimated.effects.nonzero()[1],
        )
        spots = [estimated.index.spot(int(column)) for column in changed]
        measured = intervene(contrast, spots).T.cpu().double().numpy()
        n_prompt = measured.shape[0]
        rows, columns = np.repeat(np.arange(n_prompt), len(changed)), np.tile(changed, n_prompt)
        return NodeEffects(
            estimated.index,
            sparse.csr_matrix((measured.ravel(), (rows, columns)), shape=estimated.effects.shape),
            estimated.activations,
            estimated.baselines,
        )

    def along_edges(self, engine: ChosenEngine) -> ChosenEngine:
        return ChosenEngine(_Measured, "interventions", 128)


class Unnamed(Estimator):
    """An estimator that somebody else made: its name is known from a file, and no more."""

    description = "an estimator that was made for this run"

    def __init__(self, name: str) -> None:
        self.name = name  # pyright: ignore[reportAttributeAccessIssue]

    def gradients(self, contrast: Contrast) -> Gradients:
        raise InputError(
            f"the estimator {self.name!r} is not one of this package's; give it as an object"
        )


ESTIMATORS: Final[Mapping[str, Estimator]] = {
    row.name: row for row in (Gradient(), IntegratedGradients(), Intervention())
}


def estimator_of(given: str | Estimator) -> Estimator:
    """The estimator of this name, or the one that was given.

    Raises:
        UnknownNameError, InputError: neither.
    """
    return looked_up("estimator", given, ESTIMATORS, Estimator)


def _averaged(
    prepare: Prepare,
    points: Sequence[float],
    contrast: Contrast,
    gradients: Gradients,
    sources: Sequence[Spot],
) -> EdgeEngine:
    return AveragedEdges([prepare(contrast, gradients, sources, share=point) for point in points])


class _Measured:
    """Edges measured one by one (`edges.interventions`)."""

    def __init__(self, contrast: Contrast, gradients: Gradients, sources: Sequence[Spot]) -> None:
        self._contrast = contrast
        self._reference = ReferenceEdges(contrast, gradients, sources)

    def into(self, targets: tuple[Spot, ...] | None) -> Iterator[EdgeBlock]:
        """Every edge into some targets, all of one place, or into the metric (None)."""
        for block in self._reference.into(targets):
            pairs = [(u, v) for v in block.targets or (None,) for u in block.sources]
            measured = intervene_on_edges(self._contrast, pairs)
            yield replace(block, effects=measured.reshape(block.effects.shape).to(block.effects))
