"""A seeded generator of short passages, each built round one construction.

Children's stories contain too few clean cases of indirect objects, agreement across a phrase or
repeated lists for a model of this size to learn them, so about a third of the training tokens
come from here. Every passage is an `Example`: a prompt, the one token that continues it
correctly, a token that would be wrong, and the rest. The same object therefore serves as training
text (`Example.text`) and, drawn with another seed, as a test (`prompt`, `right`, `wrong`).
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from copying import comforted, indirect_object, noun_copy, repeated_list
from grammar import (
    agreement,
    agreement_across,
    coordination,
    possessive,
    pronoun_gender,
    quotation,
)
from phrases import Example

CONSTRUCTIONS: dict[str, tuple[Callable[[Random], Example], int]] = {
    "pronoun gender": (pronoun_gender, 10),
    "agreement": (agreement, 7),
    "agreement across a phrase": (agreement_across, 17),
    "coordination": (coordination, 10),
    "possessive": (possessive, 9),
    "quotation": (quotation, 9),
    "indirect object": (indirect_object, 16),
    "person comforted": (comforted, 8),
    "noun copy": (noun_copy, 16),
    "repeated list": (repeated_list, 10),
}
"""Every construction with its weight: the harder to learn, the more often it is drawn."""


def passage(rng: Random) -> str:
    """The text of one passage of a random construction."""
    makers = [maker for maker, _ in CONSTRUCTIONS.values()]
    weights = [weight for _, weight in CONSTRUCTIONS.values()]
    return rng.choices(makers, weights)[0](rng).text


def examples(construction: str, count: int, seed: int) -> list[Example]:
    """Fresh examples of one construction, for tests."""
    maker, _ = CONSTRUCTIONS[construction]
    rng = Random(f"{construction} {seed}")
    return [maker(rng) for _ in range(count)]
