"""Why estimates miss what interventions measure: which non-linearity, and in which layer.

Under the secant operator the model is affine, and nothing but the gates of features can make an
estimate miss. Let one kind of non-linearity go at a time, everything else held at the clean run:

    miss(free) = measured effect - estimated effect, both under the operator with `free` let go

`miss({c}) - miss({})` is what c by itself makes the estimates miss; `miss({})` is what the gates of
features do. What two kinds do only together belongs to neither. Of the kind that does most, the
layer is then found in the same way; of many layers by halves: the one that does more is gone on
with, until few layers are left.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from saecircuits.edges.interventions import intervene_on_edges
from saecircuits.edges.reference import ReferenceEdges
from saecircuits.edges.thresholds import CrossingEdges, longest_unit, token_by_token
from saecircuits.errors import NotCoveredError
from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.estimators import clean_gradients
from saecircuits.nodes.interventions import Spot, intervene, node_change
from saecircuits.splicing.operators import Operator, record_operator
from saecircuits.splicing.part_hooks import Nonlinearity

Edge: TypeAlias = tuple[Spot, Spot | None]
# Mean over prompts of measured less estimated, member by member, under a contrast's operator.
Miss: TypeAlias = Callable[[Contrast], NDArray[np.float64]]
GATES = "the gates of features"
# So many layers are measured each by itself.
_FEW: Final = 8


@dataclass(frozen=True)
class Cause:
    """What makes estimates miss.

    Attributes:
        text: what it is called.
        share: of what all kinds by themselves make these estimates miss, in absolute values.
    """

    text: str
    share: float


def cause_of_nodes(contrast: Contrast, nodes: Sequence[Spot]) -> Cause | None:
    """Why the gradient misses these nodes' effects; None where nothing is missed.

    None too for a model of which there is no secant operator.
    """

    def miss(contrast: Contrast) -> NDArray[np.float64]:
        gradients = clean_gradients(contrast)
        estimated = [
            (gradients[spot.place].gradient * node_change(contrast, spot)).sum((1, 2)).mean()
            for spot in nodes
        ]
        measured = intervene(contrast, nodes).mean(1)
        return np.array(measured.tolist()) - np.array([float(value) for value in estimated])

    return _cause(contrast, miss)


def cause_of_edges(contrast: Contrast, edges: Sequence[Edge], *, crosses: bool) -> Cause | None:
    """The same for edges.

    Args:
        crosses: their estimates cross thresholds.
    """

    def miss(contrast: Contrast) -> NDArray[np.float64]:
        measured = intervene_on_edges(contrast, edges).mean(1).tolist()
        return np.array(measured) - np.array(_estimated(contrast, edges, crosses=crosses))

    return _cause(contrast, miss)


def _estimated(contrast: Contrast, edges: Sequence[Edge], *, crosses: bool) -> list[float]:
    """Mean effects of the edges, each by itself: what crosses into one is no part of another."""
    gradients = clean_gradients(contrast)
    sources = list(dict.fromkeys(source for source, _ in edges))
    finest = longest_unit(contrast.units)
    readers = token_by_token(contrast.units, finest) if crosses else None
    # One run of the model for all of them.
    linear = ReferenceEdges(contrast, gradients, sources, readers=readers)
    found = []
    for source, target in edges:
        engine = linear
        if crosses:
            engine = CrossingEdges(
                lambda *_, **__: linear, contrast, gradients, [source], finest=finest, crossed={}
            )
        blocks = engine.into(None if target is None else (target,))
        effects = (
            float(block.effects[:, block.sources.index(source)].mean(-1).sum())
            for block in blocks
            if source in block.sources
        )
        found.append(sum(effects, start=0.0))
    return found


def _cause(contrast: Contrast, miss: Miss) -> Cause | None:
    try:
        held = record_operator(contrast.model.bridge, contrast.tokens, kind="secant")
    except NotCoveredError:
        return None
    by_gates = miss(_under(contrast, held, ()))

    def alone(freed: Collection[Nonlinearity]) -> float:
        return float(np.abs(miss(_under(contrast, held, freed)) - by_gates).sum())

    by_kind = {
        kind: alone([one for one in held.held if one.kind == kind])
        for kind in sorted({one.kind for one in held.held})
    }
    of_gates = float(np.abs(by_gates).sum())
    total = of_gates + sum(by_kind.values())
    if total == 0:
        return None
    kind = max(by_kind, key=lambda kind: by_kind[kind], default=None)
    if kind is None or of_gates >= by_kind[kind]:
        return Cause(GATES, of_gates / total)
    of_kind = sorted((one for one in held.held if one.kind == kind), key=_depth)
    return Cause(str(_most(of_kind, alone)), by_kind[kind] / total)


def _depth(one: Nonlinearity) -> float:
    return np.inf if one.layer is None else float(one.layer)


def _most(
    ones: Sequence[Nonlinearity], alone: Callable[[Collection[Nonlinearity]], float]
) -> Nonlinearity:
    """The one that does most by itself; of many, in the half that does more."""
    while len(ones) > _FEW:
        halves = ones[: len(ones) // 2], ones[len(ones) // 2 :]
        ones = max(halves, key=alone)
    return max(ones, key=lambda one: alone([one]))


def _under(contrast: Contrast, held: Operator, freed: Collection[Nonlinearity]) -> Contrast:
    return replace(contrast, operator=held.without(freed))
