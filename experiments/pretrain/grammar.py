"""Constructions of grammar: gender, number, coordination, possession and quotation."""

from __future__ import annotations

from random import Random

from phrases import PAST_ACTIONS, Example, capitalised, fill, opened, person, tail, two_names
from words import ADJECTIVES, NAMES, PLURALS, PREPOSITIONS

NUMBER_VERBS = (("was", "were"), ("was", "were"), ("was", "were"), ("is", "are"), ("has", "have"))


def predicate(rng: Random, verb: str) -> str:
    """What may follow a form of be or have."""
    if verb in ("has", "have"):
        return fill(rng, rng.choice((" a {adjective} {thing}.", " a {thing}.", " a {thing} too.")))
    choices = (
        " {adjective}.",
        " {state}.",
        " very {adjective}.",
        " very {state}.",
        " so {adjective}.",
        " in the {place}.",
        " near the {place}.",
        " not {state}.",
        " {adjective} and {state}.",
        " at the {place}.",
    )
    return fill(rng, rng.choice(choices))


def pronoun_gender(rng: Random) -> Example:
    """A girl called by a name is She, a boy He."""
    name, kind, pronoun, _ = person(rng)
    action = fill(rng, rng.choice(PAST_ACTIONS))
    adjective = rng.choice(("big", "small", "good", "nice", "little", "kind", "happy", "sad"))
    introduction = rng.choice(
        (
            f"Once there was a {kind} named {name}.",
            f"There was a {kind} named {name}.",
            f"Once there was a {adjective} {kind} named {name}.",
            f"Once upon a time, there was a {kind} named {name}.",
            opened(rng, f"a {kind} named {name} {action}.", 0.7),
            opened(rng, f"a {adjective} {kind} named {name} {action}.", 0.7),
            opened(rng, f"the {kind} {action}.", 0.7),
            f"{name} was a {adjective} {kind}.",
            opened(rng, f"{name} {action}.", 0.5),
            opened(rng, f"{name} {action}.", 0.5),
        )
    )
    rest = " " + fill(rng, rng.choice(PAST_ACTIONS)) + "." + tail(rng)
    wrong = " He" if pronoun == "She" else " She"
    return Example("pronoun gender", introduction, f" {pronoun}", wrong, rest)


def _noun_of_number(rng: Random, noun: str) -> tuple[str, int]:
    """The noun in a random number, and 0 for singular or 1 for plural."""
    number = rng.randrange(2)
    return (PLURALS[noun], 1) if number else (noun, 0)


def _agreeing(rng: Random, name: str, subject: str, number: int) -> Example:
    """Complete a subject with the verb of its number."""
    verbs = rng.choice(NUMBER_VERBS)
    right = verbs[number]
    rest = predicate(rng, right) + tail(rng)
    return Example(name, opened(rng, subject), f" {right}", f" {verbs[1 - number]}", rest)


def agreement(rng: Random) -> Example:
    """The verb agrees with the noun right before it."""
    noun, number = _noun_of_number(rng, rng.choice(list(PLURALS)))
    adjective = f"{rng.choice(ADJECTIVES)} " if rng.random() < 0.3 else ""
    return _agreeing(rng, "agreement", f"the {adjective}{noun}", number)


def agreement_across(rng: Random) -> Example:
    """The verb agrees with the head of the subject, not with the noun in the phrase after it."""
    head, distractor = rng.sample(list(PLURALS), 2)
    head, number = _noun_of_number(rng, head)
    distractor, _ = _noun_of_number(rng, distractor)
    adjective = f"{rng.choice(ADJECTIVES)} " if rng.random() < 0.15 else ""
    far_adjective = f"{rng.choice(ADJECTIVES)} " if rng.random() < 0.15 else ""
    phrase = f"{rng.choice(PREPOSITIONS)} the {far_adjective}{distractor}"
    subject = f"the {adjective}{head} {phrase}"
    return _agreeing(rng, "agreement across a phrase", subject, number)


def coordination(rng: Random) -> Example:
    """Two subjects joined by "and" are plural; with a preposition the first one alone counts."""
    joined = rng.randrange(2)
    link = "and" if joined else rng.choice(("with", "near", "behind", "beside", "by"))
    if rng.random() < 0.5:
        first, second = two_names(rng)
    else:
        first, second = (f"the {noun}" for noun in rng.sample(list(PLURALS), 2))
    return _agreeing(rng, "coordination", f"{first} {link} {second}", joined)


