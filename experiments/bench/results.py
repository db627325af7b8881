"""What a benchmark found, as values that become JSON and are read back from it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Final, TypeVar

from experiments.bench.engines import FACTORISED
from experiments.bench.measuring import Machine

CURVES: Final = ("targets", "layers", "tokens")


@dataclass(frozen=True)
class NodeResult:
    """Node effects of every feature, error and token.

    Attributes:
        cpu_seconds: of the effects under a baseline.
        bare_seconds: CPU seconds of one forward and one backward pass of the bare model and one
            pass of every encoder.
        peak_bytes: held at most, above the loaded model and dictionaries.
        flop: what the bare passes and encoders count; None for the shipped model.
        rate: FLOP per CPU second of matrix products in the same process.
    """

    size: str
    threads: int
    baseline: str
    nodes: int
    cpu_seconds: float
    wall_seconds: float
    bare_seconds: float
    peak_bytes: int
    flop: int | None
    rate: float

    @property
    def ratio(self) -> float:
        """Cost in units of the bare passes and encoders."""
        return self.cpu_seconds / self.bare_seconds


@dataclass(frozen=True)
class EdgeResult:
    """Edges by one engine.

    Attributes:
        cpu_seconds: of all targets; scaled up where a part of them was measured.
        measured_share: of the targets.
        peak_bytes: held at most, above the loaded model and dictionaries.
        flop: of the matrix products that the engine carried out, as torch counts them; scaled like
            the time.
        rate: FLOP per CPU second of matrix products in the same process.
        totals: sum of |effect| over the sources, for some targets: equal for all engines. Not in
            the JSON.
        difference_from_factorised: what comes of these (`compared`).
    """

    size: str
    engine: str
    threads: int
    targets: int
    edges: int
    cpu_seconds: float
    wall_seconds: float
    measured_share: float
    peak_bytes: int
    flop: int
    rate: float
    totals: Mapping[str, float] = field(default_factory=dict)
    difference_from_factorised: float | None = None

    @property
    def edges_per_second(self) -> float:
        """Edges per CPU second."""
        return self.edges / self.cpu_seconds

    @property
    def share_of_rate(self) -> float:
        """The part of the machine's rate of matrix products that the engine reaches."""
        return self.flop / self.cpu_seconds / self.rate


@dataclass(frozen=True)
class PartsResult:
    """What telling components apart adds, off and on in turn in one process.

    Attributes:
        way: `engine` for the engine alone, `attribute` for the public function.
    """

    size: str
    way: str
    threads: int
    seconds_without: float
    seconds_with: float

    @property
    def extra(self) -> float:
        """Extra time, as a share."""
        return self.seconds_with / self.seconds_without - 1


@dataclass(frozen=True)
class AblationResult:
    """Edge ablation of one circuit, on all prompts together.

    Attributes:
        nodes, edges: of the circuit.
        cpu_seconds: of the metric under edge ablation.
        forward_seconds: CPU seconds of one forward pass of the same prompts.
    """

    size: str
    threads: int
    prompts: int
    nodes: int
    edges: int
    cpu_seconds: float
    forward_seconds: float

    @property
    def passes(self) -> float:
        """Cost in units of the forward pass."""
        return self.cpu_seconds / self.forward_seconds


@dataclass(frozen=True)
class DistantResult:
    """`attribute` where dictionaries stand after a few layers only.

    Attributes:
        engine: as it was asked for.
        edges: in the graph.
        node_seconds: CPU seconds up to the last node's effect.
        edge_seconds: CPU seconds from there to the graph.
        peak_bytes: of one call, above the loaded model and dictionaries.
        difference: of an edge's effect from the automatic engine's at most, relative to the
            largest effect; None for that engine.
    """

    size: str
    engine: str
    thresholds: str
    threads: int
    edges: int
    node_seconds: float
    edge_seconds: float
    peak_bytes: int
    difference: float | None


@dataclass(frozen=True)
class CurvePoint:
    """The factorised engine's time at one point of a curve.

    Attributes:
        curve: what is varied: `targets`, `layers` or `tokens`.
        at: its value; of layers, how many adjacent pairs there are.
        seconds: CPU seconds, the median of some repetitions.
    """

    curve: str
    at: int
    targets: int
    sources: int
    seconds: float
    rate: float


