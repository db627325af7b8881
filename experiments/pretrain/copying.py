"""Constructions of recall: who else was named, what was owned, and lists said twice."""

from __future__ import annotations

from random import Random

from phrases import Example, another, fill, opened, person, tail, two_names, with_articles
from words import ADJECTIVES, COLOURS, NOUNS, OBJECTS, PLACES, STATES


def indirect_object(rng: Random) -> Example:
    """Of two people, the one who is not giving is given to."""
    first, second = two_names(rng)
    giver, receiver = (first, second) if rng.random() < 0.5 else (second, first)
    place, state = rng.choice(PLACES), rng.choice(STATES)
    scene = rng.choice(
        (
            f"{first} and {second} went to the {place}. ",
            f"When {first} and {second} were at the {place}, ",
            f"{first} and {second} were in the {place}. ",
            f"One day, {first} and {second} went to the {place}. ",
            f"{first} and {second} played at the {place}. ",
            f"After {first} and {second} went to the {place}, ",
            f"{first} met {second} at the {place}. ",
            f"{first} and {second} were {state}. ",
            f"Once, {first} and {second} sat near the {place}. ",
            f"When {first} and {second} went to the {place}, ",
        )
    )
    link = rng.choice(("Then, ", "Then ", "Later, ", "Soon, ")) if scene.endswith(". ") else ""
    link = link if rng.random() < 0.3 else ""
    thing = f"{rng.choice(('a', 'the'))} {rng.choice(OBJECTS)}"
    if rng.random() < 0.3:
        thing = f"a {rng.choice((*COLOURS, 'big', 'small', 'new'))} {rng.choice(OBJECTS)}"
    verb = rng.choice(("gave", "gave", "handed", "passed", "showed", "brought", "threw"))
    if rng.random() < 0.15:
        verb = "wanted to give"
    prompt = with_articles(f"{scene}{link}{giver} {verb} {thing} to")
    rest = rng.choice((".", ".", " and smiled.", " and went home.", " at the {place}."))
    rest = fill(rng, rest) + tail(rng)
    return Example("indirect object", prompt, f" {receiver}", f" {giver}", rest)


def comforted(rng: Random) -> Example:
    """Somebody is sad or tired; the one who helps helps that person."""
    first, second = two_names(rng)
    verb = rng.choice(("hugged", "hugged", "helped", "kissed", "called", "found", "saw", "thanked"))
    state = rng.choice(("sad", "tired", "cold", "scared", "hungry", "happy", "lost", "sick"))
    lead = f"{first} {rng.choice(('was', 'was very', 'felt'))} {state}"
    if rng.random() < 0.3:
        lead = f"{first} " + fill(rng, rng.choice(("was in the {place}", "lost a {thing}")))
    link = rng.choice((". ", ". ", ". Then ", ", so ", ", and ", ". Later, "))
    prompt = f"{opened(rng, lead, 0.25)}{link}{second} {verb}"
    rest = rng.choice((".", ".", ".", " and smiled.", " in the {place}."))
    rest = fill(rng, rest) + tail(rng)
    return Example("person comforted", prompt, f" {first}", f" {second}", rest)


def _one_thing(rng: Random) -> tuple[str, str, str]:
    """Somebody owns one thing and it is named again: the text up to it, the thing, another."""
    name, _, pronoun, own = person(rng)
    thing = rng.choice(OBJECTS)
    adjective = rng.choice(ADJECTIVES)
    verb, second = rng.choice(
        (("had", "loved"), ("has", "loves"), ("found", "took"), ("got", "liked"), ("had", "lost"))
    )
    subject = rng.choice((name, pronoun))
    full = rng.choice((f"{own} {adjective}", f"the {adjective}", own, "the"))
    first = f"a {adjective} {thing}" if adjective in full or rng.random() < 0.4 else f"a {thing}"
    prompt = f"{name} {verb} {first}. {subject} {second} {full}"
    return opened(rng, prompt, 0.2), thing, another(rng, OBJECTS, thing)


def _two_things(rng: Random) -> tuple[str, str, str]:
    """Somebody owns two things of two kinds: one of a pair recalls the other."""
    name, _, pronoun, own = person(rng)
    things = rng.sample(OBJECTS, 2)
    kinds = rng.sample(COLOURS if rng.random() < 0.6 else ADJECTIVES, 2)
    which = rng.randrange(2)
    verb = rng.choice(("had", "saw", "found", "got", "made", "has"))
    both = f"{name} {verb} a {kinds[0]} {things[0]} and a {kinds[1]} {things[1]}. "
    subject = rng.choice((name, pronoun))
    if rng.random() < 0.2:
        return both + f"The {things[which]} was", kinds[which], kinds[1 - which]
    again = rng.choice(("lost", "took", "liked", "loved", "held", "wanted", "dropped"))
    determiner = rng.choice(("the", "the", own))
    prompt = both + f"{subject} {again} {determiner} {kinds[which]}"
    return prompt, things[which], things[1 - which]


def noun_copy(rng: Random) -> Example:
    """A thing that was named is named again."""
    prompt, right, wrong = (_one_thing if rng.random() < 0.4 else _two_things)(rng)
    rest = rng.choice((".", ".", ".", " too.", " in the {place}."))
    rest = fill(rng, rest) + tail(rng)
    return Example("noun copy", with_articles(prompt), f" {right}", f" {wrong}", rest)


def repeated_list(rng: Random) -> Example:
    """A list of random words is said twice; the second time its order is known."""
    length = rng.randint(3, 6)
    items = rng.sample(NOUNS, length)
    if rng.random() < 0.25:
        kinds = rng.sample(COLOURS, len(COLOURS))
        items = [f"{kind} {item}" for kind, item in zip(kinds, items, strict=False)]
        length = len(items)
    comma = rng.choice((" ", " ", ", "))
    opener = rng.choice(("", "", "", "Look: ", "A list: ", "They said: "))
    known = rng.randrange(1, length)
    target = items[known].split()
    before = items[:known]
    if len(target) == 2:
        lead, right = comma + target[0], target[1]
    else:
        lead, right = comma.rstrip(), target[0]
    wrongs = [item.split()[-1] for item in items if item != items[known]]
    prompt = f"{opener}{comma.join(items)}. {comma.join(before)}{lead}"
    rest = "".join(f"{comma}{item}" for item in items[known + 1 :]) + "."
    return Example("repeated list", prompt, f" {right}", f" {rng.choice(wrongs)}", rest)
