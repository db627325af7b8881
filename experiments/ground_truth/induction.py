"""Induction, set by hand: `A B C D A` goes on with `B`.

    L0.H0   previous-token head: at every position it copies the word before it, `prev w`
    L0.H1   copies each word to `dup w`, which nothing reads
    L1.H0   induction head: a query for word w matches the key `prev w`; what it finds there it
            writes as `out w`, which the unembedding reads

Three kinds of pairs, one for each way in which the last word's answer can be lost:

    key     E B C D A    nothing matches any more
    query   A B C D E    nothing is looked for
    value   A E C D A    something else is found

The answer is B and the wrong answer D. The softmax makes the two compete: a key or a query that
draws the head to B draws it off D. So `out D` is part of the circuit, by keys and queries only.
"""

import random
from collections.abc import Iterator

from experiments.ground_truth.assembly import Head, Layer, Program
from experiments.ground_truth.known import METRIC, Edge, KnownCircuit, Names, build, chain
from saecircuits.tasks import PromptPair

WORDS = tuple("abcdefgh")
LENGTH = 5
HARD = 40.0  # a score that leaves e^-40 to all other positions
SOFT = 3.0  # a score that leaves the softmax a slope


def program() -> Program:
    """Two attention-only blocks."""
    places = [f"pos {place}" for place in range(LENGTH + 1)]
    before = {(places[p], places[p - 1]): HARD for p in range(1, LENGTH + 1)}
    itself = {(place, place): HARD for place in places}
    kinds = ("cur", "prev", "dup", "out")
    return Program(
        words=WORDS,
        directions=[*(f"{kind} {word}" for kind in kinds for word in WORDS), *places],
        embed={word: f"cur {word}" for word in WORDS},
        positions=places,
        layers=[
            Layer(
                heads=[
                    Head(before, {(f"cur {w}", f"prev {w}"): 1.0 for w in WORDS}),
                    Head(itself, {(f"cur {w}", f"dup {w}"): 1.0 for w in WORDS}),
                ]
            ),
            Layer(
                heads=[
                    Head(
                        {(f"cur {w}", f"prev {w}"): SOFT for w in WORDS},
                        {(f"cur {w}", f"out {w}"): 1.0 for w in WORDS},
                    )
                ]
            ),
        ],
        read_out={(f"out {w}", w): 10.0 for w in WORDS},
    )


def true_edges(names: Names, kind: str, words: tuple[str, ...]) -> Iterator[Edge]:
    """The circuit of one pair."""
    a, b, _, d, _ = words
    last = LENGTH
    right = names.node(f"out {b}", after=1, at=last)
    wrong = names.node(f"out {d}", after=1, at=last)
    match kind:
        case "key":
            way = (
                names.token(1),
                names.node(f"cur {a}", after=-1, at=1),
                names.node(f"prev {a}", after=0, at=2),
            )
            ends = (right, wrong)
        case "query":
            way = (names.token(last), *(names.node(f"cur {a}", after=x, at=last) for x in (-1, 0)))
            ends = (right, wrong)
        case _:
            way = (names.token(2), *(names.node(f"cur {b}", after=x, at=2) for x in (-1, 0)))
            ends = (right,)
    yield from chain(*way)
    for end in ends:
        yield from chain(way[-1], end, METRIC)


def induction(*, pairs: int = 24, seed: int = 0) -> KnownCircuit:
    """The model, `pairs` pairs in each half of its task, and the circuit."""
    names = Names(program())
    draw = random.Random(seed)
    found, edges, used = [], set(), set()
    while len(found) < 2 * pairs:
        a, b, c, d, other = draw.sample(WORDS, 5)
        kind = ("key", "query", "value")[len(found) % 3]
        clean = (a, b, c, d, a)
        at = {"key": 0, "query": 4, "value": 1}[kind]
        corrupted = (*clean[:at], other, *clean[at + 1 :])
        if used & {clean, corrupted}:
            continue
        used |= {clean, corrupted}
        split = "train" if len(found) < pairs else "test"
        if split == "train":
            edges.update(true_edges(names, kind, clean))
        found.append(
            PromptPair(
                clean=" ".join(clean),
                corrupted=" ".join(corrupted),
                answer=(b,),
                wrong=(d,),
                id=f"{kind}-{len(found)}",
                split=split,
            )
        )
    model, task = build("induction-by-hand", program(), found)
    return KnownCircuit("induction", model, task, frozenset(edges))
