"""Contrasts of recall: who else was named, what was owned, and lists said twice.

Both prompts of a contrast have the same frame, so a circuit holds what the task is about and
nothing of the frame. The constructions are those that the shipped language model was taught.
"""

from collections.abc import Iterator
from itertools import combinations, permutations, product

from saecircuits.tasks.lexicon import COLOURS, LISTED, OBJECTS, PEOPLE, PLACES
from saecircuits.tasks.receiving import who_receives
from saecircuits.tasks.templates import Contrast, Side


def indirect_object() -> Iterator[Contrast]:
    """The one who does not give receives: "... Lily and Tom ... Lily gave a ball to" -> " Tom"."""
    scenes = [
        ("One day,", " went to the {}."),
        ("Once,", " sat near the {}."),
        ("When", " were at the {},"),
        ("After", " went to the {},"),
    ]
    gifts = [f"gave a {thing}" for thing in OBJECTS[:4]]
    yield from who_receives(scenes, PLACES, PEOPLE, gifts)


def noun_copy() -> Iterator[Contrast]:
    """The colour recalls its noun: "... a red ball and a blue hat. He lost the red" -> " ball".

    The corrupted prompt exchanges the nouns, not the colour asked for: then the difference enters
    where the nouns stand and has to travel to the end, which is the behaviour to explain.
    """
    owners = (("Lily", "She"), ("Sue", "She"), ("Tom", "He"), ("Tim", "He"))

    def side(
        frame: tuple[str, str], colours: tuple[str, str], nouns: tuple[str, str], asked: int
    ) -> Side:
        pieces = (
            ("owner", frame[0]),
            ("first colour", f" {colours[0]}"),
            ("first noun", f" {nouns[0]}"),
            ("and", " and a"),
            ("second colour", f" {colours[1]}"),
            ("second noun", f" {nouns[1]}"),
            ("again", f". {frame[1]}"),
            ("colour", f" {colours[asked]}"),
        )
        return Side(pieces, f" {nouns[asked]}")

    frames = [
        (f"{name} {had} a", f"{pronoun} {again} the")
        for (name, pronoun), had, again in product(
            owners, ("had", "saw", "found"), ("lost", "took", "liked")
        )
    ]
    for frame, colours, (one, other), asked in product(
        frames, permutations(COLOURS, 2), combinations(OBJECTS[:5], 2), (0, 1)
    ):
        yield side(frame, colours, (one, other), asked), side(frame, colours, (other, one), asked)


def induction() -> Iterator[Contrast]:
    """A list said again goes on as before: "Look: ball cup hat fish. ball cup hat" -> " fish"."""

    def side(opening: str, items: tuple[str, ...], last: str) -> Side:
        pieces = (
            ("opening", opening),
            *((f"item {number}", f" {item}") for number, item in enumerate((*items, last), 1)),
            ("stop", "."),
            *((f"again {number}", f" {item}") for number, item in enumerate(items, 1)),
        )
        return Side(pieces, f" {last}")

    for opening, items in product(("Look:", "A list:", "They said:"), permutations(LISTED, 3)):
        others = [word for word in LISTED if word not in items]
        for last, other in combinations(others, 2):
            yield side(opening, items, last), side(opening, items, other)
