"""A benchmark as tables of text cells, for the terminal and for Markdown alike, and as JSON."""

from dataclasses import asdict, dataclass
from typing import Any, Final

from saecircuits.benchmark.bars import agreement, bars, slope
from saecircuits.benchmark.engines import ENGINES
from saecircuits.benchmark.results import Benchmark, CurvePoint

CURVES: Final = ("targets", "layers", "tokens")


@dataclass(frozen=True)
class Sheet:
    """A table of cells that are text already.

    Attributes:
        words: how many of the first columns hold words; the others hold numbers.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int


def sheets(found: Benchmark) -> list[Sheet]:
    """Every table that the benchmark has rows for."""
    made = [_edges(found), _work(found), _nodes(found), _parts(found)]
    made += [_ablations(found), _curves(found), _bars(found)]
    return [sheet for sheet in made if sheet.rows]


def to_json(found: Benchmark) -> dict[str, Any]:
    """Everything measured, with what follows from it, as plain values."""
    value = asdict(found)
    for row, one in zip(value["edges"], found.edges, strict=True):
        del row["totals"]
        row |= {
            "edges_per_second": one.edges_per_second,
            "share_of_rate": one.share_of_rate,
            "difference_from_factorised": agreement(found, one),
        }
    for row, one in zip(value["nodes"], found.nodes, strict=True):
        row["ratio"] = one.ratio
    for row, one in zip(value["parts"], found.parts, strict=True):
        row["extra"] = one.extra
    for row, one in zip(value["ablations"], found.ablations, strict=True):
        row["passes"] = one.passes
    value["slopes"] = {
        curve: slope(points) for curve in CURVES if len(points := points_of(found, curve)) > 1
    }
    value["bars"] = [asdict(bar) for bar in bars(found)]
    return value


def points_of(found: Benchmark, curve: str) -> list[CurvePoint]:
    """The points of one curve, in order."""
    return sorted((p for p in found.curves if p.curve == curve), key=lambda point: point.at)


def _edges(found: Benchmark) -> Sheet:
    rows = [
        (
            one.size,
            ENGINES[one.engine].title,
            str(one.threads),
            number(one.cpu_seconds),
            number(one.wall_seconds),
            number(one.edges_per_second),
            f"{one.peak_bytes / 1e6:.0f}",
        )
        for one in found.edges
    ]
    header = ("size", "engine", "threads", "CPU s", "wall s", "edges per CPU s", "peak MB")
    return Sheet("Edges", header, tuple(rows), 2)


def _work(found: Benchmark) -> Sheet:
    rows = []
    for one in found.edges:
        apart = agreement(found, one)
        rows.append(
            (
                one.size,
                ENGINES[one.engine].title,
                str(one.threads),
                f"{one.edges:,}",
                "all" if one.measured_share == 1 else f"{one.measured_share:.1%}, scaled",
                f"{one.flop / 1e12:.3f}",
                f"{one.share_of_rate:.0%}",
                "" if apart is None else f"{apart:.0e}",
            )
        )
    header = (
        "size", "engine", "threads", "edges", "targets measured", "TFLOP", "share of rate",
        "difference",
    )  # fmt: skip
    return Sheet("Work behind the edges", header, tuple(rows), 2)


def _nodes(found: Benchmark) -> Sheet:
    rows = [
        (
            one.size,
            one.baseline,
            str(one.threads),
            f"{one.nodes:,}",
            number(one.cpu_seconds),
            number(one.bare_seconds),
            f"{one.ratio:.2f}",
            f"{one.peak_bytes / 1e6:.0f}",
            "" if one.flop is None else f"{one.flop / one.bare_seconds / one.rate:.0%}",
        )
        for one in found.nodes
    ]
    header = (
        "size", "baseline", "threads", "nodes", "CPU s", "bare CPU s", "ratio", "peak MB",
        "bare share of rate",
    )  # fmt: skip
    return Sheet("Nodes", header, tuple(rows), 2)


def _parts(found: Benchmark) -> Sheet:
    rows = [
        (
            one.size,
            one.way,
            str(one.threads),
            number(one.seconds_without),
            number(one.seconds_with),
            f"{one.extra:.0%}",
        )
        for one in found.parts
    ]
    header = ("size", "through", "threads", "CPU s without", "CPU s with", "extra")
    return Sheet("Parts of every edge", header, tuple(rows), 2)


def _ablations(found: Benchmark) -> Sheet:
    rows = [
        (
            one.size,
            str(one.threads),
            f"{one.prompts:,}",
            f"{one.nodes:,}",
            f"{one.edges:,}",
            number(one.cpu_seconds),
            number(one.forward_seconds),
            f"{one.passes:.1f}",
        )
        for one in found.ablations
    ]
    header = (
        "size", "threads", "prompts", "nodes", "edges", "CPU s", "forward CPU s", "passes",
    )  # fmt: skip
    return Sheet("Edge ablation", header, tuple(rows), 1)


def _curves(found: Benchmark) -> Sheet:
    rows = [
        (
            point.curve,
            f"{point.at:,}",
            f"{point.targets:,}",
            f"{point.sources:,}",
            number(point.seconds),
        )
        for curve in CURVES
        for point in points_of(found, curve)
    ]
    header = ("varied", "value", "targets", "sources", "CPU s")
    return Sheet("Growth", header, tuple(rows), 1)


def _bars(found: Benchmark) -> Sheet:
    verdicts = {True: "met", False: "falls short", None: ""}
    rows = [(bar.what, bar.wanted, bar.found, verdicts[bar.is_met]) for bar in bars(found)]
    return Sheet("What was wanted", ("what", "wanted", "found", ""), tuple(rows), 4)


def number(value: float) -> str:
    """Three digits, or whole with separators."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
