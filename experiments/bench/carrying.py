"""Carries out jobs: each in a process of its own, so that none inherits memory from another."""

import multiprocessing
import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import torch

from experiments.bench import distant
from experiments.bench.distant import DISTANT, load_distant
from experiments.bench.engines import ENGINES, FACTORISED, PARTS, SINGLE, Engine
from experiments.bench.flops import node_terms
from experiments.bench.jobs import Job
from experiments.bench.measuring import Clock, PeakMemory, product_rate
from experiments.bench.results import (
    AblationResult,
    CurvePoint,
    DistantResult,
    EdgeResult,
    NodeResult,
    PartsResult,
    Result,
)
from experiments.bench.sizes import Loaded, load_random, load_shipped
from experiments.bench.work import (
    bare_passes,
    counted_flop,
    edges,
    nodes,
    prepare,
    set_up,
    spread,
    wired,
)
from saecircuits.edges.ablation import ablate_edges
from saecircuits.edges.attribute import attribute
from saecircuits.nodes.interventions import Spot
from saecircuits.nodes.names import node_id

_REPEATS: Final = 3
# Edge ablation is timed on a circuit of so many nodes.
ABLATED_NODES: Final = 200


def carry_out_elsewhere(job: Job) -> list[Result]:
    """The results of a job, measured in a fresh process.

    Raises:
        RuntimeError: the job fails; the message has its last words.
    """
    fresh = multiprocessing.get_context("spawn")
    with _threads_of_children(job.threads), ProcessPoolExecutor(1, mp_context=fresh) as pool:
        try:
            return pool.submit(carry_out, job).result()
        except Exception as error:
            raise RuntimeError(
                f"measuring {job.what} of {job.size_name} failed with "
                f"{type(error).__name__}: {error}"
            ) from error