Result = NodeResult | EdgeResult | PartsResult | AblationResult | DistantResult | CurvePoint
_R = TypeVar("_R", NodeResult, EdgeResult, PartsResult, AblationResult, DistantResult, CurvePoint)


@dataclass(frozen=True)
class Benchmark:
    """Everything that one run measured.

    Attributes:
        command: that gave it.
    """

    machine: Machine
    command: str
    nodes: tuple[NodeResult, ...] = ()
    edges: tuple[EdgeResult, ...] = ()
    parts: tuple[PartsResult, ...] = ()
    ablations: tuple[AblationResult, ...] = ()
    distant: tuple[DistantResult, ...] = ()
    curves: tuple[CurvePoint, ...] = ()

    def curve(self, name: str) -> list[CurvePoint]:
        """The points of one curve, in order."""
        return sorted((p for p in self.curves if p.curve == name), key=lambda point: point.at)

    def to_json(self) -> dict[str, Any]:
        """Everything measured, with what follows from it, as plain values."""
        return {
            "machine": asdict(self.machine),
            "command": self.command,
            "nodes": [_plain(one, "ratio") for one in self.nodes],
            "edges": [_plain(one, "edges_per_second", "share_of_rate") for one in self.edges],
            "parts": [_plain(one, "extra") for one in self.parts],
            "ablations": [_plain(one, "passes") for one in self.ablations],
            "distant": [_plain(one) for one in self.distant],
            "curves": [_plain(one) for one in self.curves],
            "slopes": {
                name: slope(points) for name in CURVES if len(points := self.curve(name)) > 1
            },
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Benchmark":
        """What `to_json` wrote; what follows from the figures is computed again."""
        return cls(
            machine=Machine(**value["machine"]),
            command=value["command"],
            nodes=_read(NodeResult, value["nodes"]),
            edges=_read(EdgeResult, value["edges"]),
            parts=_read(PartsResult, value["parts"]),
            ablations=_read(AblationResult, value.get("ablations", ())),
            distant=_read(DistantResult, value.get("distant", ())),
            curves=_read(CurvePoint, value["curves"]),
        )


def gathered(machine: Machine, command: str, results: Sequence[Result]) -> Benchmark:
    """The results of all jobs as one value, the engines compared."""

    def of(kind: type[_R]) -> tuple[_R, ...]:
        return tuple(one for one in results if isinstance(one, kind))

    return Benchmark(
        machine=machine,
        command=command,
        nodes=of(NodeResult),
        edges=compared(of(EdgeResult)),
        parts=of(PartsResult),
        ablations=of(AblationResult),
        distant=of(DistantResult),
        curves=of(CurvePoint),
    )


def compared(found: Sequence[EdgeResult]) -> tuple[EdgeResult, ...]:
    """The results with their difference from the factorised engine's at the same size and threads.

    It is the largest difference of a target's summed |effect|, relative to the largest of these
    sums; None without the factorised engine's figures.
    """
    ours = {(one.size, one.threads): one.totals for one in found if one.engine == FACTORISED}
    return tuple(
        one
        if one.engine == FACTORISED
        else replace(
            one, difference_from_factorised=_apart(one.totals, ours.get((one.size, one.threads)))
        )
        for one in found
    )


def _apart(theirs: Mapping[str, float], ours: Mapping[str, float] | None) -> float | None:
    both = [name for name in theirs if name in (ours or {})]
    if ours is None or not both:
        return None
    scale = max(ours[name] for name in both)
    return max(abs(ours[name] - theirs[name]) for name in both) / scale if scale > 0 else None


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


def _plain(one: Result, *derived: str) -> dict[str, Any]:
    value = asdict(one) | {name: getattr(one, name) for name in derived}
    value.pop("totals", None)
    return value


def _read(kind: type[_R], rows: Sequence[Mapping[str, Any]]) -> tuple[_R, ...]:
    known = {one.name for one in fields(kind)}
    return tuple(
        kind(**{name: cell for name, cell in row.items() if name in known}) for row in rows
    )