def possessive(rng: Random) -> Example:
    """What a girl takes is hers, what a boy takes is his."""
    name, kind, pronoun, own = person(rng)
    verb = rng.choice(("took", "lost", "found", "loved", "held", "hid", "shared", "opened"))
    templates = (
        f"{name} {verb}",
        f"{name} went home with",
        f"{name} went to the {{place}} with",
        f"{name} was {{state}} with",
        f"{name} sat in the {{place}} and {verb}",
        f"the {kind} {verb}",
        f"{name} was {{state}} and {verb}",
        f"{name} ran to the {{place}} and {verb}",
        f"{name} saw a {{adjective}} {{thing}} and {verb}",
        f"a {kind} named {name} {verb}",
        f"{name} was {{state}}. {pronoun} {verb}",
    )
    prompt = opened(rng, fill(rng, rng.choice(templates)))
    wrong = "his" if own == "her" else "her"
    owned = rng.choice(("{thing}", "{adjective} {thing}", "mom", "dad", "friend", "new {thing}"))
    rest = " " + fill(rng, owned) + rng.choice((".", ".", " in the {place}."))
    return Example("possessive", prompt, f" {own}", f" {wrong}", fill(rng, rest) + tail(rng))


STATEMENTS = (
    "I like the {thing}",
    "I want a {adjective} {thing}",
    "I can see the {thing}",
    "I am {state}",
    "we can go to the {place}",
    "we like the {place}",
    "we have a {adjective} {thing}",
    "you can have my {thing}",
    "you are {state}",
    "the {thing} is {adjective}",
    "the {place} is {adjective}",
    "my {thing} is {adjective}",
    "this is my {thing}",
    "it is a {adjective} {thing}",
    "the {adjective} {thing} is in the {place}",
)
REPORTED = (
    "{pronoun} liked the {{thing}}",
    "{pronoun} was {{state}}",
    "{pronoun} had a {{adjective}} {{thing}}",
    "the {{thing}} was {{adjective}}",
    "{pronoun} saw the {{adjective}} {{thing}}",
    "{pronoun} wanted to go to the {{place}}",
)


def _quoted(rng: Random, name: str, statement: str) -> str:
    """An open quotation that ends just before the final mark."""
    verb = rng.choice(("said", "said", "said", "shouted", "cried", "replied"))
    other = rng.choice([word for word in NAMES if word != name])
    address = rng.choice((f"{name} {verb}, ", f"{name} {verb}, ", f"{name} {verb} to {other}, "))
    return f'{address}"{capitalised(statement)}'


def _unquoted(rng: Random, name: str, pronoun: str, statement: str) -> str:
    """The same matter told without an open quotation."""
    reported = fill(rng, rng.choice(REPORTED).format(pronoun=pronoun.lower()))
    choices = (
        f"{name} said that now {statement}",
        f"{name} said that {statement}",
        f"{name} said that {reported}",
        f"{name} thought that {reported}",
        f'{name} said, "{capitalised(statement)}." {capitalised(reported)}',
        f'"{capitalised(statement)}," said {name}. {capitalised(reported)}',
        capitalised(reported),
    )
    return rng.choice(choices)


def quotation(rng: Random) -> Example:
    """A sentence inside an open quotation ends with a stop and a closing mark, else a stop."""
    name, _, pronoun, _ = person(rng)
    statement = fill(rng, rng.choice(STATEMENTS))
    marks = ('."', ".")
    inside = rng.random() < 0.5
    if inside:
        prompt = _quoted(rng, name, statement)
    else:
        prompt, marks = _unquoted(rng, name, pronoun, statement), marks[::-1]
    opener = rng.choice(("Then ", "Later, ", "One day, ")) if rng.random() < 0.15 else ""
    rest = f" {pronoun} " + fill(rng, rng.choice(PAST_ACTIONS)) + "."
    rest = rest if rng.random() < 0.7 else tail(rng, 0.5)
    return Example("quotation", opener + prompt, marks[0], marks[1], rest)
