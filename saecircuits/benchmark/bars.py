"""What was wanted of the engines, beside what was measured; the bars do not move."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from saecircuits.benchmark.engines import BATCHED, FACTORISED, SINGLE
from saecircuits.benchmark.results import Benchmark, CurvePoint, EdgeResult

BAR_SIZE: Final = "gpt2-small"
# FLOP of all edges of GPT-2 small by the factorised engine, as the bar was set.
PUBLISHED_FLOP: Final = 0.160e12
_FASTER: Final = {BATCHED: 30.0, SINGLE: 60.0}
_TIMES_FLOP: Final = 2.0
_MEMORY: Final = 400e6
_NODES: Final = 1.5
_PARTS: Final = 0.2
_STRAIGHT: Final = 1.1
_PASSES: Final = 60.0


@dataclass(frozen=True)
class Bar:
    """One wish and one figure.

    Attributes:
        wanted: in words, with the number.
        found: likewise.
        is_met: what the number says; None where nothing was wanted.
    """

    what: str
    wanted: str
    found: str
    is_met: bool | None


def bars(found: Benchmark) -> list[Bar]:
    """Every bar that the benchmark has figures for; single-threaded."""
    return [*_edges(found), *_nodes(found), *_parts(found), *_ablations(found), *_curves(found)]


def _edges(found: Benchmark) -> Iterator[Bar]:
    by_engine = {
        one.engine: one for one in found.edges if one.size == BAR_SIZE and one.threads == 1
    }
    ours = by_engine.get(FACTORISED)
    if ours is None:
        return
    for name, wanted in _FASTER.items():
        if name in by_engine:
            ratio = by_engine[name].cpu_seconds / ours.cpu_seconds
            yield Bar(
                f"CPU time of {name} over factorised, {BAR_SIZE}",
                f"at least {wanted:.0f}",
                f"{ratio:.1f}",
                ratio >= wanted,
            )
    times = ours.cpu_seconds / (PUBLISHED_FLOP / ours.rate)
    yield Bar(
        f"CPU time over that of {PUBLISHED_FLOP / 1e12:.3f} TFLOP at the machine's rate",
        f"at most {_TIMES_FLOP:.1f}",
        f"{times:.2f}",
        times <= _TIMES_FLOP,
    )
    yield Bar(
        "memory above the loaded model and dictionaries",
        f"at most {_MEMORY / 1e6:.0f} MB",
        f"{ours.peak_bytes / 1e6:.0f} MB",
        ours.peak_bytes <= _MEMORY,
    )


def _nodes(found: Benchmark) -> Iterator[Bar]:
    for one in found.nodes:
        if one.size == BAR_SIZE and one.threads == 1:
            yield Bar(
                f"nodes over one bare forward and backward pass and the encoders, {one.baseline} "
                "baseline",
                f"at most {_NODES:.1f}" if one.baseline == "zero" else "",
                f"{one.ratio:.2f}",
                one.ratio <= _NODES if one.baseline == "zero" else None,
            )


def _parts(found: Benchmark) -> Iterator[Bar]:
    for one in found.parts:
        where = "`attribute`" if one.way == "attribute" else "engine alone"
        yield Bar(
            f"extra time for parts, {one.size}, {where}",
            f"at most {_PARTS:.0%}",
            f"{one.extra:.0%}",
            one.extra <= _PARTS,
        )


def _ablations(found: Benchmark) -> Iterator[Bar]:
    for one in found.ablations:
        if one.threads == 1:
            yield Bar(
                f"edge ablation of {one.nodes} nodes over one forward pass, {one.size}",
                f"at most {_PASSES:.0f}",
                f"{one.passes:.1f}",
                one.passes <= _PASSES,
            )


def _curves(found: Benchmark) -> Iterator[Bar]:
    for curve in ("targets", "layers"):
        points = [point for point in found.curves if point.curve == curve]
        if len(points) > 1:
            exponent = slope(points)
            yield Bar(
                f"power with which time grows with {curve}, at the larger values",
                f"at most {_STRAIGHT:.1f}",
                f"{exponent:.2f}",
                exponent <= _STRAIGHT,
            )


def slope(points: Sequence[CurvePoint]) -> float:
    """Power of growth: least-squares slope of log time over log value, over the larger values.

    The larger half counts, or the last four points: below them is what is done once for all.
    """
    upper = points[min(len(points) // 2, max(0, len(points) - 4)) :]
    return _line([(math.log(p.at), math.log(p.seconds)) for p in upper])[1]


def straight(points: Sequence[CurvePoint]) -> tuple[float, float]:
    """Seconds spent once, and seconds for each of what is varied: the least-squares line."""
    return _line([(float(p.at), p.seconds) for p in points])


def _line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Value at zero and slope of the least-squares line."""
    xs, ys = zip(*points, strict=True)
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    over = sum((x - mean_x) * (y - mean_y) for x, y in points)
    slope = over / sum((x - mean_x) ** 2 for x in xs)
    return mean_y - slope * mean_x, slope


def agreement(found: Benchmark, one: EdgeResult) -> float | None:
    """Largest difference of a target's summed |effect| from the factorised engine's, relative to
    the largest; None without the factorised engine's figures.
    """
    for ours in found.edges:
        is_same = (ours.size, ours.threads) == (one.size, one.threads)
        if is_same and ours.engine == FACTORISED and one.engine != FACTORISED:
            both = [name for name in one.totals if name in ours.totals]
            scale = max((ours.totals[name] for name in both), default=0.0)
            worst = max((abs(ours.totals[n] - one.totals[n]) for n in both), default=0.0)
            return worst / scale if scale > 0 else None
    return None
