"""What a benchmark found, as values that become JSON."""

from dataclasses import dataclass

from saecircuits.benchmark.measuring import Machine


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
        totals: sum of |effect| over the sources, for some targets: equal for all engines.
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
    totals: dict[str, float]

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


@dataclass(frozen=True)
class Benchmark:
    """Everything that one run measured.

    Attributes:
        command: that gave it.
    """

    machine: Machine
    command: str
    nodes: tuple[NodeResult, ...]
    edges: tuple[EdgeResult, ...]
    parts: tuple[PartsResult, ...]
    ablations: tuple[AblationResult, ...]
    curves: tuple[CurvePoint, ...]