@contextmanager
def _threads_of_children(count: int) -> Iterator[None]:
    """Processes that begin inside have so many threads in every library."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(count)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def carry_out(job: Job) -> list[Result]:
    """The results of a job, measured in this process."""
    torch.set_num_threads(job.threads)
    measure: dict[str, Callable[[Job, Loaded], Sequence[Result]]] = {
        "nodes": _nodes,
        "edges": _edges,
        "parts": _parts,
        "ablation": _ablation,
        "distant": _distant,
        "curve": _curve,
    }
    return list(measure[job.kind](job, _loaded(job)))


def _loaded(job: Job) -> Loaded:
    if job.distant is not None:
        name, folder = job.distant
        return load_distant(DISTANT[name], folder)
    return load_shipped(limit=job.limit) if job.size is None else load_random(job.size)


def _nodes(job: Job, loaded: Loaded) -> list[NodeResult]:
    results = []
    rate = _rate(loaded)
    for baseline in ("zero", "corrupted"):
        memory = PeakMemory()
        batches, _, count = nodes(loaded, baseline)
        peak = memory.above()
        bare_passes(loaded, batches, Clock())
        times, bare = [], []
        for _ in range(_REPEATS + 2):
            clock = Clock()
            bare_passes(loaded, batches, clock)
            bare.append(clock.cpu)
            clock = Clock()
            with clock.running():
                nodes(loaded, baseline)
            times.append(clock)
        middle = sorted(times, key=lambda clock: clock.cpu)[len(times) // 2]
        results.append(
            NodeResult(
                size=job.size_name,
                threads=job.threads,
                baseline=baseline,
                nodes=count,
                cpu_seconds=middle.cpu,
                wall_seconds=middle.wall,
                bare_seconds=statistics.median(bare),
                peak_bytes=peak,
                flop=None if job.size is None else sum(node_terms(job.size).values()),
                rate=rate,
            )
        )
    return results


def _edges(job: Job, loaded: Loaded) -> list[EdgeResult]:
    engine = ENGINES[job.engine]
    rate = _rate(loaded)
    memory = PeakMemory()
    work = prepare(loaded)
    is_part = job.size is not None and not job.is_full
    some = spread(work.targets, engine.sampled if is_part else None)
    share = len(some) / len(work.targets)
    flop = counted_flop(set_up(engine, work), some)
    # One pass of the slow engines over all targets takes as long as all else.
    repeats = 1 if engine.sampled and not is_part else _REPEATS
    passes = [edges(set_up(engine, work), some) for _ in range(repeats)]
    peak = memory.above()
    middle = sorted(passes, key=lambda timed: timed.of_all(1.0).cpu)[repeats // 2]
    clock = middle.of_all(share)
    names = work.batches[0].units.names
    checked = spread(work.targets, ENGINES[SINGLE].sampled)
    totals = {
        node_id(loaded.model, names, spot): middle.totals[spot]
        for spot in checked
        if spot in middle.totals
    }
    return [
        EdgeResult(
            size=job.size_name,
            engine=engine.name,
            threads=job.threads,
            targets=len(work.targets),
            edges=middle.edges if job.size is None else job.size.n_edges,
            cpu_seconds=clock.cpu,
            wall_seconds=clock.wall,
            measured_share=share,
            peak_bytes=peak,
            flop=round(flop / share),
            rate=max(rate, _rate(loaded)),
            totals=totals,
        )
    ]


def _parts(job: Job, loaded: Loaded) -> list[PartsResult]:
    """Components off and on in turn, by the engine and for the shipped model by `attribute`."""
    work = prepare(loaded)
    # At once as many targets either way, as few as with parts: the difference is the parts'.
    together = ENGINES[PARTS].targets_at_once
    engines = [replace(ENGINES[name], targets_at_once=together) for name in (FACTORISED, PARTS)]

    def by_engine(engine: Engine) -> float:
        return edges(set_up(engine, work), work.targets).of_all(1.0).cpu

    def by_attribute(engine: Engine) -> float:
        clock = Clock()
        with clock.running():
            attribute(loaded.model, loaded.prompts, parts=engine.name == PARTS)
        return clock.cpu

    ways = {"engine": by_engine}
    if job.size is None:
        ways["attribute"] = by_attribute
    results = []
    for way, measure in ways.items():
        times = [[measure(engine) for engine in engines] for _ in range(_REPEATS + 1)][1:]
        off, on = (statistics.median(column) for column in zip(*times, strict=True))
        results.append(PartsResult(job.size_name, way, job.threads, off, on))
    return results


def _ablation(job: Job, loaded: Loaded) -> list[AblationResult]:
    """The least of some times, of ablation and of a forward pass, each after one not counted."""
    contrast, wiring, circuit = wired(loaded, ABLATED_NODES)

    @torch.no_grad()
    def forward() -> None:
        loaded.model.forward(contrast.tokens)

    def least(work: Callable[[], object], times: int) -> float:
        work()
        found = []
        for _ in range(times):
            clock = Clock()
            with clock.running():
                work()
            found.append(clock.cpu)
        return min(found)

    return [
        AblationResult(
            size=job.size_name,
            threads=job.threads,
            prompts=len(contrast.prompts),
            nodes=circuit.size,
            edges=len(circuit.edges),
            cpu_seconds=least(lambda: ablate_edges(contrast, [wiring]), _REPEATS + 2),
            forward_seconds=least(forward, 20),
        )
    ]


def _distant(job: Job, loaded: Loaded) -> list[DistantResult]:
    return distant.measure(DISTANT[job.size_name], loaded, job.threads)


def _curve(job: Job, loaded: Loaded) -> list[CurvePoint]:
    assert job.size is not None, "curves are of sizes"
    engine, work = ENGINES[job.engine], prepare(loaded)
    edges(set_up(engine, work), spread(work.targets, 8))
    points = []
    for count in job.counts:
        some: list[Spot] = spread(work.targets, count)
        at = {"targets": len(some), "layers": job.size.n_layers - 1, "tokens": job.size.n_tokens}
        times = [edges(set_up(engine, work), some).of_all(1.0).cpu for _ in range(_REPEATS)]
        points.append(
            CurvePoint(
                curve=job.curve,
                at=at[job.curve],
                targets=len(some),
                sources=len(work.sources),
                seconds=statistics.median(times),
                rate=_rate(loaded),
            )
        )
    return points


def _rate(loaded: Loaded) -> float:
    """Of products of the loaded model's MLP, for a chunk of targets."""
    cfg = loaded.model.bridge.cfg
    return product_rate(512, int(cfg.d_model), int(cfg.d_mlp))
