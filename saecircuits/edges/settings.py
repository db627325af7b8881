"""Every choice that an attribution depends on, in one value that travels with its results."""

from typing import Any, Literal, TypeAlias, get_args

from pydantic import (
    BaseModel,
    ByteSize,
    ConfigDict,
    field_serializer,
    field_validator,
    model_validator,
)

from saecircuits.choices import looked_up, name_of
from saecircuits.edges import engines, estimators
from saecircuits.edges.engines import AUTO, ENGINES, Engine
from saecircuits.edges.estimators import ESTIMATORS, Estimator, estimator_of
from saecircuits.errors import InputError, UnknownNameError, check_seed
from saecircuits.memory_limit import DEFAULT, read_limit
from saecircuits.nodes import baselines
from saecircuits.nodes.baselines import BASELINES, Baseline, baseline_of
from saecircuits.nodes.experiment import CHOICES
from saecircuits.nodes.units import Positions
from saecircuits.splicing import ErrorPolicy, Linearization

Thresholds: TypeAlias = Literal["crossed", "held"]
_CHOICES = {
    "linearization": Linearization,
    "positions": Positions,
    "error_policy": ErrorPolicy,
    "thresholds": Thresholds,
}


# Linearization and error policy under which derivatives may cross thresholds.
_CROSSING = ("full", "recompute")


class AttributionSettings(BaseModel):
    """How a graph was computed.

    Attributes:
        linearization: what the gradient sees: the model (`full`), or the model with attention and
            norms held (`frozen`), with secant gates beside (`secant`).
        estimator: `gradient`, `integrated_gradients` or `intervention`, or an `Estimator` of your
            own (`edges.estimators`).
        positions: what a node's place is counted in: `each`, `span` or `sum`.
        error_policy: `recompute` or `hold`.
        baseline: `corrupted`, `mean`, `zero` or `resample`, or a `Baseline` of your own
            (`nodes.baselines`).
        engine: of the edges: `factorised`, `reference` (autograd), or `auto`: factorised wherever
            it is exact, or without `parts` the one that is predicted to be cheaper (`edges.cost`);
            or an `Engine` of your own (`edges.engines`).
        thresholds: of the features that edges end in: `crossed`, a target that falls below its
            threshold loses its whole activation, or `held`, every gate keeps its slope
            (`edges.thresholds`). What is written is what is done: derivatives other than the
            `gradient` of the `full` model under `recompute` have them held whatever is asked, and
            interventions cross them whatever is asked.
        max_nodes: edges are computed among this many nodes, those of largest |effect|; None for
            all.
        target_threshold: of these, nodes of smaller |effect|, in logits, are not expanded: no edges
            into them are computed. `left_out` in the table of nodes says what that leaves out.
        parts: also tell apart the heads and MLPs that carry each edge (factorised engine only).
        max_edges: how many edges the graph keeps, those of largest |effect|.
        edge_steps: under integrated gradients, points at which the derivatives along edges are
            taken.
        tolerance: completeness gap at which integrated gradients stop adding steps.
        batch_size: most prompts per pass; it changes results by rounding only (integrated
            gradients: within `tolerance`, because steps adapt batch by batch).
        memory_limit: bytes, or text such as "4GB", for everything beside the model and its
            dictionaries (`edges.memory`).
        seed: of the bootstrap, and of the baseline `resample`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    linearization: Linearization = "full"
    estimator: str | Estimator = "gradient"
    positions: Positions = "span"
    error_policy: ErrorPolicy = "recompute"
    baseline: str | Baseline = "corrupted"
    engine: str | Engine = AUTO
    thresholds: Thresholds = "crossed"
    max_nodes: int | None = 300
    target_threshold: float = 0.0
    parts: bool = True
    max_edges: int = 100_000
    edge_steps: int = 8
    tolerance: float = 1e-3
    batch_size: int = 32
    memory_limit: ByteSize = DEFAULT
    seed: int = 0

    @property
    def crosses_thresholds(self) -> bool:
        """True where derivatives along edges are taken across their target's threshold."""
        return self.thresholds == "crossed" and not self.chosen_estimator.is_measured

    @property
    def chosen_estimator(self) -> Estimator:
        """What finds the effects."""
        chosen = estimator_of(self.estimator)
        if chosen is not self.estimator:  # given by name
            chosen = chosen.tuned(tolerance=self.tolerance, edge_steps=self.edge_steps)
        return chosen

    @property
    def of_experiment(self) -> dict[str, Any]:
        """The choices that an `Experiment` has too, by name."""
        return {name: getattr(self, name) for name in CHOICES}

    @model_validator(mode="before")
    @classmethod
    def _known_fields(cls, given: object) -> object:
        for name in given if isinstance(given, dict) else ():
            if name not in cls.model_fields:
                raise UnknownNameError("setting", name, cls.model_fields)
        return given

    @model_validator(mode="after")
    def _what_is_done(self) -> "AttributionSettings":
        done, estimator = self.thresholds, self.chosen_estimator
        if estimator.is_measured:
            done = "crossed"
        elif not estimator.is_slope or (self.linearization, self.error_policy) != _CROSSING:
            done = "held"
        # Frozen for everybody else: this is still the making of it.
        object.__setattr__(self, "thresholds", done)
        return self

    @field_validator(*_CHOICES, mode="before")
    @classmethod
    def _known(cls, value: object, info: Any) -> object:
        choices = get_args(_CHOICES[info.field_name])
        if value not in choices:
            # Not a ValueError: it leaves pydantic as it is, in the family of this package.
            raise UnknownNameError(info.field_name, str(value), choices)
        return value

    @field_validator("estimator", "baseline", "engine", mode="before")
    @classmethod
    def _in_its_table(cls, value: Any, info: Any) -> object:
        match info.field_name:
            case "estimator":
                estimator_of(value)
            case "baseline":
                baseline_of(value)
            case _:
                looked_up("engine", value, {AUTO: None, **ENGINES}, Engine)
        return value

    @field_serializer("estimator", "baseline", "engine")
    def _by_name(self, value: Any) -> str:
        return name_of(value)

    @classmethod
    def stored(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Values as a file has them, where choices of somebody's own are known by name alone."""
        found = dict(values)
        tables = {
            "estimator": (ESTIMATORS, estimators),
            "baseline": (BASELINES, baselines),
            "engine": ({AUTO: None, **ENGINES}, engines),
        }
        for name, (table, home) in tables.items():
            given = found.get(name)
            if isinstance(given, str) and given not in table:
                found[name] = home.Unnamed(given)
        return found

    @field_validator("memory_limit", mode="before")
    @classmethod
    def _size(cls, value: object) -> object:
        return read_limit(value)

    @field_validator("max_nodes", "max_edges", "edge_steps", "batch_size")
    @classmethod
    def _positive(cls, value: int | None, info: Any) -> int | None:
        if value is not None and value < 1:
            raise InputError(f"{info.field_name} is {value}; it must be at least 1")
        return value

    @field_validator("seed")
    @classmethod
    def _seed(cls, value: int) -> int:
        check_seed(value)
        return value

    @field_validator("tolerance")
    @classmethod
    def _above_zero(cls, value: float, info: Any) -> float:
        if not 0 < value < float("inf"):
            raise InputError(f"{info.field_name} is {value}; it must be above 0")
        return value

    @field_validator("target_threshold")
    @classmethod
    def _not_negative(cls, value: float, info: Any) -> float:
        if not value >= 0:
            raise InputError(f"{info.field_name} is {value}; it must be 0 or more, in logits")
        return value
