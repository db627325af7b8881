"""The shipped behaviours in other words: the same spans, none of the shipped openings."""

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import saecircuits as sc
from saecircuits.tasks import Family, write_pairs
from saecircuits.tasks.lexicon import BOYS, GIRLS, MANNERS, PLACES, QUALITIES, SUBJECTS
from saecircuits.tasks.templates import Contrast, Side

OPENINGS = (
    "Once upon a time,",
    "In the morning,",
    "The next day,",
    "One night,",
    "Every day,",
    "After that,",
    "In the end,",
    "On a sunny day,",
    "When it was dark,",
    "It was late and",
    "It was hot and",
    "It was a good day and",
)


def agreement() -> Iterator[Contrast]:
    """Other openings before the noun."""
    qualities = ("", *(f" {quality}" for quality in QUALITIES))
    for opening, quality, (one, many) in product(OPENINGS, qualities, SUBJECTS.items()):
        yield (
            Side((("opening", f"{opening} the{quality}"), ("subject", f" {one}")), " was"),
            Side((("opening", f"{opening} the{quality}"), ("subject", f" {many}")), " were"),
        )


def pronoun() -> Iterator[Contrast]:
    """The child is met, seen or lives somewhere, instead of being there or going somewhere."""
    starts = (
        "In a house there lived a",
        "One day there was a",
        "Long ago there was a",
        "In a town there was a",
        "Near the park lived a",
        "A man saw a",
        "Mom met a",
        "This is about a",
    )
    manners = ("", *(f" {manner}" for manner in MANNERS))

    def side(opening: str, noun: str, name: str, answer: str) -> Side:
        pieces = (
            ("opening", opening),
            ("noun", f" {noun}"),
            ("named", " named"),
            ("name", f" {name}"),
            ("event", "."),
        )
        return Side(pieces, answer)

    for start, manner, girl, boy in product(starts, manners, GIRLS, BOYS):
        opening = f"{start}{manner}"
        yield side(opening, "girl", girl, " She"), side(opening, "boy", boy, " He")


def possessive() -> Iterator[Contrast]:
    """Other times, and the child walks or runs."""
    events = [f" {verb} to the {place} with" for verb in ("ran", "walked") for place in PLACES]
    for opening, event, girl, boy in product(OPENINGS[:9], events, GIRLS, BOYS):
        yield (
            Side((("opening", opening), ("name", f" {girl}"), ("event", event)), " her"),
            Side((("opening", opening), ("name", f" {boy}"), ("event", event)), " his"),
        )


PARAPHRASES: Mapping[str, Callable[[], Iterator[Contrast]]] = {
    "agreement": agreement,
    "pronoun": pronoun,
    "possessive": possessive,
}


def paraphrased(name: str, model: sc.SplicedModel, *, limit: int | None = None) -> sc.Task:
    """A shipped task in the words of this page, through a task file."""
    family = Family(f"{name} in other words", "", "", PARAPHRASES[name])
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}-paraphrased.jsonl"
        write_pairs(path, family.make_pairs(model.tokenizer))
        return sc.load_task(path, model, limit=limit)
