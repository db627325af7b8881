"""Models whose circuits are known because they were written down; each is made once a session."""

from functools import cache

from experiments.ground_truth.counting import counting
from experiments.ground_truth.induction import induction
from experiments.ground_truth.known import KnownCircuit
from experiments.ground_truth.two_hop import two_hop


@cache
def toy_induction() -> KnownCircuit:
    """A previous-token head and an induction head."""
    return induction()


@cache
def toy_two_hop() -> KnownCircuit:
    """A lookup in two steps, and a backup that waits for it to fail."""
    return two_hop()


@cache
def toy_counting() -> KnownCircuit:
    """Counts and thresholds that have a slope."""
    return counting("graded")


@cache
def toy_hard_counting() -> KnownCircuit:
    """Counts and thresholds that are flat at every count."""
    return counting("hard")
