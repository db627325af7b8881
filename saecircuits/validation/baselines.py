"""`baselines`: are features better nodes than what needs no training? One protocol for all.

1. every kind of node is ranked by |effect| on the training prompts (gradient at the clean run);
2. on the test prompts the first 1, 2, 5, ... are kept, all others at their corrupted baseline;
3. faithfulness over the number of nodes, with bootstrap intervals over prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from saecircuits.edges.attribute import attribute
from saecircuits.errors import InputError, UnknownNameError, check_seed
from saecircuits.nodes.ablation import faithfulness
from saecircuits.nodes.experiment import Experiment
from saecircuits.nodes.units import Positions
from saecircuits.splicing import SplicedModel
from saecircuits.splicing.untrained import untrained
from saecircuits.tasks import Prompts, Task
from saecircuits.torch_state import in_own_state
from saecircuits.validation.bases import respliced
from saecircuits.validation.component_circuits import prefixes_ablated, ranking
from saecircuits.validation.validate import faithfulness_interval

Kind: TypeAlias = Literal[
    "features",
    "features and errors",
    "coordinates",
    "pca",
    "random",
    "neurons",
    "heads",
    "untrained",
]
SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True, eq=False)
class Baselines:
    """Faithfulness over size for features and for what they are held against.

    Attributes:
        curve: one row per kind and size: `kind`, `nodes`, `faithfulness`, `low`, `high` (95%
            bootstrap interval over prompts).
        kinds: one row per kind: `kind`, `candidates` (nodes with an effect), `metric_clean` and
            `metric_baseline` (mean metric on the test prompts with every node kept, and with none),
            and `nodes_for_bar`: the smallest size tried that reaches `bar`, None if none does.
        bar: the faithfulness that `nodes_for_bar` is about.
        prompts: how many test prompts.
    """

    curve: pd.DataFrame
    kinds: pd.DataFrame
    bar: float
    prompts: int

    def to_json(self) -> dict[str, Any]:
        """Plain values, tables as lists of rows."""
        return {
            "curve": self.curve.to_dict("records"),
            "kinds": self.kinds.to_dict("records"),
            "bar": self.bar,
            "prompts": self.prompts,
        }


@in_own_state
def baselines(
    model: SplicedModel,
    task: Task,
    *,
    kinds: Sequence[Kind] = get_args(Kind),
    sizes: Sequence[int] = SIZES,
    positions: Positions = "span",
    bar: float = 0.8,
    resamples: int = 1000,
    batch_size: int = 32,
    seed: int = 0,
) -> Baselines:
    """Faithfulness over size for every kind of node: chosen on `task.train`, judged on `task.test`.

    The kinds:

        features             of the model's dictionaries; error nodes at their baseline throughout
        features and errors  the same, error nodes ranked and counted among them
        coordinates          of the tensors at the same sites, one node each ("neurons" of the
                             residual stream in Marks et al. 2024)
        pca                  principal components of the same tensors over the training prompts
        random               random directions, as many as features and as many active; error nodes
                             at their baseline throughout
        neurons              neurons of the MLPs and attention heads (tensors of their own)
        heads                attention heads and whole MLPs
        untrained            the model's dictionaries, errors ranked among them, on the same
                             architecture with random weights, each faithfulness relative to its own
                             two ends: what the method alone gives

    Raises:
        UnknownNameError: a kind that does not exist.
        InputError: no size, or one below 1; a bar that is not above 0.
    """
    check_kinds(kinds, sizes=sizes, bar=bar)
    check_seed(seed)
    protocol = _Protocol(task, tuple(sorted(sizes)), positions, batch_size, seed)
    rows, summary = [], []
    for kind in kinds:
        candidates, used, metrics = protocol.measure(model, kind)
        whole, empty, *prefixes = metrics
        found = []
        for size, metric in zip(used, prefixes, strict=True):
            low, high = faithfulness_interval(metric, whole, empty, resamples=resamples, seed=seed)
            value = faithfulness(metric, whole, empty)
            found.append(
                {"kind": kind, "nodes": size, "faithfulness": value, "low": low, "high": high}
            )
        rows += found
        reached = [row["nodes"] for row in found if row["faithfulness"] >= bar]
        summary.append(
            {
                "kind": kind,
                "candidates": candidates,
                "metric_clean": float(whole.mean()),
                "metric_baseline": float(empty.mean()),
                "nodes_for_bar": min(reached) if reached else None,
            }
        )
    return Baselines(
        curve=pd.DataFrame(rows),
        kinds=pd.DataFrame(summary).astype({"nodes_for_bar": "Int64"}),
        bar=bar,
        prompts=len(task.test),
    )


def check_kinds(kinds: Sequence[str], *, sizes: Sequence[int], bar: float) -> None:
    """Refuses kinds of nodes, sizes or a bar that cannot be meant; see `baselines`.

    Raises:
        UnknownNameError: a kind that does not exist.
        InputError: no size, or one below 1; a bar that is not above 0.
    """
    for kind in kinds:
        if kind not in get_args(Kind):
            raise UnknownNameError("kind of node", kind, get_args(Kind))
    if not sizes or min(sizes) < 1:
        raise InputError(f"sizes are {list(sizes)}; give at least one, each 1 or more")
    if not bar > 0:
        raise InputError(f"bar is {bar}; it must be above 0")


@dataclass(frozen=True, eq=False)
class _Protocol:
    task: Task
    sizes: tuple[int, ...]
    positions: Positions
    batch_size: int
    seed: int

    def measure(
        self, model: SplicedModel, kind: Kind
    ) -> tuple[int, list[int], NDArray[np.float64]]:
        """How many nodes have an effect, the sizes there are, and `[2 + size, prompt]` metrics."""
        match kind:
            case "features":
                return self._of_dictionaries(model, has_errors=False)
            case "features and errors":
                return self._of_dictionaries(model, has_errors=True)
            case "coordinates" | "pca" | "random":
                other = respliced(model, self.task.train, kind, seed=self.seed)
                return self._of_dictionaries(other, has_errors=False)
            case "untrained":
                return self._of_dictionaries(untrained(model, seed=self.seed), has_errors=True)
            case "neurons" | "heads":
                ranked = ranking(self._on(model, self.task.train), kind)
                used = self._used(len(ranked))
                test = self._on(model, self.task.test)
                return len(ranked), used, prefixes_ablated(test, kind, ranked, used)

    def _of_dictionaries(
        self, model: SplicedModel, *, has_errors: bool
    ) -> tuple[int, list[int], NDArray[np.float64]]:
        graph = attribute(self._on(model, self.task.train), max_nodes=1)
        wanted = ["feature", "error"] if has_errors else ["feature"]
        ranked = graph.nodes.loc[graph.nodes["kind"].isin(wanted), "node"].tolist()
        used = self._used(len(ranked))
        test = self._on(model, self.task.test)
        kept = [test.keep(ranked[:size]) for size in used]
        return len(ranked), used, np.concatenate([test.ends, test.ablated(kept)])

    def _used(self, candidates: int) -> list[int]:
        """The sizes there are nodes for, and all of them."""
        return sorted({min(size, candidates) for size in self.sizes} - {0})

    def _on(self, model: SplicedModel, prompts: Prompts) -> Experiment:
        return Experiment(model, prompts, positions=self.positions, batch_size=self.batch_size)
