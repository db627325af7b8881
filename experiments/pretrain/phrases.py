"""What every construction shares: the `Example` itself and random phrases to vary it with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from words import ADJECTIVES, BOYS, GIRLS, NAMES, OBJECTS, PLACES, STATES


@dataclass(frozen=True)
class Example:
    """One passage, cut at the token that the construction decides."""

    construction: str
    prompt: str
    right: str
    wrong: str
    rest: str

    @property
    def text(self) -> str:
        """The whole passage, as it is trained on."""
        return self.prompt + self.right + self.rest


TIME_OPENERS = (
    "One day, ",
    "Today, ",
    "Then, ",
    "Later, ",
    "Soon, ",
    "One morning, ",
    "That night, ",
    "At last, ",
    "Once, ",
    "After lunch, ",
)
PAST_ACTIONS = (
    "went to the {place}",
    "played in the {place}",
    "ran to the {place}",
    "saw a {adjective} {thing}",
    "found a {thing}",
    "wanted a {adjective} {thing}",
    "lived near the {place}",
    "liked to play with a {thing}",
    "sat in the {place}",
    "had a {adjective} {thing}",
    "loved the {place}",
    "looked for a {thing}",
    "walked to the {place} with a {thing}",
    "was very {state}",
    "made a {adjective} {thing}",
)
TAILS = (
    " It was a nice day.",
    " They all had fun.",
    " The sun was up.",
    " It was time to go home.",
    " Then they went to the {place}.",
    " There was a {adjective} {thing} too.",
    " It was very {adjective}.",
    " The {place} was quiet.",
    " Mom was {state}.",
    " Dad saw a {thing}.",
)


def with_articles(text: str) -> str:
    """Write "an" before the listed words that begin with a vowel."""
    return re.sub(r"\b([Aa]) (?=apple|old)", r"\1n ", text)


def fill(rng: Random, template: str) -> str:
    """Put random words into the named slots of a template."""
    return with_articles(
        template.format(
            place=rng.choice(PLACES),
            adjective=rng.choice(ADJECTIVES),
            thing=rng.choice(OBJECTS),
            state=rng.choice(STATES),
        )
    )


def capitalised(text: str) -> str:
    """The text with its first letter in upper case, the others untouched."""
    return text[:1].upper() + text[1:]


def opened(rng: Random, sentence: str, share: float = 0.4) -> str:
    """The sentence, at times with a word of time or place before it."""
    if rng.random() > share:
        return capitalised(sentence)
    if rng.random() < 0.3:
        places = ("At the {place}, ", "Near the {place}, ", "In the park, ")
        return fill(rng, rng.choice(places)) + sentence
    return rng.choice(TIME_OPENERS) + sentence


def tail(rng: Random, share: float = 0.25) -> str:
    """At times a closing sentence that has nothing to do with the construction."""
    return fill(rng, rng.choice(TAILS)) if rng.random() < share else ""


def person(rng: Random) -> tuple[str, str, str, str]:
    """A name with its noun and pronouns: name, girl/boy, She/He, her/his."""
    if rng.random() < 0.5:
        return rng.choice(GIRLS), "girl", "She", "her"
    return rng.choice(BOYS), "boy", "He", "his"


def another(rng: Random, words: Sequence[str], *taken: str) -> str:
    """A random word that is none of those already taken."""
    return rng.choice([word for word in words if word not in taken])


def two_names(rng: Random) -> tuple[str, str]:
    """Two different names of either gender."""
    first, second = rng.sample(NAMES, 2)
    return first, second
