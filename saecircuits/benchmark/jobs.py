"""Jobs: each is measured in a process of its own, so that none inherits memory from another."""

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

import torch

from saecircuits.benchmark.engines import ENGINES, FACTORISED, PARTS, SINGLE, Engine
from saecircuits.benchmark.flops import node_terms
from saecircuits.benchmark.measuring import Clock, PeakMemory, product_rate
from saecircuits.benchmark.results import (
    AblationResult,
    CurvePoint,
    EdgeResult,
    NodeResult,
    PartsResult,
)
from saecircuits.benchmark.sizes import SIZES, Loaded, Size, load_random, load_shipped
from saecircuits.benchmark.work import (
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
from saecircuits.errors import UnknownNameError
from saecircuits.nodes.interventions import Spot
from saecircuits.nodes.names import node_id

JobKind = Literal["nodes", "edges", "parts", "ablation", "curve"]
_REPEATS: Final = 3
# Edge ablation is timed on a circuit of so many nodes, and on so many prompts unless told.
ABLATED_NODES: Final = 200
ABLATED_PROMPTS: Final = 32


@dataclass(frozen=True)
class Job:
    """One measurement.

    Attributes:
        size: a published size; None for the shipped model.
        limit: prompt pairs of the shipped model's task; None for all.
        engine: for `edges`.
        is_full: also the slow engines on all targets.
        curve: for `curve`, what is varied.
        counts: for `curve`, targets per site, each a point.
    """

    kind: JobKind
    size: Size | None
    threads: int
    limit: int | None = None
    engine: str = FACTORISED
    is_full: bool = False
    curve: str = ""
    counts: tuple[int | None, ...] = ()

    @property
    def size_name(self) -> str:
        """Of the size or the shipped model."""
        return "stories" if self.size is None else self.size.name

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Job":
        """The job of `to_json`."""
        size = None if value["size"] is None else Size(**value["size"])
        return cls(**{**value, "size": size, "counts": tuple(value["counts"])})


def carry_out(job: Job) -> list[dict[str, Any]]:
    """The results of a job, as plain values.

    Raises:
        UnknownNameError: no such engine.
    """
    if job.engine not in ENGINES:
        raise UnknownNameError("engine", job.engine, ENGINES)
    torch.set_num_threads(job.threads)
    measure: dict[str, Callable[[Job, Loaded], list[Any]]] = {
        "nodes": _nodes,
        "edges": _edges,
        "parts": _parts,
        "ablation": _ablation,
        "curve": _curve,
    }
    loaded = load_shipped(limit=job.limit) if job.size is None else load_random(job.size)
    return [asdict(result) for result in measure[job.kind](job, loaded)]


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


def curve_jobs(threads: int) -> list[Job]:
    """Time over targets, layers and prompt length, at shapes that load quickly.

    Edges do not depend on the width of dictionaries, so the GPT-2 small size has a quarter of it;
    prompt length is varied on the shipped model's shape, with the same number of targets.
    """
    gpt2 = replace(SIZES["gpt2-small"], d_sae=6144)
    small = Size(
        "stories-shape", "the shipped model's shape", "gpt2",
        n_layers=4, d_model=128, n_heads=4, d_mlp=512, d_vocab=3072,
        d_sae=1024, active=20, n_tokens=16,
    )  # fmt: skip
    counts = (15, 30, 60, 120, 240, 480, 960)
    layers = (2, 4, 6, 8, 10, 12)
    tokens = (16, 32, 64, 128, 256, 512, 1024)
    return [
        Job("curve", gpt2, threads, curve="targets", counts=counts),
        *(
            Job("curve", replace(gpt2, n_layers=n), threads, curve="layers", counts=(None,))
            for n in layers
        ),
        *(
            Job("curve", replace(small, n_tokens=n), threads, curve="tokens", counts=(320,))
            for n in tokens
        ),
    ]
