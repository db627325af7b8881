"""Contrasts of grammar: gender, number and quotation.

Both prompts of a contrast have the same frame, so a circuit holds what the task is about and
nothing of the frame. The constructions are those that the shipped language model was taught.
"""

from collections.abc import Iterator
from itertools import permutations, product

from saecircuits.tasks.lexicon import (
    BOYS,
    GIRLS,
    MANNERS,
    NEIGHBOURS,
    OBJECTS,
    PEOPLE,
    PLACES,
    PREPOSITIONS,
    QUALITIES,
    SETTINGS,
    SUBJECTS,
    TIMES,
)
from saecircuits.tasks.templates import Contrast, Side


def pronoun() -> Iterator[Contrast]:
    """Noun and name tell the gender: "Once there was a girl named Lily." -> " She"."""
    starts = ("Once there was a", "There was a", "Once upon a time, there was a")
    manners = ("", *(f" {manner}" for manner in MANNERS))
    introductions = [(f"{start}{manner}", "") for start, manner in product(starts, manners)]
    introductions += [(f"{time} a", f" went to the {place}") for time in TIMES for place in PLACES]

    def side(opening: str, noun: str, name: str, event: str, answer: str) -> Side:
        pieces = (
            ("opening", opening),
            ("noun", f" {noun}"),
            ("named", " named"),
            ("name", f" {name}"),
            ("event", f"{event}."),
        )
        return Side(pieces, answer)

    for (opening, event), girl, boy in product(introductions, GIRLS, BOYS):
        yield (
            side(opening, "girl", girl, event, " She"),
            side(opening, "boy", boy, event, " He"),
        )


def agreement() -> Iterator[Contrast]:
    """The verb agrees with the noun before it: "One day, the dog" -> " was"."""
    qualities = ("", *(f" {quality}" for quality in QUALITIES))
    for setting, quality, (one, many) in product(SETTINGS, qualities, SUBJECTS.items()):
        yield (
            Side((("opening", f"{setting} the{quality}"), ("subject", f" {one}")), " was"),
            Side((("opening", f"{setting} the{quality}"), ("subject", f" {many}")), " were"),
        )


def agreement_distractor() -> Iterator[Contrast]:
    """The verb agrees with the head, not the nearer noun: "The dog near the trees" -> " was"."""
    nearer = [noun for pair in NEIGHBOURS.items() for noun in pair]

    def side(opening: str, subject: str, preposition: str, distractor: str, answer: str) -> Side:
        pieces = (
            ("opening", opening),
            ("subject", f" {subject}"),
            ("preposition", f" {preposition} the"),
            ("distractor", f" {distractor}"),
        )
        return Side(pieces, answer)

    openings = ("The", *(f"{time} the" for time in TIMES))
    frames = product(openings, SUBJECTS.items(), PREPOSITIONS, nearer)
    for opening, (one, many), preposition, distractor in frames:
        yield (
            side(opening, one, preposition, distractor, " was"),
            side(opening, many, preposition, distractor, " were"),
        )


def coordination() -> Iterator[Contrast]:
    """Two joined subjects are plural: "One day, Lily and Tom" -> " were", with "with" -> " was"."""

    def side(opening: str, first: str, link: str, second: str, answer: str) -> Side:
        pieces = (
            ("opening", opening),
            ("first", f" {first}"),
            ("link", f" {link}"),
            ("second", f" {second}"),
        )
        return Side(pieces, answer)

    for setting, (first, second), link in product(
        SETTINGS, permutations(PEOPLE, 2), ("with", "near")
    ):
        yield (
            side(setting, first, "and", second, " were"),
            side(setting, first, link, second, " was"),
        )


def possessive() -> Iterator[Contrast]:
    """What a girl has is hers: "One day, Lily went to the park with" -> " her"."""
    verbs = ("took", "lost", "found", "held")
    events = [f" went to the {place} with" for place in PLACES]
    events += [f" sat in the {place} and {verb}" for place, verb in product(PLACES[:4], verbs)]
    for setting, event, girl, boy in product(TIMES, events, GIRLS, BOYS):
        yield (
            Side((("opening", setting), ("name", f" {girl}"), ("event", event)), " her"),
            Side((("opening", setting), ("name", f" {boy}"), ("event", event)), " his"),
        )


def quotation() -> Iterator[Contrast]:
    """An open quotation is closed too: 'Lily said, "I like the cake' -> '."', otherwise "."."""
    statements = (
        ("I", " like the"),
        ("I", " can see the"),
        ("We", " like the"),
        ("We", " can see the"),
        ("You", " can have my"),
        ("This", " is my"),
    )

    def side(speaker: str, mark: str, start: str, middle: str, thing: str, answer: str) -> Side:
        pieces = (
            ("speaker", f"{speaker} said"),
            ("mark", mark),
            ("start", start),
            ("statement", middle),
            ("thing", f" {thing}"),
        )
        return Side(pieces, answer)

    speakers = [f"{opening}{name}" for opening in ("", "Then ", "Later, ") for name in PEOPLE]
    for speaker, (start, middle), thing in product(speakers, statements, OBJECTS):
        told = start if start == "I" else start.lower()
        yield (
            side(speaker, ', "', start, middle, thing, '."'),
            side(speaker, " that now", f" {told}", middle, thing, "."),
        )
