"""Edges among chosen nodes, over all prompts: which engine, in what order, into which tables.

Chunk by chunk of targets, every batch of prompts is asked for the edges into them; so each edge has
its figures from all prompts at once, and no more is held than one chunk and what is kept.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from saecircuits.edges.averaging import AveragedEdges
from saecircuits.edges.blocks import EdgeBlock, EdgeEngine, chunks, expandable
from saecircuits.edges.collecting import EdgeCollector, EdgeTables
from saecircuits.edges.factorised import FactorisedEdges, covers
from saecircuits.edges.graph import METRIC, node_id
from saecircuits.edges.interventions import intervene_on_edges
from saecircuits.edges.node_stage import estimate
from saecircuits.edges.reference import ReferenceEdges
from saecircuits.edges.settings import AttributionSettings
from saecircuits.edges.streaming import EdgeFile
from saecircuits.edges.thresholds import Crossed, CrossingEdges, longest_unit
from saecircuits.errors import InputError
from saecircuits.nodes.contrast import Batches, Contrast
from saecircuits.nodes.estimators import PlaceGradient, midpoints
from saecircuits.nodes.interventions import Spot
from saecircuits.nodes.units import Units
from saecircuits.splicing import SplicedModel

Prepare = Callable[..., EdgeEngine]


@dataclass(frozen=True)
class ChosenEngine:
    """The engine that computes the edges.

    Attributes:
        described: its name, and why it is not the factorised one.
        most_targets: more targets at one time make it no faster.
    """

    prepare: Prepare
    described: str
    most_targets: int


def choose_engine(model: SplicedModel, settings: AttributionSettings) -> ChosenEngine:
    """The factorised engine wherever it is exact, or what the settings ask for.

    Raises:
        InputError: the factorised engine was asked for and does not cover the model.
    """
    if settings.estimator == "intervention":
        return ChosenEngine(_Measured, "interventions", 128)
    chosen = _exact_engine(model, settings)
    if settings.estimator == "integrated_gradients":
        points = midpoints(settings.edge_steps).tolist()
        return replace(chosen, prepare=partial(_averaged, chosen.prepare, points))
    return chosen


def _averaged(
    prepare: Prepare,
    points: Sequence[float],
    contrast: Contrast,
    gradients: dict[int, PlaceGradient],
    sources: Sequence[Spot],
) -> EdgeEngine:
    return AveragedEdges([prepare(contrast, gradients, sources, share=point) for point in points])


def _exact_engine(model: SplicedModel, settings: AttributionSettings) -> ChosenEngine:
    reason = covers(model) if settings.engine != "reference" else "asked for"
    if reason is None:
        prepare = partial(FactorisedEdges, is_split=settings.parts)
        return ChosenEngine(prepare, "factorised", 128 if settings.parts else 512)
    if settings.engine == "factorised":
        raise InputError(
            f"the factorised engine does not cover this model ({reason}); use engine='auto' or "
            "'reference'"
        )
    return ChosenEngine(ReferenceEdges, f"reference ({reason})", 32)


def edge_stage(
    batches: Batches,
    gradients: list[dict[int, PlaceGradient]] | None,
    sources: Sequence[Spot],
    targets: Sequence[Spot],
    units: Units,
    settings: AttributionSettings,
    *,
    n_prompt: int,
    engine: ChosenEngine,
    targets_at_once: int,
    file: EdgeFile | None,
    progress: Callable[[str, float], None],
) -> EdgeTables:
    """Direct edges from sources to targets and to the metric.

    Args:
        gradients: of every batch; None to make them, and the engines, anew for every chunk.
        targets_at_once: it bounds memory.
        file: where every edge is written as well.
    """
    first = batches[0]
    model = first.model
    names = [*(node_id(model, units.names, spot) for spot in sources), METRIC]
    collector = EdgeCollector(
        sources,
        names,
        n_prompt=n_prompt,
        max_edges=settings.max_edges,
        seed=settings.seed,
        file=file,
    )
    finest = longest_unit(units)
    crossed: list[Crossed] = [{} for _ in range(len(batches))]

    def prepared(number: int, batch: Contrast, gradient: dict[int, PlaceGradient]) -> EdgeEngine:
        if not settings.crosses_thresholds:
            return engine.prepare(batch, gradient, sources)
        return CrossingEdges(
            engine.prepare, batch, gradient, sources, finest=finest, crossed=crossed[number]
        )

    def engines() -> Iterator[EdgeEngine]:
        for number, batch in enumerate(batches):
            yield prepared(number, batch, estimate(batch, settings))

    kept = None
    if gradients is not None:
        pairs = enumerate(zip(batches, gradients, strict=True))
        kept = [prepared(number, *pair) for number, pair in pairs]

    some_targets = expandable(first, targets)
    done, size = 0, min(targets_at_once, engine.most_targets)
    for some in (None, *chunks(some_targets, size)):
        # Block by block all batches side by side, or batch by batch where engines are made anew.
        collector.add(
            [e.into(some) for e in kept] if kept else [[*e.into(some)] for e in engines()]
        )
        done += 0 if some is None else len(some)
        progress("edges", done / max(len(some_targets), 1))
    return collector.tables()


class _Measured:
    """Edges measured one by one (`edges.interventions`)."""

    def __init__(
        self, contrast: Contrast, gradients: dict[int, PlaceGradient], sources: Sequence[Spot]
    ) -> None:
        self._contrast = contrast
        self._reference = ReferenceEdges(contrast, gradients, sources)

    def into(self, targets: tuple[Spot, ...] | None) -> Iterator[EdgeBlock]:
        """Every edge into some targets, all of one place, or into the metric (None)."""
        for block in self._reference.into(targets):
            pairs = [(u, v) for v in block.targets or (None,) for u in block.sources]
            measured = intervene_on_edges(self._contrast, pairs)
            yield replace(block, effects=measured.reshape(block.effects.shape).to(block.effects))
