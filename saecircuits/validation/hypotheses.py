"""`hypotheses`: does a circuit pass the tests that a real one should, at a stated level?

1. the sets of nodes, or of edges, that the tests are about: everything, nothing, the circuit S,
   everything but S, random circuits R of S's size and layer profile, everything but R, and S less
   each member;
2. one ablated run of every set on every prompt (`nodes.ablation`, `edges.ablation`);
3. the verdicts (`verdicts`): the tests of Shi et al. 2024 ("Hypothesis Testing the Circuit
   Hypothesis in LLMs") in the form that fits a faithfulness. Their sufficiency and partial
   necessity tests are against random circuits, their minimality test is made member by member, and
   in the place of their equivalence and independence tests stand two against a bar, since a circuit
   of a few nodes is never equal to the whole model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy.typing import NDArray

from saecircuits.choices import name_of
from saecircuits.circuits import Circuit
from saecircuits.edges.ablation import Wiring, ablate_edges
from saecircuits.edges.interventions import intervene_on_edges
from saecircuits.errors import InputError, UnknownNameError, check_seed
from saecircuits.nodes.ablation import Kept
from saecircuits.nodes.baselines import Baseline, baseline_of
from saecircuits.nodes.experiment import Experiment
from saecircuits.splicing import SplicedModel
from saecircuits.tasks import Prompts
from saecircuits.torch_state import in_own_state
from saecircuits.validation.plan import (
    edges_less_one,
    nodes_less_one,
    pairs_of,
    random_edges,
    random_nodes,
    wire_pairs,
)
from saecircuits.validation.validate import Ablate
from saecircuits.validation.verdicts import (
    above,
    changes,
    per_prompt_figures,
    rounding,
    smallest_seen,
    verdicts,
)

Ablated = TypeVar("Ablated", Kept, Wiring)
# The tests whose null hypotheses must all be rejected for a circuit.
DECIDING = ("effect", "sufficiency", "necessity")


@dataclass(frozen=True, eq=False)
class Hypotheses:
    """Tests of one circuit on prompts that did not choose it; every p-value is one-sided.

    Attributes:
        tests: one row a test: `test`, `question`, `value` and what it is held `against`, `p`, and
            whether the null hypothesis is `rejected` at `level`. `effect`, `sufficiency` and
            `necessity` together make a circuit; `bar` and `completeness` say how complete it is.
        members: every node of the circuit: `node`, `drop` (metric of the circuit less metric
            without this node, mean over prompts, in logits), `low`, `high` (95% bootstrap interval
            over prompts), `sign_stability` (share of prompts with the mean's sign, of those where
            the drop is not zero), `sign_resampled` (share of resamples with it), `p` for
            `drop > 0`, `p_holm`, `p_fdr` (Benjamini-Hochberg).
        edges: the circuit's strongest edges, each measured by intervention: `source`, `target`,
            `effect`, `low`, `high`, `sign_stability`, `sign_resampled`, and `p`, `p_holm`, `p_fdr`
            for an effect of the sign that the graph gives it.
        is_circuit: effect, sufficiency and necessity are all rejected, each at `level`. Whatever is
            wrong with a circuit, this is True with probability of at most `level`, if one of the
            three null hypotheses holds (an intersection-union test needs no correction).
        needed: members whose drop is above zero after Holm's correction.
        ablate: what was ablated: `nodes` or `edges`.
        baseline: what it was set to.
        level: of every test.
        prompts: how many prompts.
        random: how many random circuits.
        smallest: what could have been seen with this many prompts and draws with probability
            `power`: `effect` (logits), `faithfulness` above the bar, `drop` of one member under
            Holm's first step (logits), and `p` the smallest p-value against random circuits.
        power: the probability that `smallest` is about.
    """

    tests: pd.DataFrame
    members: pd.DataFrame
    edges: pd.DataFrame
    is_circuit: bool
    needed: int
    ablate: str
    baseline: str
    level: float
    prompts: int
    random: int
    smallest: Mapping[str, float]
    power: float

    def to_json(self) -> dict[str, Any]:
        """Plain values by name, tables as lists of rows."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        tables = {name: values[name].to_dict("records") for name in ("tests", "members", "edges")}
        return {**values, **tables, "smallest": dict(self.smallest)}


