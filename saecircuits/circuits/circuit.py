"""A circuit: the nodes and edges that are kept, and everything that says how they were chosen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from saecircuits.edges.settings import AttributionSettings
from saecircuits.errors import InputError
from saecircuits.nodes.baselines import Baseline
from saecircuits.nodes.experiment import Experiment, experiment_of
from saecircuits.nodes.fitting import check_recorded_front
from saecircuits.nodes.names import METRIC
from saecircuits.splicing import SplicedModel, require_same_model
from saecircuits.tasks import Prompts


@dataclass(frozen=True, eq=False, repr=False)
class Circuit:
    """Kept nodes and edges of an attribution graph.

    Attributes:
        nodes: rows of the graph's nodes, strongest first; the metric is the first row.
        edges: rows of the graph's edges between these nodes, strongest first.
        edge_parts: rows of the graph's parts of these edges.
        candidates: ids of every node of the graph that could have been kept, so that random
            circuits of the same size and layer profile can be drawn.
        settings: how the graph was computed.
        selection: how the circuit was chosen from it.
        summary: figures about the graph as a whole.
        provenance: model, dictionaries and prompts, by digest.
    """

    nodes: pd.DataFrame
    edges: pd.DataFrame
    edge_parts: pd.DataFrame
    candidates: Sequence[str]
    settings: AttributionSettings
    selection: Mapping[str, Any]
    summary: Mapping[str, Any]
    provenance: Mapping[str, Any]

    def __repr__(self) -> str:
        return (
            f"Circuit({self.size} of {len(self.candidates)} features and error nodes, "
            f"{len(self.edges)} edges)"
        )

    @property
    def members(self) -> tuple[str, ...]:
        """Ids of the features and error nodes that are kept: what ablation keeps clean."""
        is_member = self.nodes["kind"].isin(["feature", "error"])
        return tuple(self.nodes.loc[is_member, "node"])

    @property
    def size(self) -> int:
        """The number of members: a node is a feature or an error node in one unit."""
        return len(self.members)

    @property
    def n_errors(self) -> int:
        """How many of the members are error nodes."""
        return int((self.nodes["kind"] == "error").sum())

    def held_out(
        self,
        model: SplicedModel | Experiment,
        prompts: Prompts | None,
        *,
        function: str,
        baseline: str | Baseline | None,
        reference: Prompts | None,
        batch_size: int | None,
        seed: int,
    ) -> Experiment:
        """The experiment that judges the circuit: on prompts that did not choose it.

        Args:
            model: the circuit's; or an experiment, which has the choices below.
            function: that asks, for messages.
            seed: of the baseline `resample`, where no experiment is given.

        Raises:
            InputError: another model than the circuit's, the prompts that chose it, or an
                experiment in which its nodes are others.
        """
        own = {name: getattr(self.settings, name) for name in ("positions", "error_policy")}
        choices = {"baseline": baseline, "reference": reference, "batch_size": batch_size}
        if isinstance(model, Experiment):
            for name, wanted in own.items():
                if (given := getattr(model, name)) != wanted:
                    raise InputError(
                        f"the circuit was found with {name}={wanted!r} and the experiment has "
                        f"{given!r}; give an experiment with the circuit's"
                    )
        else:
            choices |= own | {"seed": seed, "memory_limit": self.settings.memory_limit}
        experiment = experiment_of(model, prompts, function=function, **choices)
        require_same_model(experiment.model, self.provenance, what="circuit")
        check_recorded_front(self.provenance, experiment.prompts)
        if experiment.prompts.digest == self.provenance.get("prompts"):
            raise InputError(
                f"{function} was given the prompts that chose the circuit; give held-out prompts, "
                "such as task.test"
            )
        return experiment

    def strongest_edges(self, count: int) -> pd.DataFrame:
        """The edges of largest |effect|, those to the metric included."""
        return self.edges.head(count)

    def edges_into(self, node: str = METRIC) -> pd.DataFrame:
        """The edges that end in a node, strongest first."""
        return self.edges[self.edges["target"] == node]


def parts_of(edge_parts: pd.DataFrame, edges: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table of parts that belong to some edges, in their order."""
    ends = ["source", "target"]
    is_theirs = pd.MultiIndex.from_frame(edge_parts[ends]).isin(
        pd.MultiIndex.from_frame(edges[ends])
    )
    return edge_parts[is_theirs].reset_index(drop=True)
