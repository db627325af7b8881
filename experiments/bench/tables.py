"""A benchmark as tables of text cells."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from experiments.bench.engines import ENGINES
from experiments.bench.flops import edge_terms
from experiments.bench.results import CURVES, Benchmark
from experiments.bench.sizes import SIZES
from experiments.bench.wanted import wishes
from saecircuits.publication.markdown import table


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

    def markdown(self) -> str:
        """The table in Markdown."""
        return table(self.header, self.rows, numbers=len(self.header) - self.words)


def sheets(found: Benchmark) -> list[Sheet]:
    """Every table that the benchmark has rows for."""
    points = [point for name in CURVES for point in found.curve(name)]
    made = [
        _sheet("Edges", found.edges, 2, _EDGES),
        _sheet("Work behind the edges", found.edges, 2, _WORK),
        _sheet("Nodes", found.nodes, 2, _NODES),
        _sheet("Parts of every edge", found.parts, 2, _PARTS),
        _sheet("Edge ablation", found.ablations, 1, _ABLATIONS),
        _sheet("Distant sites", found.distant, 3, _DISTANT),
        _sheet("Growth", points, 1, _GROWTH),
        _sheet("What was wanted", wishes(found), 4, _WISHES),
    ]
    return [sheet for sheet in made if sheet.rows]


def terms() -> Sheet:
    """What the factorised engine's count is made of, at the published sizes."""
    named = {name: edge_terms(size) for name, size in SIZES.items()}
    summed = {name: {**counts, "all": sum(counts.values())} for name, counts in named.items()}
    rows = [
        (term, *(f"{counts[term] / 1e9:.1f}" for counts in summed.values()))
        for term in next(iter(summed.values()))
    ]
    return Sheet("", ("GFLOP", *summed), tuple(rows), 1)


def number(value: float) -> str:
    """Three digits, or whole with separators."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


Columns = Mapping[str, Callable[[Any], str]]


def _sheet(title: str, found: Iterable[Any], words: int, columns: Columns) -> Sheet:
    rows = tuple(tuple(cell(one) for cell in columns.values()) for one in found)
    return Sheet(title, tuple(columns), rows, words)


_ENGINE: Columns = {
    "size": lambda one: one.size,
    "engine": lambda one: ENGINES[one.engine].title,
    "threads": lambda one: str(one.threads),
}
_EDGES: Columns = {
    **_ENGINE,
    "CPU s": lambda one: number(one.cpu_seconds),
    "wall s": lambda one: number(one.wall_seconds),
    "edges per CPU s": lambda one: number(one.edges_per_second),
    "peak MB": lambda one: f"{one.peak_bytes / 1e6:.0f}",
}
_WORK: Columns = {
    **_ENGINE,
    "edges": lambda one: f"{one.edges:,}",
    "targets measured": lambda one: (
        "all" if one.measured_share == 1 else f"{one.measured_share:.1%}, scaled"
    ),
    "TFLOP": lambda one: f"{one.flop / 1e12:.3f}",
    "share of rate": lambda one: f"{one.share_of_rate:.0%}",
    "difference": lambda one: (
        "" if one.difference_from_factorised is None else f"{one.difference_from_factorised:.0e}"
    ),
}
_NODES: Columns = {
    "size": lambda one: one.size,
    "baseline": lambda one: one.baseline,
    "threads": lambda one: str(one.threads),
    "nodes": lambda one: f"{one.nodes:,}",
    "CPU s": lambda one: number(one.cpu_seconds),
    "bare CPU s": lambda one: number(one.bare_seconds),
    "ratio": lambda one: f"{one.ratio:.2f}",
    "peak MB": lambda one: f"{one.peak_bytes / 1e6:.0f}",
    "bare share of rate": lambda one: (
        "" if one.flop is None else f"{one.flop / one.bare_seconds / one.rate:.0%}"
    ),
}
_PARTS: Columns = {
    "size": lambda one: one.size,
    "through": lambda one: one.way,
    "threads": lambda one: str(one.threads),
    "CPU s without": lambda one: number(one.seconds_without),
    "CPU s with": lambda one: number(one.seconds_with),
    "extra": lambda one: f"{one.extra:.0%}",
}
_ABLATIONS: Columns = {
    "size": lambda one: one.size,
    "threads": lambda one: str(one.threads),
    "prompts": lambda one: f"{one.prompts:,}",
    "nodes": lambda one: f"{one.nodes:,}",
    "edges": lambda one: f"{one.edges:,}",
    "CPU s": lambda one: number(one.cpu_seconds),
    "forward CPU s": lambda one: number(one.forward_seconds),
    "passes": lambda one: f"{one.passes:.1f}",
}
_DISTANT: Columns = {
    "size": lambda one: one.size,
    "thresholds": lambda one: one.thresholds,
    "engine": lambda one: one.engine,
    "threads": lambda one: str(one.threads),
    "edges": lambda one: f"{one.edges:,}",
    "CPU s of nodes": lambda one: number(one.node_seconds),
    "of edges": lambda one: number(one.edge_seconds),
    "peak MB": lambda one: f"{one.peak_bytes / 1e6:.0f}",
    "difference": lambda one: "" if one.difference is None else f"{one.difference:.0e}",
}
_GROWTH: Columns = {
    "varied": lambda point: point.curve,
    "value": lambda point: f"{point.at:,}",
    "targets": lambda point: f"{point.targets:,}",
    "sources": lambda point: f"{point.sources:,}",
    "CPU s": lambda point: number(point.seconds),
}
_WISHES: Columns = {
    "what": lambda wish: wish.what,
    "wanted": lambda wish: wish.wanted,
    "found": lambda wish: wish.found,
    "": lambda wish: {True: "met", False: "falls short", None: ""}[wish.is_met],
}
