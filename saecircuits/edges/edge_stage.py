"""Edges among chosen nodes, over all prompts: which engine, in what order, into which tables.

Chunk by chunk of targets, every batch of prompts is asked for the edges into them; so each edge has
its figures from all prompts at once, and no more is held than one chunk and what is kept.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from saecircuits.edges.blocks import EdgeBlock, EdgeEngine, chunks, expandable
from saecircuits.edges.collecting import EdgeCollector, EdgeTables
from saecircuits.edges.cost import Work, work_of
from saecircuits.edges.engines import ChosenEngine, Reference, exact_engine
from saecircuits.edges.settings import AttributionSettings
from saecircuits.edges.streaming import EdgeFile
from saecircuits.edges.thresholds import Crossed, CrossingEdges, longest_unit
from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.estimators import PlaceGradient
from saecircuits.nodes.experiment import Experiment
from saecircuits.nodes.interventions import Spot
from saecircuits.nodes.names import METRIC, node_id
from saecircuits.splicing import SplicedModel


def choose_engine(
    model: SplicedModel, settings: AttributionSettings, work: Work | None = None
) -> ChosenEngine:
    """The engine that the settings ask for, taking derivatives as their estimator does.

    Args:
        work: what there is to do, where that is known.

    Raises:
        InputError: an engine was asked for that does not cover the model.
    """
    estimator = settings.chosen_estimator
    # What is measured needs no engine to be exact for the model.
    wanted = Reference.name if estimator.is_measured else settings.engine
    return estimator.along_edges(exact_engine(model, wanted, is_split=settings.parts, work=work))


def engine_for(
    experiment: Experiment, settings: AttributionSettings, targets: Sequence[Spot]
) -> ChosenEngine:
    """As `choose_engine`, for edges into these targets."""
    work = work_of(experiment, targets, crosses=settings.crosses_thresholds)
    return choose_engine(experiment.model, settings, work)


@dataclass(frozen=True, eq=False)
class EdgeJob:
    """Which edges are computed, and how.

    Attributes:
        sources, targets: nodes that edges begin and end in; all may also end in the metric.
        gradients: of every batch; None to make them, and the engines, anew for every chunk.
        at_once: so many targets at one time, at most; it bounds memory.
    """

    sources: Sequence[Spot]
    targets: Sequence[Spot]
    gradients: Sequence[dict[int, PlaceGradient]] | None
    engine: ChosenEngine
    at_once: int


def edge_stage(
    experiment: Experiment,
    settings: AttributionSettings,
    job: EdgeJob,
    *,
    file: EdgeFile | None,
    progress: Callable[[str, float], None],
) -> EdgeTables:
    """Direct edges from sources to targets and to the metric.

    Args:
        file: where every edge is written as well.
    """
    units = experiment.units
    names = [*(node_id(experiment.model, units.names, spot) for spot in job.sources), METRIC]
    collector = EdgeCollector(
        job.sources,
        names,
        n_prompt=len(experiment.prompts),
        max_edges=settings.max_edges,
        seed=settings.seed,
        file=file,
    )
    estimator, finest = settings.chosen_estimator, longest_unit(units)
    crossed: list[Crossed] = [{} for _ in range(experiment.n_batch)]

    def prepared(batch: Contrast) -> EdgeEngine:
        number, known = batch.number, job.gradients
        gradients = estimator.gradients(batch) if known is None else known[number]
        if not settings.crosses_thresholds:
            return job.engine.prepare(batch, gradients, job.sources)
        return CrossingEdges(
            job.engine.prepare,
            batch,
            gradients,
            job.sources,
            finest=finest,
            crossed=crossed[number],
        )

    kept = None if job.gradients is None else experiment.over_batches(prepared)
    targets = expandable(experiment, job.targets)
    done, size = 0, min(job.at_once, job.engine.most_targets)
    for some in (None, *chunks(targets, size)):
        # Block by block all batches side by side, or batch by batch where engines are made anew.
        collector.add(
            [engine.into(some) for engine in kept]
            if kept is not None
            else experiment.over_batches(partial(_blocks_into, some, prepared))
        )
        done += 0 if some is None else len(some)
        progress("edges", done / max(len(targets), 1))
    return collector.tables()


def _blocks_into(
    targets: tuple[Spot, ...] | None, prepared: Callable[[Contrast], EdgeEngine], batch: Contrast
) -> list[EdgeBlock]:
    return [*prepared(batch).into(targets)]
