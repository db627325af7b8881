"""The engines that are set side by side, as the package has them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from saecircuits.edges.blocks import EdgeEngine
from saecircuits.edges.factorised import FactorisedEdges
from saecircuits.edges.reference import ReferenceEdges
from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.estimators import PlaceGradient
from saecircuits.nodes.interventions import Spot

Prepare = Callable[[Contrast, dict[int, PlaceGradient], Sequence[Spot]], EdgeEngine]


@dataclass(frozen=True)
class Engine:
    """An engine, and how it is asked.

    Attributes:
        targets_at_once: as the package asks it (factorised), or as it is quickest.
        sampled: targets per site that are measured where the whole would take minutes; None for
            all of them.
    """

    name: str
    title: str
    prepare: Prepare
    targets_at_once: int
    sampled: int | None


FACTORISED: Final = "factorised"
PARTS: Final = "factorised-parts"
BATCHED: Final = "batched-vjp"
SINGLE: Final = "single-vjp"
ENGINES: Final = {
    engine.name: engine
    for engine in (
        Engine(FACTORISED, "factorised", partial(FactorisedEdges, is_split=False), 512, None),
        Engine(PARTS, "factorised, with parts", partial(FactorisedEdges, is_split=True), 128, None),
        Engine(BATCHED, "batched VJP", ReferenceEdges, 64, 128),
        Engine(SINGLE, "one VJP per target", ReferenceEdges, 1, 32),
    )
}
