"""Why the heads that carry a circuit's strongest edges look where they look, at its example.

A head's attention at one query is taken apart into pairs of features (`heads.scores`), at the
clean half of the task's first training pair. Heads are ranked by the summed |effect| that the
circuit's edges have through them; the query is the last token of the place at which the strongest
such edge ends.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import pandas as pd

from saecircuits.circuits import Circuit
from saecircuits.edges.columns import rows_of
from saecircuits.heads.scores import HeadScores, Question, apart, scores_of_head
from saecircuits.nodes.units import Units, make_units
from saecircuits.schema import Count, Record
from saecircuits.splicing import SplicedModel
from saecircuits.splicing.anatomy import NotCoveredError
from saecircuits.splicing.parts import dictionary_before
from saecircuits.tasks import Task

_HEAD: Final = re.compile(r"L(\d+)\.H(\d+)")
_HEADS: Final = 4
_PAIRS: Final = 12


class SeenKey(Record):
    """A key that the query sees: the token, and how much of the attention it gets."""

    token: str
    pattern: float


class TermPair(Record):
    """A pair of terms and its part of the contrast; see `HeadScores.pairs`."""

    query_term: str
    key_term: str
    contrast: float
    share: float


class HeadLook(Record):
    """One head at one query of the example prompt.

    Attributes:
        site: hook of the dictionary whose features the terms are.
        carries: share of this head in the summed |effect| of the parts of the circuit's edges.
        query, key: tokens of the prompt, the first being 0; the key is the one most attended to.
        keys: every key that the query sees.
        pairs: the strongest pairs of terms by contrast, that is score at the key less the mean
            over all keys.
        n_pairs: how many pairs there are.
    """

    layer: Count
    head: Count
    site: str
    carries: float
    query: Count
    query_token: str
    key: Count
    keys: tuple[SeenKey, ...]
    pairs: tuple[TermPair, ...]
    n_pairs: Count


def looks_of_heads(model: SplicedModel, task: Task, circuit: Circuit) -> tuple[HeadLook, ...]:
    """The looks of the heads that carry most, strongest first.

    Left out are heads that read a stream without a dictionary. The result is empty where the
    circuit's edges have no parts, or the model's attention is not of a known form.
    """
    units = make_units(task.train, circuit.settings.positions, tokenizer=model.tokenizer)
    prompt = task.train.clean_tokens[0, : int(task.train.clean_lengths[0])].tolist()
    limit = int(circuit.settings.memory_limit)
    asked = Question(against="uniform", top=_PAIRS, memory_limit=limit)
    looks, anatomy = [], None
    for layer, head, carries, target in _heads(circuit):
        query = _last_token(units, target.rpartition("@")[2], len(prompt))
        site = dictionary_before(model, layer)
        if site is None:
            continue
        try:
            if anatomy is None:
                anatomy = apart(model, prompt)
            here = replace(asked, query=query)
            found = scores_of_head(model, prompt, layer, head, here, anatomy=anatomy)
        except NotCoveredError:
            return ()
        looks.append(_look(found, carries, model.hooks[site]))
        if len(looks) == _HEADS:
            break
    return tuple(looks)


def _heads(circuit: Circuit) -> Iterator[tuple[int, int, float, str]]:
    """Layer, head, share, and the target of the strongest part; by share, the largest first."""
    parts = circuit.edge_parts.assign(size=circuit.edge_parts["effect"].abs())
    total = float(parts["size"].sum())
    passed = parts.assign(through=parts["part"].map(_HEAD.findall)).explode("through")
    passed = passed[passed["through"].notna()]
    if not len(passed):
        return
    sums = passed.groupby("through")["size"].sum()
    for layer, head in sorted(sums.index, key=lambda name: (-sums[name], name)):
        through: pd.DataFrame = passed[passed["through"] == (layer, head)]
        strongest = through.sort_values("size", ascending=False, kind="stable")["target"].iloc[0]
        yield int(layer), int(head), float(sums[layer, head]) / total, str(strongest)


def _last_token(units: Units, unit: str, length: int) -> int:
    """The last token of the example in a unit; of the prompt for the metric."""
    if unit not in units.names:
        return length - 1
    places: Sequence[int] = (
        (units.clean[0, :length] == units.names.index(unit)).nonzero()[:, 0].tolist()
    )
    return places[-1] if places else length - 1


def _look(found: HeadScores, carries: float, site: str) -> HeadLook:
    keys = rows_of(found.keys[list(SeenKey.model_fields)])
    pairs = rows_of(found.pairs[list(TermPair.model_fields)])
    return HeadLook(
        layer=found.layer,
        head=found.head,
        site=site,
        carries=carries,
        query=found.query,
        query_token=found.tokens[found.query],
        key=found.key,
        keys=tuple(SeenKey(**row) for row in keys),
        pairs=tuple(TermPair(**row) for row in pairs),
        n_pairs=found.n_pairs,
    )
