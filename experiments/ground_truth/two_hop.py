"""A two-hop lookup with a backup, set by hand: person -> city -> country.

    L0.MLP  first hop, where the person stands: `cur p` -> `city y`
    L1.H0   from the last token to the person: `city y` -> `got y`
    L1.H1   the same for the person: `cur p` -> `seen p`
    L2.MLP  second hop: relu(got y) -> `out c`
            backup: relu(seen p - 2 * sum of got y) -> `out c`

The backup is a NOT gate: it knows each person's country, and is silent while any city arrives. In
the clean run its input is 1 - 2 = -1, so its derivative is zero, and taking it out alone changes
nothing: every first-order score of the backup is 0, and so is its measured effect. Taken out
together with the city the answer is lost.
"""

import random

from experiments.ground_truth.assembly import Head, Layer, Neuron, Program
from experiments.ground_truth.known import METRIC, KnownCircuit, Names, build, chain
from saecircuits.tasks import PromptPair

PEOPLE = tuple(f"person{n}" for n in range(4))
COUNTRIES = tuple(f"country{n}" for n in range(2))
FILLERS = tuple(f"filler{n}" for n in range(8))
NOBODY, ASK = "nobody", "where"
PERSON_AT, LAST = 2, 4
HARD = 40.0


def country_of(person: int) -> str:
    """Two cities lie in each country."""
    return COUNTRIES[person // 2]


def program() -> Program:
    """Three blocks; the last one holds the second hop and the backup."""
    words = (*PEOPLE, NOBODY, *FILLERS, ASK, *COUNTRIES)
    each = range(len(PEOPLE))
    places = [f"pos {place}" for place in range(LAST + 1)]
    to_person = {(places[LAST], places[PERSON_AT]): HARD}
    cities = {f"got {n}": -2.0 for n in each}
    return Program(
        words=words,
        directions=[
            *(f"cur {word}" for word in words),
            *(f"{kind} {n}" for kind in ("city", "got", "seen") for n in each),
            *(f"out {country}" for country in COUNTRIES),
            *places,
        ],
        embed={word: f"cur {word}" for word in words},
        positions=places,
        layers=[
            Layer(neurons=[Neuron({f"cur {PEOPLE[n]}": 1.0}, {f"city {n}": 1.0}) for n in each]),
            Layer(
                heads=[
                    Head(to_person, {(f"city {n}", f"got {n}"): 1.0 for n in each}),
                    Head(to_person, {(f"cur {PEOPLE[n]}", f"seen {n}"): 1.0 for n in each}),
                ]
            ),
            Layer(
                neurons=[
                    *(Neuron({f"got {n}": 1.0}, {f"out {country_of(n)}": 1.0}) for n in each),
                    *(
                        Neuron({f"seen {n}": 1.0, **cities}, {f"out {country_of(n)}": 1.0})
                        for n in each
                    ),
                ]
            ),
        ],
        read_out={(f"out {country}", country): 10.0 for country in COUNTRIES},
    )


def two_hop(*, pairs: int = 24, seed: int = 0) -> KnownCircuit:
    """The model, `pairs` pairs in each half of its task, the circuit and its backups.

    In the corrupted prompt nobody stands where the person was, and the second filler differs, which
    does not matter.
    """
    names = Names(program())
    draw = random.Random(seed)
    found, used = [], set()
    edges, backup_edges, backups = set(), set(), set()
    while len(found) < 2 * pairs:
        person = len(found) % len(PEOPLE)
        first, second, third = draw.sample(FILLERS, 3)
        clean = f"{first} {PEOPLE[person]} {second} {ASK}"
        corrupted = f"{first} {NOBODY} {third} {ASK}"
        if used & {clean, corrupted}:
            continue
        used |= {clean, corrupted}
        split = "train" if len(found) < pairs else "test"
        right = country_of(person)
        got = names.node(f"got {person}", after=1, at=LAST)
        seen = names.node(f"seen {person}", after=1, at=LAST)
        out = names.node(f"out {right}", after=2, at=LAST)
        start = (
            names.token(PERSON_AT),
            names.node(f"cur {PEOPLE[person]}", after=-1, at=PERSON_AT),
        )
        if split == "train":
            city = names.node(f"city {person}", after=0, at=PERSON_AT)
            still = names.node(f"cur {PEOPLE[person]}", after=0, at=PERSON_AT)
            edges.update(chain(*start, city, got, out, METRIC))
            backup_edges.update(chain(start[1], still, seen, out))
            backups.add((got, seen))
        found.append(
            PromptPair(
                clean=clean,
                corrupted=corrupted,
                answer=(right,),
                wrong=(draw.choice([country for country in COUNTRIES if country != right]),),
                id=f"hop-{len(found)}",
                split=split,
            )
        )
    model, task = build("two-hop-by-hand", program(), found)
    return KnownCircuit(
        "two hops with a backup",
        model,
        task,
        frozenset(edges),
        frozenset(backup_edges),
        tuple(sorted(backups)),
    )
