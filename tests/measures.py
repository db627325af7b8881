"""Faithfulness by a rule, for tests of what chooses nodes by it."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from saecircuits.nodes.experiment import Experiment


class Measure(Experiment):
    """An experiment without a model or prompts, whose faithfulness is what a function says."""

    def __init__(self, of: Callable[[Sequence[str]], float]) -> None:
        object.__setattr__(self, "of", of)

    def changed(self, **choices: Any) -> "Measure":
        return self

    def faithfulness(self, nodes: Iterable[str]) -> float:
        return vars(self)["of"](list(nodes))

    def faithfulness_of(self, sets: Iterable[Iterable[str]]) -> list[float]:
        return [self.faithfulness(nodes) for nodes in sets]
