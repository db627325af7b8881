"""`interactions`: how the members of a circuit act together.

1. the metric of every subset of the members (`walk`), or above 16 members of chosen subsets;
2. dividends, their spectrum by grade, Shapley values and pairwise redundancies, prompt by prompt
   (`theory.interactions`);
3. means over prompts with bootstrap intervals.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from saecircuits.choices import name_of
from saecircuits.errors import check_seed
from saecircuits.nodes.effects import bootstrap_interval
from saecircuits.nodes.experiment import Experiment, experiment_of
from saecircuits.nonlinearity.members import Members, check_members, parse_members, stages_of
from saecircuits.nonlinearity.node_game import Rest, parse_rest
from saecircuits.nonlinearity.sampled import Sampled, sample, share_of
from saecircuits.nonlinearity.walk import walk
from saecircuits.splicing import SplicedModel
from saecircuits.tasks import Prompts
from saecircuits.theory import interactions as theory
from saecircuits.theory.sampling import size_means
from saecircuits.torch_state import in_own_state

MOST_EXACT = 16


@dataclass(frozen=True, eq=False)
class Interactions:
    """Interactions of the members of a game; every figure in the metric's units, mean over prompts.

    `low` and `high` are 95% bootstrap intervals over prompts; of what was sampled, over prompts and
    draws together. NaN for a single prompt.

    Attributes:
        members: their names, in the order given.
        dividends: `members` (names joined by ` + `), `grade`, `dividend`, `low`, `high`; every
            subset but the empty one, largest |dividend| first. Above 16 members grades 1 and 2.
        spectrum: `grade`, `total` (sum of the dividends of that grade), `low`, `high`, `share` of
            `v(N) - v(empty)`, `size` (sum of |dividend|, each the mean over prompts); `kind` is
            `exact` or `sampled`. Above 16 members grades from 4 on are one row, `grade` 4, kind
            `rest`: exact in sum where grade 3 is.
        shapley: `member`, `value`, `low`, `high`, `alone` (`v(member) - v(empty)`) and `last`
            (`v(N) - v(N less the member)`).
        redundancy: for every pair `a`, `b`: `redundancy` = `v(N) - v(N less a) - v(N less b) +
            v(N less both)`, `low`, `high`, and `joint` = `v(N) - v(N less both)`; most negative
            first. Negative means backup, where both support the answer.
        by_size: `size`, `value`, `low`, `high`: the mean metric of subsets of that many members.
        value_all: v(N). `value_none`: v(empty).
        mean_grade: sum over members of `last`, over `v(N) - v(empty)`: 1 for an additive game. NaN,
            as every `share`, where the members together do nothing beyond rounding.
        is_exact: whether every subset was run.
        settings: what the game depends on: baseline, rest, error_policy, linearization, positions.
    """

    members: tuple[str, ...]
    dividends: pd.DataFrame
    spectrum: pd.DataFrame
    shapley: pd.DataFrame
    redundancy: pd.DataFrame
    by_size: pd.DataFrame
    value_all: float
    value_none: float
    mean_grade: float
    is_exact: bool
    settings: dict[str, Any]

    @property
    def total(self) -> float:
        """`v(N) - v(empty)`: what all members do together."""
        return self.value_all - self.value_none

    @property
    def backups(self) -> pd.DataFrame:
        """The pairs whose interval of redundancy lies below zero."""
        return self.redundancy[self.redundancy["high"] < 0].reset_index(drop=True)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        tables = ("dividends", "spectrum", "shapley", "redundancy", "by_size")
        return {
            "members": list(self.members),
            **{name: getattr(self, name).to_dict("records") for name in tables},
            "value_all": self.value_all,
            "value_none": self.value_none,
            "mean_grade": self.mean_grade,
            "is_exact": self.is_exact,
            **self.settings,
        }


@in_own_state
def interactions(
    model: SplicedModel | Experiment,
    prompts: Prompts | None = None,
    members: Sequence[str] = (),
    *,
    rest: Rest = "baseline",
    draws: int = 100,
    resamples: int = 1000,
    seed: int = 0,
    **choices: Any,
) -> Interactions:
    """Dividends, grades, Shapley values and redundancies of some nodes or components.

    `v(S)` is the metric with the members in S active, the other members at their baseline, and
    everything downstream recomputed. Exact to 16 members, whose 65,536 subsets are all run; above,
    from single members, pairs, and `draws` random triples and orders (`theory.sampling`).

    Args:
        model: the spliced model; or an experiment, with its prompts and choices.
        members: node ids (`graph.nodes["node"]`: features, errors, tokens), or components
            (`L2.ATTN`, `L2.H3`, `L2.MLP`, `L2.N17`; baseline corrupted or zero).
        rest: what all other nodes are in every run: at their `baseline` (v(S) is the circuit S by
            itself; token nodes stay clean), or `clean` (v(S) is the model without N less S).
        choices: of the `Experiment` that is built from a model, by name: `baseline`, `positions`,
            `error_policy`, `linearization`, `reference`, `batch_size`.
        draws: random triples, and random orders, of a sampled game.
        resamples: of the bootstrap.

    Raises:
        UnknownNameError: a baseline, rest, policy, linearization, site or span that is not there.
        InputError: members that make no game (`nonlinearity.members`).

    Sources: Harsanyi 1963 (dividends); Shapley 1953; Owen 1972 (multilinear extension).
    """
    parse_rest(rest)
    check_seed(seed)
    if not isinstance(model, Experiment):
        choices["seed"] = seed
    experiment = experiment_of(model, prompts, function="interactions", **choices)
    parsed = parse_members(experiment, members)
    check_members(parsed, experiment.baseline, experiment.error_policy)
    game = _Game(experiment, parsed, rest)
    settings = {
        "baseline": name_of(experiment.baseline),
        "rest": rest,
        "error_policy": experiment.error_policy,
        "linearization": experiment.linearization,
        "positions": experiment.positions,
    }
    names = tuple(members)
    if len(names) <= MOST_EXACT:
        return _exact(game, names, settings, resamples=resamples, seed=seed)
    sampled = sample(game, len(names), draws=draws, resamples=resamples, seed=seed)
    return _of_sampled(sampled, names, settings)


@dataclass(frozen=True, eq=False)
class _Game:
    """v of any subsets, prompt by prompt."""

    experiment: Experiment
    members: Members
    rest: Rest

    def __call__(self, keep: torch.Tensor) -> torch.Tensor:
        """`[n_set, n_prompt]` in float64, for `keep` `[n_set, n_member]`."""
        baseline = self.experiment.baseline
        return torch.as_tensor(
            self.experiment.per_prompt(
                lambda batch: walk(
                    stages_of(batch, self.members, self.rest, baseline),
                    keep,
                    tokens_at_once=batch.tokens_at_once(4096),
                )
            ),
            device="cpu",
        )


def _exact(
    game: _Game, names: tuple[str, ...], settings: dict[str, Any], *, resamples: int, seed: int
) -> Interactions:
    count = len(names)
    inside = theory.all_subsets(count)
    values = game(inside)
    found = theory.dividends(values)

    def table(columns: dict[str, Any], per_prompt: torch.Tensor, name: str) -> pd.DataFrame:
        return with_interval(columns, per_prompt.numpy(), name, resamples=resamples, seed=seed)

    grade = theory.grades(count)
    spectrum = table(
        {"grade": range(1, count + 1), "kind": "exact"}, theory.spectrum(found)[1:], "total"
    )
    spectrum["share"] = share_of(spectrum["total"], values[-1], values[0])
    sizes = found.new_zeros(count + 1).index_add(0, grade, found.mean(1).abs())
    spectrum["size"] = sizes[1:].numpy()
    member = 2 ** torch.arange(count, device=values.device)
    last = values[-1] - values[len(values) - 1 - member]
    shapley = table({"member": names}, theory.shapley_values(found), "value")
    shapley["alone"] = found[member].mean(1).numpy()
    shapley["last"] = last.mean(1).numpy()
    a, b = np.triu_indices(count, 1)
    without_two = values[len(values) - 1 - (member[a] | member[b])]
    redundancy = table(
        {"a": [names[i] for i in a], "b": [names[i] for i in b]},
        theory.redundancy_of(values)[a, b],
        "redundancy",
    )
    redundancy["joint"] = (values[-1] - without_two).mean(1).numpy()
    dividends = table(
        {"members": joined_names(names, inside[1:].numpy()), "grade": grade[1:].numpy()},
        found[1:],
        "dividend",
    )
    return Interactions(
        members=names,
        dividends=by_size_of(dividends, "dividend"),
        spectrum=spectrum,
        shapley=shapley,
        redundancy=redundancy.sort_values("redundancy", kind="stable").reset_index(drop=True),
        by_size=table({"size": range(count + 1)}, size_means(values), "value"),
        value_all=float(values[-1].mean()),
        value_none=float(values[0].mean()),
        mean_grade=share_of(float(last.mean(1).sum()), values[-1], values[0]),
        is_exact=True,
        settings=settings,
    )


def with_interval(
    columns: dict[str, Any],
    per_prompt: NDArray[np.float64],
    name: str,
    *,
    resamples: int,
    seed: int,
) -> pd.DataFrame:
    """A table of means over prompts with their intervals: `[row, prompt]` to columns."""
    low, high = bootstrap_interval(per_prompt.T, resamples=resamples, seed=seed)
    return pd.DataFrame({**columns, name: per_prompt.mean(1), "low": low, "high": high})


def joined_names(names: tuple[str, ...], inside: NDArray[np.bool_]) -> list[str]:
    """The names of every subset's members, joined by ` + `."""
    return [" + ".join(names[int(i)] for i in row.nonzero()[0]) for row in inside]


