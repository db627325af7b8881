"""Passages for the dictionaries of a public model: constructions that circuits are looked for in.

Those of `sentences.py`, and five with the words of adult text. They are training text only: the
tasks that circuits are judged on have sentences of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from sentences import passage

WOMEN = (
    "Mary", "Anna", "Laura", "Susan", "Emily", "Helen", "Rachel", "Alice", "Karen", "Diana",
    "Julia", "Maria", "Clara", "Rose", "Sarah", "Nancy", "Kate", "Linda", "Martha", "Judy",
)  # fmt: skip
MEN = (
    "John", "Paul", "David", "James", "Peter", "Frank", "Henry", "Simon", "Kevin", "Brian",
    "Steven", "Mark", "Daniel", "George", "Thomas", "Robert", "Adam", "Carl", "Philip", "Roger",
)  # fmt: skip
PLACES = (
    "office", "station", "library", "market", "hospital", "museum", "theatre", "airport", "hotel",
    "restaurant", "bank", "church", "garden", "kitchen", "studio", "harbour",
)  # fmt: skip
THINGS = (
    "letter", "book", "ticket", "key", "map", "camera", "coat", "bottle", "report", "ring",
    "sandwich", "bag", "phone", "necklace", "photograph", "coin", "computer", "lamp",
)  # fmt: skip
SUBJECTS = {
    "teacher": "teachers", "farmer": "farmers", "doctor": "doctors", "painting": "paintings",
    "engineer": "engineers", "manager": "managers", "road": "roads", "author": "authors",
    "student": "students", "pilot": "pilots", "report": "reports", "house": "houses",
    "guard": "guards", "singer": "singers", "judge": "judges", "window": "windows",
}  # fmt: skip
VERBS = (
    ("is", "are"), ("was", "were"), ("has", "have"), ("knows", "know"), ("likes", "like"),
    ("seems", "seem"), ("needs", "need"), ("does", "do"), ("looks", "look"), ("says", "say"),
)  # fmt: skip
ENDS = ("known here for years", "rather old", "what everybody expected", "not there", "quite new")
EVENTS = ("war", "strike", "siege", "trial", "expedition", "drought", "project", "festival", "plan")
WORDS = (
    "stone", "river", "paper", "green", "seven", "music", "table", "north", "glass", "winter",
    "bread", "silver", "doctor", "apple", "cloud", "engine", "orange", "window", "yellow", "horse",
    "metal", "garden", "rice", "button", "letter", "moon", "island", "tiger", "wheel", "salt",
)  # fmt: skip


def indirect_object(rng: Random) -> str:
    """Of two people, the one who does not give is given to."""
    first, second = rng.sample((*WOMEN, *MEN), 2)
    giver, receiver = rng.sample((first, second), 2)
    place, thing = rng.choice(PLACES), rng.choice(THINGS)
    scene = rng.choice(
        (
            f"After {first} and {second} had left the {place}, {giver}",
            f"{first} and {second} worked at the {place}. One evening {giver}",
            f"While {first} and {second} were waiting near the {place}, {giver}",
            f"{first} had a long talk with {second} in the {place}. Then {giver}",
            f"Yesterday {first} and {second} met at the {place}, and {giver}",
        )
    )
    verb = rng.choice(("gave", "handed", "sent", "offered", "sold", "showed", "lent"))
    return f"{scene} {verb} {rng.choice(('a', 'the', 'an old'))} {thing} to {receiver}."


def agreement(rng: Random) -> str:
    """A verb that agrees with its subject, at times across a phrase or a clause."""
    noun, plural = rng.choice(list(SUBJECTS.items()))
    other = rng.choice(list(SUBJECTS.items()))
    many = rng.random() < 0.5
    between = rng.choice(
        (
            "",
            "",
            f" near the {rng.choice(other)}",
            f" that the {rng.choice(other)} liked",
            f" behind the {rng.choice(other)}",
        )
    )
    verb = rng.choice(VERBS)[many]
    return f"The {plural if many else noun}{between} {verb} {rng.choice(ENDS)}."


def pronoun(rng: Random) -> str:
    """A name, and later the pronouns that go with it."""
    is_woman = rng.random() < 0.5
    name = rng.choice(WOMEN if is_woman else MEN)
    she, her = ("she", "her") if is_woman else ("he", "his")
    place, thing = rng.choice(PLACES), rng.choice(THINGS)
    return rng.choice(
        (
            f"{name} went to the {place} because {she} had lost {her} {thing}.",
            f"When {name} came back from the {place}, {she} put the {thing} on {her} desk.",
            f"{name} said that {she} would bring {her} {thing} to the {place}.",
            f"So {name} left the {place} early, didn't {she}?",
        )
    )


def later_year(rng: Random) -> str:
    """A span of years of one century: the second is the later one."""
    century = rng.randint(11, 19)
    first = rng.randint(2, 97)
    last = rng.randint(first + 1, 99)
    event = rng.choice(EVENTS)
    return rng.choice(
        (
            f"The {event} lasted from the year {century}{first:02} to the year {century}{last:02}.",
            f"The {event} began in {century}{first:02} and ended in {century}{last:02}.",
            f"It was the longest {event}, from {century}{first:02} to {century}{last:02}.",
        )
    )


def repeated(rng: Random) -> str:
    """A list of words, said again."""
    words = rng.sample(WORDS, rng.randint(4, 9))
    mark = rng.choice((" ", ", "))
    listed = mark.join(words)
    return f"{listed}{mark}{listed}"


CONSTRUCTIONS: dict[Callable[[Random], str], int] = {
    passage: 4,
    indirect_object: 3,
    agreement: 3,
    pronoun: 2,
    later_year: 3,
    repeated: 2,
}


def public_passage(rng: Random) -> str:
    """The text of one passage of a random construction."""
    return rng.choices(list(CONSTRUCTIONS), list(CONSTRUCTIONS.values()))[0](rng)
