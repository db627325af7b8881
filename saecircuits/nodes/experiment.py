"""An experiment: a model on prompt pairs under fixed choices, on which everything is measured.

What is estimated, measured and validated depends on the same few things: in what a node's place is
counted, what a node is set to when it is taken out, what error nodes do. An `Experiment` holds them
in one value and gives what follows from them: the units, the prompts batch by batch, the metric at
the two ends (every node clean, every node at its baseline), nodes and edges by their names, and the
faithfulness of sets of nodes. Attribution, pruning, calibration and validation each take one or
build one.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from saecircuits.errors import InputError, UnknownNameError, check_seed
from saecircuits.memory_limit import DEFAULT, MemoryLimit, read_limit
from saecircuits.nodes.ablation import Kept, ablate_nodes, faithfulness, keep_all, keep_spots
from saecircuits.nodes.baselines import Baseline, Reference, baseline_of, make_baseline
from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.fitting import check_same_front, check_tokens
from saecircuits.nodes.interventions import Spot
from saecircuits.nodes.names import METRIC, parse_node_id
from saecircuits.nodes.units import Positions, Units, make_units
from saecircuits.splicing import ErrorPolicy, Linearization, SplicedModel, observe
from saecircuits.splicing.observation import check_error_policy
from saecircuits.splicing.operators import record_operator
from saecircuits.splicing.room import tokens_within
from saecircuits.splicing.training import front_differs, trained_with
from saecircuits.tasks import Prompts
from saecircuits.torch_state import in_own_state

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Experiment:
    """A model on prompt pairs, and every choice that what is measured there depends on.

        experiment = Experiment(model, task.train, baseline="mean")
        experiment.faithfulness(["blocks.1.hook_resid_post.f217@name"])

    Attributes:
        positions: what a node's place is counted in: `each`, `span` or `sum`.
        baseline: what a node is set to when it is taken out: `corrupted`, `mean`, `zero` or
            `resample`, or a `Baseline` of your own.
        error_policy: what error nodes pass on: `recompute` or `hold`.
        linearization: what estimates see of the model: `full`, `frozen` or `secant`. What is
            measured is measured in the model as it is.
        reference: the prompts that supply the baselines `mean` and `resample`; `prompts` if None.
        seed: of the baseline `resample`.
        batch_size: most prompts in one pass; it changes results by rounding only.
        memory_limit: bytes, or text such as `4GB`, for everything beside the model: fewer prompts,
            and fewer changed runs of them, go through it at one time than `batch_size` says.
        keeps_runs: True to keep the run of every batch for what is asked next; takes memory.

    Raises:
        UnknownNameError: a choice that does not exist.
        TaskError: prompts that do not suit `positions` (when they are looked at).
        InputError: a seed, a batch size or a limit out of range; prompts with tokens that the model
            has not, or behind another token than the reference set.
    """

    model: SplicedModel
    prompts: Prompts
    _: KW_ONLY
    positions: Positions = "span"
    baseline: str | Baseline = "corrupted"
    error_policy: ErrorPolicy = "recompute"
    linearization: Linearization = "full"
    reference: Prompts | None = field(default=None, repr=False)
    seed: int = 0
    batch_size: int = 32
    memory_limit: MemoryLimit = DEFAULT
    keeps_runs: bool = False

    def __post_init__(self) -> None:
        baseline_of(self.baseline)
        check_error_policy(self.error_policy)
        check_seed(self.seed)
        if self.batch_size < 1:
            raise InputError(f"batch_size is {self.batch_size}; it must be at least 1")
        read_limit(self.memory_limit)
        known = [self.prompts] if self.reference is None else [self.prompts, self.reference]
        for prompts in known:
            check_tokens(self.model, prompts)
        check_same_front("the prompts", self.prompts, "the reference set", known[-1])

    @property
    def provenance(self) -> dict[str, Any]:
        """Model, dictionaries and prompts by digest; the reference set too, where it is another.

        What stands in front of the prompts, what the dictionaries had there in training, and where
        the two differ.
        """
        front = self.prompts.prepended
        told = {
            "trained_with": trained_with(self.model),
            "prepended_differs": front_differs(self.model, front),
        }
        supplied = {} if self.reference is None else {"reference": self.reference.digest}
        return {
            **self.model.describe(),
            "prompts": self.prompts.digest,
            **supplied,
            "prepended": front.to_json(),
            **{name: value for name, value in told.items() if value},
        }

    @cached_property
    def units(self) -> Units:
        """What the places of nodes are counted in, and which tokens belong to each."""
        return make_units(self.prompts, self.positions, tokenizer=self.model.tokenizer)

    @cached_property
    def ends(self) -> Float[NDArray[np.float64], "2 prompt"]:
        """The metric of every prompt with every node clean, and with every node at its baseline."""
        everything = self.keep_all()
        return self.ablated([everything, everything.complement()])

    def over_batches(self, f: Callable[[Contrast], T]) -> list[T]:
        """What `f` makes of every batch of prompts, in order.

        The one loop over batches of runs: everything that is estimated or measured goes through it.
        """
        return [f(self._batch(number)) for number in range(self.n_batch)]

    @property
    def n_batch(self) -> int:
        """How many batches there are."""
        return -(-len(self.prompts) // self._at_once)

    def per_prompt(
        self, f: Callable[[Contrast], Float[Tensor, "row batch"]]
    ) -> Float[NDArray[np.float64], "row prompt"]:
        """The same for figures of every prompt, side by side in float64."""
        parts = self.over_batches(lambda batch: f(batch).detach().cpu().double().numpy())
        return np.concatenate(parts, axis=1)

    def measured(
        self, f: Callable[[Contrast], Float[Tensor, "row batch"]]
    ) -> Float[NDArray[np.float64], "row prompt"]:
        """The same in the model as it is, whatever part of it estimates hold."""
        return self.per_prompt(lambda batch: f(batch.as_it_is))

    @cached_property
    def _at_once(self) -> int:
        """How many prompts are in one batch."""
        limit, n_pos = int(read_limit(self.memory_limit)), self.prompts.clean_tokens.shape[1]
        n_pos = max(n_pos, self.prompts.corrupted_tokens.shape[1])
        return max(
            1, min(self.batch_size, tokens_within(self.model, limit // 2, n_pos=n_pos) // n_pos)
        )

    def changed(self, **choices: Any) -> "Experiment":
        """The same under other choices; itself, with what it has kept, if these are its own."""
        is_own = all(getattr(self, name) == value for name, value in choices.items())
        return self if is_own else replace(self, **choices)

    def first(self, count: int) -> Contrast:
        """The first so many prompts as one batch; fewer, where the limit allows no more."""
        few = self.prompts.subset(range(min(count, len(self.prompts))))
        known = self.reference or self.prompts
        return replace(self, prompts=few, reference=known, batch_size=count)._batch(0)

    def spot(self, node: str) -> Spot:
        """The node of an id.

        Raises:
            UnknownNameError, InputError: as `parse_node_id`.
        """
        return parse_node_id(self.model, self.units.names, node)

    def edge(self, source: str, target: str) -> tuple[Spot, Spot | None]:
        """The edge between two nodes, given by id; the metric is None."""
        return self.spot(source), None if target == METRIC else self.spot(target)

    def keep_all(self) -> Kept:
        """Every node kept."""
        return keep_all(self.model, len(self.units))

    def keep(self, nodes: Iterable[str]) -> Kept:
        """These nodes kept, given by id, and all others at their baseline."""
        return keep_spots(self.model, len(self.units), [self.spot(node) for node in nodes])

    @in_own_state
    def ablated(self, kept: Sequence[Kept]) -> Float[NDArray[np.float64], "n_kept prompt"]:
        """The metric of every prompt with each set of nodes kept (`nodes.ablation`), in logits."""
        return self.measured(lambda batch: ablate_nodes(batch, kept))

    def faithfulness(self, nodes: Iterable[str]) -> float:
        """How much of the metric's change these nodes account for by themselves.

        `(m(S) - m(empty)) / (m(all) - m(empty))`, each m the mean over prompts; tokens are always
        kept.
        """
        return self.faithfulness_of([nodes])[0]

    def faithfulness_of(self, sets: Iterable[Iterable[str]]) -> list[float]:
        """Of every set of nodes, in one walk through the prompts."""
        metrics = self.ablated([self.keep(nodes) for nodes in sets])
        return [faithfulness(metric, *self.ends) for metric in metrics]

    @cached_property
    def _supplied(self) -> Any:
        others = self.prompts if self.reference is None else self.reference
        given = Reference(
            self.model, self.prompts, others, self.positions, self.seed, self._at_once
        )
        return baseline_of(self.baseline).supply(given)

    @cached_property
    def _made(self) -> dict[int, Contrast]:
        return {}

    def _batch(self, number: int) -> Contrast:
        if number in self._made:
            return self._made[number]
        contrast = self._make(number)
        if self.keeps_runs:
            self._made[number] = contrast
        return contrast

    def _make(self, number: int) -> Contrast:
        model, start = self.model, number * self._at_once
        rows = slice(start, min(start + self._at_once, len(self.prompts)))
        some = self.prompts.subset(range(rows.start, rows.stop))
        # A subset is cut to its own longest prompt; the units are cut alike.
        units = Units(
            self.units.names,
            self.units.tokens,
            self.units.clean[rows, : some.clean_tokens.shape[1]],
            self.units.corrupted[rows, : some.corrupted_tokens.shape[1]],
        ).to(model.device)
        tokens = some.clean_tokens.to(model.device)
        clean = observe(model, tokens)
        return Contrast(
            model=model,
            prompts=some,
            units=units,
            clean=clean,
            baseline=make_baseline(
                model,
                some,
                baseline=baseline_of(self.baseline),
                units=units,
                clean=clean,
                supplied=self._supplied,
                rows=rows,
            ),
            operator=record_operator(model.bridge, tokens, kind=self.linearization),
            error_policy=self.error_policy,
            number=number,
            memory_limit=int(read_limit(self.memory_limit)),
        )


# What an experiment has in common with settings of attributions.
CHOICES = ("positions", "baseline", "error_policy", "linearization", "seed", "batch_size")
# What settings take over from an experiment that is attributed.
CARRIED = (*CHOICES, "memory_limit")


def experiment_of(
    given: SplicedModel | Experiment, prompts: Prompts | None, *, function: str, **choices: Any
) -> Experiment:
    """The experiment that a public function was given, or the one of this model and these prompts.

    Args:
        given: a model, with prompts; or an experiment, without.
        function: that was called, for messages.
        choices: of an experiment to be built; where one is given, those that are None are its own.

    Raises:
        InputError: an experiment and prompts as well, or a model and no prompts; a choice that
            contradicts the experiment given.
    """
    chosen = {name: value for name, value in choices.items() if value is not None}
    known = {each.name for each in fields(Experiment)} - {"model", "prompts", "_"}
    for name in chosen.keys() - known:
        raise UnknownNameError(f"choice of {function}", name, known)
    if not isinstance(given, Experiment):
        if prompts is None:
            raise InputError(f"{function} was given a model and no prompts; give both")
        return Experiment(given, prompts, **chosen)
    if prompts is not None:
        raise InputError(f"{function} was given an experiment, which has its prompts, and prompts")
    for name, value in chosen.items():
        if value != (own := getattr(given, name)):
            raise InputError(
                f"{function} was given {name}={value!r} and an experiment with {own!r}; leave one"
            )
    return given
