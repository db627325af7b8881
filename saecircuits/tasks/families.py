"""The shipped task families, by name."""

from saecircuits.tasks.english import greater_than, ioi
from saecircuits.tasks.grammar import (
    agreement,
    agreement_distractor,
    coordination,
    possessive,
    pronoun,
    quotation,
)
from saecircuits.tasks.recall import indirect_object, induction, noun_copy
from saecircuits.tasks.templates import Family

_ALL = (
    Family(
        "pronoun",
        "A girl is She and a boy He in the next sentence.",
        "Once there was a girl named Lily. -> She",
        pronoun,
    ),
    Family(
        "agreement",
        "A singular subject takes was, a plural one were.",
        "One day, the dog -> was",
        agreement,
    ),
    Family(
        "agreement_distractor",
        "The verb agrees with its subject across a phrase with another noun.",
        "The dog near the trees -> was",
        agreement_distractor,
    ),
    Family(
        "indirect_object",
        "Of two people named before, the one who is not giving receives.",
        "One day, Lily and Tom went to the park. Lily gave a ball to -> Tom",
        indirect_object,
    ),
    Family(
        "noun_copy",
        "A colour recalls the noun that it was said of.",
        "Tom had a red ball and a blue hat. He lost the red -> ball",
        noun_copy,
    ),
    Family(
        "quotation",
        "A sentence in an open quotation ends with a stop and a closing mark.",
        'Lily said, "I like the cake -> ."',
        quotation,
    ),
    Family(
        "coordination",
        "Two subjects joined by and take were; one with another beside it takes was.",
        "One day, Lily and Tom -> were",
        coordination,
    ),
    Family(
        "possessive",
        "What a girl has is hers, what a boy has is his.",
        "One day, Lily went to the park with -> her",
        possessive,
    ),
    Family(
        "induction",
        "A list of words that is said again goes on as it did before.",
        "Look: ball cup hat fish. ball cup hat -> fish",
        induction,
    ),
    Family(
        "ioi",
        "Of two people named before, the one who is not giving receives; in plain English.",
        "When Mary and John arrived at the office, John gave a letter to -> Mary",
        ioi,
        words="english",
    ),
    Family(
        "greater_than",
        "A year in which something ends is later than the year in which it began.",
        "The war lasted from the year 1732 to the year 17 -> 4, 5",
        greater_than,
        words="english",
    ),
)

FAMILIES: dict[str, Family] = {family.name: family for family in _ALL}
"""Every shipped task, in the order in which listings show them."""
