"""Contrasts in plain English, for models of general text; children's stories have few such words.

Both prompts of a contrast have the same frame, so a circuit holds what the task is about and
nothing of the frame.
"""

from collections.abc import Iterator
from itertools import product

from saecircuits.tasks.receiving import who_receives
from saecircuits.tasks.templates import Contrast, Side

_NAMES = ("Mary", "Alice", "Sarah", "Emma", "John", "James", "Peter", "David")
_PLACES = ("office", "station", "library", "hotel", "museum", "market")
_GIFTS = ("gave a letter", "handed a ticket", "offered a drink", "sent a message")
# What comes before the two names, and behind them up to the one who gives.
_SCENES = (
    ("When", " arrived at the {},"),
    ("While", " were waiting in front of the {},"),
    ("After", " had looked around the {},"),
    ("Yesterday,", " met at the {}, and"),
    ("Last week,", " had lunch near the {}, and then"),
    ("In the evening,", " walked to the {} together, where"),
)
_EVENTS = (
    "war", "siege", "strike", "voyage", "project", "expedition", "trial", "drought", "famine",
    "reign", "plague", "conflict",
)  # fmt: skip
_SPANS_OF_TIME = (
    ("The {} lasted from the year", " to the year"),
    ("The {} began in the year", " and ended in the year"),
    ("Records of the {} start in the year", " and stop in the year"),
)
_CENTURIES = ("14", "15", "16", "17", "18")
# Tens of a first year, of an earlier and of a later one, and single years that may follow them.
_EARLIER, _LATER, _SINGLE = (2, 3), (6, 7), range(1, 9)


def ioi() -> Iterator[Contrast]:
    """The one who does not give receives: "When Mary and John ..., John gave a letter to"."""
    yield from who_receives(_SCENES, _PLACES, _NAMES, _GIFTS)


def greater_than() -> Iterator[Contrast]:
    """An end is later than its beginning: "The war lasted from the year 1732 to the year 17".

    The tens between the two beginnings of a contrast are right behind the earlier one, where those
    before it are wrong, and wrong behind the later one, where those after it are right.
    """

    def side(
        frame: tuple[str, str], century: str, ten: int, single: int, answer: range, wrong: range
    ) -> Side:
        pieces = (
            ("opening", frame[0]),
            ("century", f" {century}"),
            ("ten", f"{ten}"),
            ("single", f"{single}"),
            ("to", frame[1]),
            ("again", f" {century}"),
        )
        return Side(pieces, tuple(map(str, answer)), tuple(map(str, wrong)))

    frames = [(begun.format(event), to) for (begun, to), event in product(_SPANS_OF_TIME, _EVENTS)]
    for frame, century, earlier, later, single in product(
        frames, _CENTURIES, _EARLIER, _LATER, _SINGLE
    ):
        before, between, after = range(earlier), range(earlier + 1, later), range(later + 1, 10)
        yield (
            side(frame, century, earlier, single, between, before),
            side(frame, century, later, single, after, between),
        )
