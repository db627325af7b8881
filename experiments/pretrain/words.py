"""The words that the generated passages are made of.

The names, nouns and adjectives listed here are single tokens of the shipped tokenizer (with a
leading space), so that a task can put one in place of another without moving any position.
"""

from __future__ import annotations

GIRLS = ("Lily", "Sue", "Anna", "Mia", "Lucy", "Sara", "Amy", "Emma", "Jane", "Kate")
BOYS = ("Tom", "Tim", "Ben", "Max", "Sam", "Jack", "Leo", "Bob", "John", "Mark")
NAMES = GIRLS + BOYS

PLURALS = {
    "dog": "dogs",
    "cat": "cats",
    "bird": "birds",
    "boy": "boys",
    "girl": "girls",
    "friend": "friends",
    "tree": "trees",
    "flower": "flowers",
    "car": "cars",
    "ball": "balls",
    "hat": "hats",
    "box": "boxes",
    "cup": "cups",
    "book": "books",
    "toy": "toys",
    "star": "stars",
    "duck": "ducks",
    "frog": "frogs",
    "bear": "bears",
    "cake": "cakes",
    "apple": "apples",
    "kite": "kites",
    "doll": "dolls",
    "boat": "boats",
}
"""Nouns that change in the plural, and so can take part in agreement."""

OBJECTS = (
    "ball",
    "hat",
    "box",
    "cup",
    "book",
    "toy",
    "fish",
    "star",
    "flower",
    "car",
    "cake",
    "apple",
    "kite",
    "doll",
    "boat",
    "frog",
    "duck",
)
"""Things that a child can hold, lose or give."""

NOUNS = (*PLURALS, "fish")

COLOURS = ("red", "blue", "green")
ADJECTIVES = (*COLOURS, "big", "small", "new", "old", "pretty", "soft")
STATES = ("happy", "sad", "tired", "hungry", "cold", "wet", "scared", "quiet", "late", "good")
PLACES = ("park", "shop", "beach", "school", "garden", "house", "farm", "zoo")
PREPOSITIONS = ("near", "behind", "beside", "under", "with", "by")


def tracked_words() -> tuple[str, ...]:
    """Every word that has to be one token after a space."""
    grammar = ("She", "He", "she", "he", "her", "his", "was", "were", "is", "are", "has", "have")
    return (
        *NAMES,
        *NOUNS,
        *PLURALS.values(),
        *ADJECTIVES,
        *STATES,
        *PLACES,
        *PREPOSITIONS,
        *grammar,
    )
