"""A counting program, compiled: how many `a` are among six letters?

    L0.H0   attends to all eight positions alike and writes 8 * (share of a) = count, `count a`;
            the same for b
    L1.MLP  thresholds: `a>=k` = clamp(slope * (count - k) + offset, 0, 1), two neurons each; for b
    logits  of the number c: 10 * (sum of `a>=k` for k up to c) - 5 c, largest at the count. Those
            of b are numbers of their own, which no prompt asks for

So `logit(c) - logit(c - 1) = 10 * (a>=c) - 5`. In a pair one a becomes a b, and the answer one
less.

`graded`: each threshold rises over 1.5 counts, so that it has a slope at either end. `hard`: it
rises over half a count between k - 0.75 and k - 0.25; at every count its derivative is zero, and a
score that looks at the clean run alone sees nothing.
"""

import random
from typing import Literal

from experiments.ground_truth.assembly import Head, Layer, Neuron, Program
from experiments.ground_truth.known import METRIC, KnownCircuit, Names, build, chain
from saecircuits.tasks import PromptPair

LETTERS = ("a", "b", "c")
COUNTED = ("a", "b")
LENGTH = 6
LAST = LENGTH + 1
SLOPES = {"graded": (1 / 1.5, 1.25 / 1.5), "hard": (2.0, 1.5)}
Thresholds = Literal["graded", "hard"]


def program(thresholds: Thresholds) -> Program:
    """One block that counts and one that compares."""
    slope, offset = SLOPES[thresholds]
    counts = range(1, LENGTH + 1)
    numbers = [f"{letter}{count}" for letter in COUNTED for count in range(LENGTH + 1)]
    neurons = []
    for letter in COUNTED:
        for k in counts:
            for step, sign in ((0.0, 1.0), (1.0, -1.0)):
                neurons.append(
                    Neuron(
                        {f"count {letter}": slope},
                        {f"{letter}>={k}": sign},
                        bias=offset - slope * k - step,
                    )
                )
    return Program(
        words=(*LETTERS, "=", *numbers),
        directions=[
            *(f"cur {word}" for word in (*LETTERS, "=")),
            *(f"count {letter}" for letter in COUNTED),
            *(f"{letter}>={k}" for letter in COUNTED for k in counts),
            "one",
        ],
        embed={word: f"cur {word}" for word in (*LETTERS, "=")},
        positions=["one"] * (LAST + 1),
        layers=[
            Layer(
                heads=[
                    Head({}, {(f"cur {x}", f"count {x}"): float(LAST + 1) for x in COUNTED}),
                ]
            ),
            Layer(neurons=neurons),
        ],
        read_out={
            (direction, f"{letter}{count}"): gain
            for letter in COUNTED
            for count in range(LENGTH + 1)
            for direction, gain in (
                ("one", -5.0 * count),
                *((f"{letter}>={k}", 10.0) for k in range(1, count + 1)),
            )
        },
    )


def counting(thresholds: Thresholds = "graded", *, pairs: int = 24, seed: int = 0) -> KnownCircuit:
    """The model, `pairs` pairs in each half of its task, and the circuit."""
    names = Names(program(thresholds))
    draw = random.Random(seed)
    found, edges, used = [], set(), set()
    while len(found) < 2 * pairs:
        letters = draw.choices(LETTERS, k=LENGTH)
        count = letters.count("a")
        if not count:
            continue
        at = draw.choice([place for place, letter in enumerate(letters) if letter == "a"])
        clean = " ".join([*letters, "="])
        corrupted = " ".join([*letters[:at], "b", *letters[at + 1 :], "="])
        if used & {clean, corrupted}:
            continue
        used |= {clean, corrupted}
        split = "train" if len(found) < pairs else "test"
        if split == "train":
            edges.update(
                chain(
                    names.token(at + 1),
                    names.node("cur a", after=-1, at=at + 1),
                    names.node("count a", after=0, at=LAST),
                    names.node(f"a>={count}", after=1, at=LAST),
                    METRIC,
                )
            )
        found.append(
            PromptPair(
                clean=clean,
                corrupted=corrupted,
                answer=(f"a{count}",),
                wrong=(f"a{count - 1}",),
                id=f"count-{len(found)}",
                split=split,
            )
        )
    model, task = build(f"counting-{thresholds}", program(thresholds), found)
    return KnownCircuit(f"counting, {thresholds} thresholds", model, task, frozenset(edges))
