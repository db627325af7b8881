"""Every choice that an attribution depends on, in one value that travels with its results."""

from typing import Any, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from saecircuits.errors import InputError, UnknownNameError
from saecircuits.nodes.baselines import BaselineKind
from saecircuits.nodes.estimators import Estimator
from saecircuits.nodes.units import Positions
from saecircuits.splicing import ErrorPolicy, Linearization

EngineName: TypeAlias = Literal["auto", "factorised", "reference"]
_CHOICES = {
    "linearization": Linearization,
    "estimator": Estimator,
    "positions": Positions,
    "error_policy": ErrorPolicy,
    "baseline": BaselineKind,
    "engine": EngineName,
}


class AttributionSettings(BaseModel):
    """How a graph was computed.

    Attributes:
        linearization: what the gradient sees: the model (`full`), or the model with attention and
            norms held (`frozen`), with secant gates beside (`secant`).
        estimator: `gradient`, `integrated_gradients` or `intervention`.
        positions: what a node's place is counted in: `each`, `span` or `sum`.
        error_policy: `recompute` or `hold`.
        baseline: `corrupted`, `mean` or `zero`.
        engine: of the edges: `factorised`, `reference` (autograd), or `auto`: factorised wherever
            it is exact.
        max_nodes: edges are computed among this many nodes, those of largest |effect|.
        tolerance: completeness gap at which integrated gradients stop adding steps.
        batch_size: prompts per pass; it bounds memory and changes results by rounding only
            (integrated gradients: within `tolerance`, because steps adapt batch by batch).
        seed: of the bootstrap.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    linearization: Linearization = "full"
    estimator: Estimator = "gradient"
    positions: Positions = "span"
    error_policy: ErrorPolicy = "recompute"
    baseline: BaselineKind = "corrupted"
    engine: EngineName = "auto"
    max_nodes: int = 300
    tolerance: float = 1e-3
    batch_size: int = 32
    seed: int = 0

    @model_validator(mode="before")
    @classmethod
    def _known_fields(cls, given: object) -> object:
        for name in given if isinstance(given, dict) else ():
            if name not in cls.model_fields:
                raise UnknownNameError("setting", name, cls.model_fields)
        return given

    @field_validator(*_CHOICES, mode="before")
    @classmethod
    def _known(cls, value: object, info: Any) -> object:
        choices = get_args(_CHOICES[info.field_name])
        if value not in choices:
            # Not a ValueError: it leaves pydantic as it is, in the family of this package.
            raise UnknownNameError(info.field_name, str(value), choices)
        return value

    @field_validator("max_nodes", "batch_size")
    @classmethod
    def _positive(cls, value: int, info: Any) -> int:
        if value < 1:
            raise InputError(f"{info.field_name} is {value}; it must be at least 1")
        return value
