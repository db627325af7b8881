"""Engines: what computes direct effects among nodes, one row a way to do it.

An engine of your own is a class with a name, `covers` and `prepare`, an object of which is given in
the place of a name: `attribute(model, prompts, engine=Mine())`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Final, TypeAlias

from saecircuits.choices import looked_up
from saecircuits.edges.blocks import EdgeEngine
from saecircuits.edges.cost import Work, by_factorised, by_reference
from saecircuits.edges.factorised import FactorisedEdges, covers
from saecircuits.edges.reference import ReferenceEdges
from saecircuits.errors import InputError
from saecircuits.splicing import SplicedModel

# (contrast, gradients, sources, readers=..., share=...) -> an engine on one batch of prompts
Prepare: TypeAlias = Callable[..., EdgeEngine]
# Of the engines that are exact for the model and tell apart what is asked, the cheapest.
AUTO: Final = "auto"


class Engine(ABC):
    """A way to compute direct effects.

    Attributes:
        name: in settings and files.
        description: for help.
        tells_parts: whether it can tell apart the components that carry an edge.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    tells_parts: ClassVar[bool] = False

    def covers(self, model: SplicedModel) -> str | None:
        """None if it is exact for this model and these sites; otherwise what stands against it."""
        return None

    @abstractmethod
    def prepare(self, *, is_split: bool) -> Prepare:
        """What makes the engine for a batch of prompts.

        Args:
            is_split: also tell apart the components that carry each edge, if it can.
        """

    def predicted(self, model: SplicedModel, work: Work) -> float | None:
        """FLOP that it will cost, about (`edges.cost`); None where nobody knows."""
        return None

    def most_targets(self, *, is_split: bool) -> int:
        """More targets at one time make it no faster."""
        return 32


class Factorised(Engine):
    """From one cached forward pass, without autograd (`edges.factorised`)."""

    name = "factorised"
    description = "without autograd, for the architectures that it is exact for"
    tells_parts = True

    def covers(self, model: SplicedModel) -> str | None:
        return covers(model)

    def prepare(self, *, is_split: bool) -> Prepare:
        return partial(FactorisedEdges, is_split=is_split)

    def predicted(self, model: SplicedModel, work: Work) -> float:
        return by_factorised(model, work)

    def most_targets(self, *, is_split: bool) -> int:
        return 128 if is_split else 512


class Reference(Engine):
    """By autograd, on any model the bridge loads (`edges.reference`)."""

    name = "reference"
    description = "autograd, slow, for every model"

    def prepare(self, *, is_split: bool) -> Prepare:
        return ReferenceEdges

    def predicted(self, model: SplicedModel, work: Work) -> float:
        return by_reference(model, work)


class Unnamed(Engine):
    """An engine that somebody else made: its name is known from a file, and no more."""

    description = "an engine that was made for this run"

    def __init__(self, name: str) -> None:
        self.name = name  # pyright: ignore[reportAttributeAccessIssue]

    def covers(self, model: SplicedModel) -> str:
        return "it was made for this run, and is known by its name alone"

    def prepare(self, *, is_split: bool) -> Prepare:
        raise AssertionError("an engine that covers no model is not prepared")


ENGINES: Final[Mapping[str, Engine]] = {row.name: row for row in (Factorised(), Reference())}


@dataclass(frozen=True)
class ChosenEngine:
    """The engine that computes the edges of a model.

    Attributes:
        described: its name, and why it was chosen.
        most_targets: more targets at one time make it no faster.
        tells_parts: whether it can tell apart the components that carry an edge.
    """

    prepare: Prepare
    described: str
    most_targets: int
    tells_parts: bool = False


def exact_engine(
    model: SplicedModel, wanted: str | Engine, *, is_split: bool, work: Work | None = None
) -> ChosenEngine:
    """The engine that was asked for, or the cheapest that is exact for the model.

    Args:
        is_split: components are to be told apart: by the first of the table that is exact.
        work: what there is to do; None where it is not known: the first that is exact.

    Raises:
        InputError: the engine asked for does not cover the model.
    """
    first, *_ = ENGINES.values()
    if wanted != AUTO:
        engine = looked_up("engine", wanted, ENGINES, Engine)
        reason = engine.covers(model)
        if reason is not None:
            raise InputError(
                f"the {engine.name} engine does not cover this model ({reason}); use engine='auto' "
                "or 'reference'"
            )
        return _chosen(engine, "" if engine is first else " (asked for)", is_split=is_split)
    costs = {} if work is None else _costs(model, work)
    against = ""
    for engine in sorted(
        ENGINES.values(), key=lambda row: 0.0 if is_split else costs.get(row.name, 0.0)
    ):
        reason = engine.covers(model)
        if reason is None:
            return _chosen(engine, against or _told(costs), is_split=is_split)
        against = against or f" ({reason})"
    raise AssertionError("the last engine of the table covers every model")


def _costs(model: SplicedModel, work: Work) -> dict[str, float]:
    """FLOP predicted, by engine."""
    known = {name: engine.predicted(model, work) for name, engine in ENGINES.items()}
    return {name: flop for name, flop in known.items() if flop is not None}


def _told(costs: Mapping[str, float]) -> str:
    each = ", ".join(f"{name} {flop / 1e12:.2g}" for name, flop in costs.items())
    return f" (TFLOP predicted: {each})" if costs else ""


def _chosen(engine: Engine, why: str, *, is_split: bool) -> ChosenEngine:
    return ChosenEngine(
        engine.prepare(is_split=is_split),
        engine.name + why,
        engine.most_targets(is_split=is_split),
        engine.tells_parts,
    )