def by_size_of(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows, the largest |value| first; ties stay in order."""
    order = np.argsort(-table[name].abs().to_numpy(), kind="stable")
    return table.iloc[order].reset_index(drop=True)


def _of_sampled(sampled: Sampled, names: tuple[str, ...], settings: dict[str, Any]) -> Interactions:
    a, b = np.triu_indices(len(names), 1)
    singles = sampled.singles.assign(members=list(names), grade=1)
    pairs = sampled.pairs.assign(
        members=[f"{names[i]} + {names[j]}" for i, j in zip(a, b, strict=True)], grade=2
    )
    columns = ["members", "grade", "dividend", "low", "high"]
    redundancy = sampled.redundancy.assign(a=[names[i] for i in a], b=[names[j] for j in b])
    return Interactions(
        members=names,
        dividends=by_size_of(pd.concat([singles, pairs])[columns], "dividend"),
        spectrum=sampled.spectrum,
        shapley=sampled.shapley.assign(member=list(names))[
            ["member", "value", "low", "high", "alone", "last"]
        ],
        redundancy=redundancy[["a", "b", "redundancy", "low", "high", "joint"]]
        .sort_values("redundancy", kind="stable")
        .reset_index(drop=True),
        by_size=sampled.by_size,
        value_all=sampled.value_all,
        value_none=sampled.value_none,
        mean_grade=sampled.mean_grade,
        is_exact=False,
        settings=settings,
    )
