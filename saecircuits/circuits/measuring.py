"""Node faithfulness of sets of nodes, on the prompts that a graph was computed from."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from saecircuits.edges.graph import AttributionGraph, parse_node_id
from saecircuits.errors import InputError
from saecircuits.nodes.ablation import ablate_all, faithfulness, keep_all, keep_none, keep_spots
from saecircuits.nodes.contrast import Batches
from saecircuits.splicing.operators import FULL
from saecircuits.torch_state import in_own_state


class Measured:
    """A graph's prompts, kept ready to have nodes ablated.

    Args:
        graph: from `attribute`, or a stored one after `measurable`.

    Raises:
        InputError: a graph read from disk.
    """

    def __init__(self, graph: AttributionGraph) -> None:
        if graph.batches is None:
            raise InputError(
                "this graph was read from disk and cannot measure; give it its model and prompts "
                "with measurable(graph, model, task.train)"
            )
        made = graph.batches(batch_size=graph.settings.batch_size, is_kept=True)
        self.batches: Batches = made.with_operator(FULL)
        self.model, self.units = made[0].model, made[0].units.names
        ends = [keep(self.model, len(self.units)) for keep in (keep_all, keep_none)]
        self.whole, self.empty = self._metrics(ends)

    def faithfulness(self, nodes: Sequence[str]) -> float:
        """Of one set of node ids."""
        return self.of_each([nodes])[0]

    def of_each(self, sets: Sequence[Sequence[str]]) -> list[float]:
        """Of every set of node ids."""
        kept = [
            keep_spots(
                self.model,
                len(self.units),
                [parse_node_id(self.model, self.units, node) for node in nodes],
            )
            for nodes in sets
        ]
        return [faithfulness(metric, self.whole, self.empty) for metric in self._metrics(kept)]

    @in_own_state
    def _metrics(self, kept: Sequence[object]) -> NDArray[np.float64]:
        return ablate_all(self.batches, kept)  # pyright: ignore[reportArgumentType]