@in_own_state
def hypotheses(
    model: SplicedModel | Experiment,
    circuit: Circuit,
    prompts: Prompts | None = None,
    *,
    ablate: Ablate = "nodes",
    baseline: str | Baseline | None = None,
    reference: Prompts | None = None,
    level: float = 0.05,
    bar: float = 0.8,
    power: float = 0.8,
    n_random: int = 199,
    edges: int = 30,
    batch_size: int | None = None,
    seed: int = 0,
) -> Hypotheses:
    """The tests of a circuit: effect, sufficiency, necessity, minimality, and how complete it is.

    Null hypotheses, with m(S) the metric with the nodes S kept, every other one at its baseline (by
    edges: with the edges S kept, every other one cut):

        effect        mean of m(all) - m(nothing) over prompts is not above zero
        sufficiency   m(S) is no larger than of a random circuit of the same size and layer profile
        necessity     m(all but S) is no smaller than of all but such a random circuit
        bar           faithfulness of S is at most `bar`
        completeness  faithfulness of all but S is at least `1 - bar`
        minimality    of each member v: m(S) - m(S less v) is not above zero

    By edges, S less v is S without the edges of v, and a random circuit has the edges of S between
    other nodes. Nothing is divided by `m(all) - m(nothing)`, so the tests also hold where that is
    zero.

    Args:
        model: the spliced model; or an experiment on held-out prompts, with its own choices.
        prompts: held-out prompts (`task.test`).
        baseline: by default the experiment's, or `corrupted`.
        ablate: `nodes` (`nodes.ablation`), or `edges` (`edges.ablation`); edges take as much longer
            as the circuit has nodes with parents of their own.
        reference: the prompts that supply the baselines `mean` and `resample`, which need them:
            other prompts than `prompts`, because prompts are tested as independent, and are not
            where each is part of the others' baseline.
        level: of every test.
        bar: the faithfulness that `bar` and `completeness` are about.
        power: that `smallest` is stated for.
        n_random: random circuits; the smallest p-value against them is `1 / (1 + n_random)`.
        edges: how many of the circuit's strongest edges are measured; token sources are among them.

    Raises:
        UnknownNameError: another baseline or way to ablate.
        InputError: another model than the circuit's; the prompts that chose it; a level, bar,
            power or count out of range; a baseline without its reference.

    Source: Shi et al. 2024, arXiv 2410.13032, sections 3.1 (minimality) and 3.2 (sufficiency and
    partial necessity).
    """
    check_tests(ablate, level=level, bar=bar, power=power, n_random=n_random, edges=edges)
    check_seed(seed)
    experiment = circuit.held_out(
        model,
        prompts,
        function="hypotheses",
        baseline=baseline,
        reference=reference,
        batch_size=batch_size,
        seed=seed,
    )
    _check_reference(experiment)
    metrics = metrics_of_sets(circuit, experiment, ablate=ablate, n_random=n_random, seed=seed)
    found = changes(metrics, members=circuit.size)
    tests = verdicts(found, bar=bar, level=level, seed=seed)
    members = pd.DataFrame({"node": list(circuit.members), "drop": found.drops.mean(1)})
    members = members.join(per_prompt_figures(found.drops, seed=seed))
    floor = rounding(metrics[0])
    return Hypotheses(
        tests=tests,
        members=members,
        edges=_edge_table(experiment, circuit, count=edges, floor=floor, seed=seed),
        is_circuit=bool(tests.set_index("test").loc[list(DECIDING), "rejected"].all()),
        needed=int((members["p_holm"] <= level).sum()),
        ablate=ablate,
        baseline=name_of(experiment.baseline),
        level=level,
        prompts=len(experiment.prompts),
        random=n_random,
        smallest=smallest_seen(found, bar=bar, level=level, power=power)
        | {"p": 1 / (1 + n_random)},
        power=power,
    )


def check_tests(
    ablate: str,
    *,
    level: float = 0.05,
    bar: float = 0.8,
    power: float = 0.8,
    n_random: int = 199,
    edges: int = 30,
) -> None:
    """Refuses figures that no test can have; see `hypotheses`.

    Raises:
        UnknownNameError: no such way to ablate.
        InputError: a level, bar, power or count out of range.
    """
    if ablate not in get_args(Ablate):
        raise UnknownNameError("ablate", ablate, get_args(Ablate))
    for name, value in {"level": level, "bar": bar, "power": power}.items():
        if not 0 < value < 1:
            raise InputError(f"{name} is {value}; it must lie between 0 and 1")
    if n_random < 1:
        raise InputError(f"n_random is {n_random}; ask for at least 1 random circuit")
    if edges < 0:
        raise InputError(f"edges is {edges}; ask for 0 or more")


def _check_reference(experiment: Experiment) -> None:
    reference = experiment.reference
    baseline = baseline_of(experiment.baseline)
    if not baseline.has_reference:
        return
    if reference is None or reference.digest == experiment.prompts.digest:
        what = "no reference" if reference is None else "the tested prompts as their own reference"
        raise InputError(
            f"hypotheses was given the baseline {baseline.name!r} and {what}; give "
            "reference= other prompts, such as task.train: prompts are tested as independent"
        )


def metrics_of_sets(
    circuit: Circuit, experiment: Experiment, *, ablate: Ablate, n_random: int, seed: int
) -> Float[NDArray[np.float64], "run prompt"]:
    """The metric of everything, nothing, S, all but S, S less each member, every R, all but it."""
    draw = {"count": n_random, "seed": seed}
    if ablate == "nodes":
        drawn = random_nodes(circuit, experiment, **draw)
        less_one = nodes_less_one(circuit, experiment)
        found = experiment.ablated(_tested(experiment.keep(circuit.members), less_one, drawn))
    else:
        wirings = random_edges(circuit, experiment, **draw)
        cut = edges_less_one(circuit, experiment)
        tested = _tested(wire_pairs(experiment, pairs_of(circuit)), cut, wirings)
        found = experiment.measured(lambda batch: ablate_edges(batch, tested))
    return np.concatenate([experiment.ends, found])


def _tested(alone: Ablated, less_one: Sequence[Ablated], drawn: Sequence[Ablated]) -> list[Ablated]:
    return [alone, alone.complement(), *less_one, *drawn, *(one.complement() for one in drawn)]


def _edge_table(
    experiment: Experiment, circuit: Circuit, *, count: int, floor: float, seed: int
) -> pd.DataFrame:
    strongest = circuit.strongest_edges(count)
    ends = zip(strongest["source"], strongest["target"], strict=True)
    pairs = [experiment.edge(*pair) for pair in ends]
    measured = np.zeros((0, len(experiment.prompts)))
    if pairs:
        found = experiment.measured(lambda batch: intervene_on_edges(batch, pairs))
        measured = above(found, floor)
    table = pd.DataFrame(
        {
            "source": strongest["source"].to_list(),
            "target": strongest["target"].to_list(),
            "effect": measured.mean(1),
        }
    )
    signs = np.sign(strongest["effect"].to_numpy(float))
    return table.join(per_prompt_figures(measured, signs=signs, seed=seed))
