"""The linear operator behind a graph: prompt by prompt and token by token, before any mean.

A graph's nodes are pooled, over prompts and over the tokens of a span, and products of pooled
weights are not the pooled products. So paths are counted on *cells*: a cell is a node in one prompt
at one token, and a feature there has one activation. Between cells

    W[v, u] = da_v / da_u, direct        (for the metric dm / da_u)

from an engine that is exact, always at the clean run and under the graph's
linearization, whatever the estimator that ranks its nodes. Tokens and error nodes write a vector
each; as the beginning of a path they count as their one whole change (value 1, weight per whole
change). No path passes through an error node: what comes into it has no single direction. What is
lost by that is known: `into_errors` is, per unit of each cell, the sum over error nodes of
`dm/de . de/da_u`, everything that these do from there on (none under the policy `hold`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from saecircuits.edges.blocks import EdgeBlock, chunks, expandable
from saecircuits.edges.edge_stage import choose_engine
from saecircuits.edges.engines import ChosenEngine
from saecircuits.edges.graph import AttributionGraph
from saecircuits.errors import InputError
from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.effects import node_effects
from saecircuits.nodes.estimators import clean_gradients
from saecircuits.nodes.experiment import Experiment
from saecircuits.nodes.interventions import ERROR, Spot
from saecircuits.nodes.names import METRIC
from saecircuits.nodes.units import NO_UNIT, Units
from saecircuits.theory.pooled_paths import PooledGraph

# A component's name where a link's effect is exactly zero and cannot be told apart.
UNSPLIT: Final = "unsplit"
_WHOLE: Final = ""  # all components together
_PROMPTS_AT_ONCE: Final = 8


@dataclass(frozen=True, eq=False)
class LinearGraph:
    """Cells and the links between their nodes.

    Attributes:
        nodes: ids in forward order, the metric last; they number `pooled`'s nodes.
        pooled: cells and links.
        parts: of every link, the component that it is; empty for all of them together.
        change: of every cell, clean minus baseline activation; 1 for tokens and error nodes, whose
            links count per whole change, and 0 for the metric.
        effect: of every cell, its gradient effect on its prompt's metric; 0 for the metric.
        into_errors: of every cell, per unit of `change`, what it does to its prompt's metric
            through error nodes that it reaches directly.
        average: of every cell, its weight in the mean over prompts, and for features over the
            tokens of the span in each.
    """

    nodes: tuple[str, ...]
    pooled: PooledGraph
    parts: tuple[str, ...]
    change: Float[np.ndarray, " n_cell"]
    effect: Float[np.ndarray, " n_cell"]
    into_errors: Float[np.ndarray, " n_cell"]
    average: Float[np.ndarray, " n_cell"]

    def cells_of(self, numbers: Sequence[int]) -> NDArray[np.bool_]:
        """Which cells belong to some nodes, given by number."""
        return np.isin(self.pooled.cell_node, np.asarray(numbers, dtype=int))


def linear_graph(
    graph: AttributionGraph, experiment: Experiment | None = None, *, is_split: bool = False
) -> LinearGraph:
    """The linear operator of a graph's prompts among the nodes that its edges join.

    Every link among these nodes is there, also what the graph had no room for (`max_edges`).

    Args:
        experiment: what the graph was computed in; None for the graph's own.
        is_split: a link for every component that carries an edge.

    Raises:
        InputError: a graph read from disk without an experiment; or components asked for where the
            factorised engine, which tells them apart, does not cover the model.
    """
    batch_size = 1 if is_split else _PROMPTS_AT_ONCE
    known = replace(graph.checked(experiment), batch_size=batch_size, keeps_runs=False)
    settings = graph.settings.model_copy(update={"estimator": "gradient", "parts": is_split})
    engine = choose_engine(known.model, settings)
    if is_split and not engine.tells_parts:
        raise InputError(
            f"paths through components need the factorised engine, but this graph's is the "
            f"{engine.described}; ask for paths by edges"
        )
    # What equals its baseline on every prompt has no row among the nodes, and no effect.
    sizes = graph.nodes.set_index("node")["effect"].abs().to_dict()
    joined = (set(graph.edges["source"]) | set(graph.edges["target"])) - {METRIC}
    spots = {name: known.spot(name) for name in joined}
    if not spots:
        raise InputError("the graph has no edges, so it has no paths; raise max_nodes")
    builder = LinearGraphBuilder(
        list(spots.items()),
        [spots[name] for name in joined if sizes.get(name, 0.0) >= settings.target_threshold],
        n_prompt=int(graph.summary["prompts"]),
        is_split=is_split,
    )
    known.over_batches(lambda batch: builder.add(batch, engine))
    return builder.result()


class LinearGraphBuilder:
    """Takes contrasts one after the other.

    Args:
        nodes: id and spot of every node, in any order; the metric is none of them.
        targets: those that links may end in.
        n_prompt: over all contrasts.
        is_split: a link for every component; then each contrast must hold one prompt.
    """

    def __init__(
        self,
        nodes: Sequence[tuple[str, Spot]],
        targets: Sequence[Spot],
        *,
        n_prompt: int,
        is_split: bool,
    ) -> None:
        nodes = sorted(nodes, key=lambda node: node[1])
        self._names = (*(name for name, _ in nodes), METRIC)
        self._spots = [spot for _, spot in nodes]
        self._is_target = np.isin(range(len(nodes) + 1), [*map(self._spots.index, targets)])
        self._n_prompt, self._is_split = n_prompt, is_split
        self._part_numbers: dict[str, int] = {}
        self._n_cell = 0
        # Per contrast: node, change, effect, into_errors, average of cells; row, column, part,
        # weight of entries.
        self._cells: list[tuple[np.ndarray, ...]] = []
        self._entries: list[tuple[np.ndarray, ...]] = []

    def add(self, contrast: Contrast, engine: ChosenEngine) -> None:
        """The cells and links of some prompts."""
        assert not self._is_split or len(contrast.prompts) == 1, "parts come prompt by prompt"
        found = self._find_cells(contrast)
        # With every token a unit of its own the engine's edges are the links between cells.
        by_token = replace(contrast, units=_tokens_as_units(contrast.units))
        gradients = clean_gradients(by_token)
        effects = node_effects(by_token, gradients)
        columns = np.array([effects.index.column(spot) for spot in found.spots], dtype=int)
        metric = np.arange(len(contrast.prompts))
        self._cells.append(
            (
                np.r_[found.node, np.full(len(metric), len(self._spots))],
                np.r_[found.change, np.zeros(len(metric))],
                np.r_[
                    np.asarray(effects.effects[found.prompt, columns[found.spot]]).ravel(),
                    np.zeros(len(metric)),
                ],
                (into_errors := np.zeros(len(found.node) + len(metric))),
                np.r_[found.average, np.full(len(metric), 1 / self._n_prompt)],
            )
        )
        made = engine.prepare(by_token, gradients, found.spots)
        number = {spot: row for row, spot in enumerate(found.spots)}
        targets = [found.spots[row] for row in np.unique(found.spot[self._is_target[found.node]])]
        for some in (None, *chunks(expandable(by_token, targets), engine.most_targets)):
            for block in made.into(some):
                columns = found.cell[[number[spot] for spot in block.sources]]
                if block.targets is None:
                    rows = (len(found.node) + metric)[None]
                    is_error = np.array([False])
                else:
                    rows = found.cell[[number[spot] for spot in block.targets]]
                    rows = np.where(self._is_target[found.node[rows]], rows, -1)
                    is_error = np.array([spot.feature == ERROR for spot in block.targets])
                self._add_errors(block, is_error, rows, columns, found.change, into_errors)
                self._add_links(block, is_error, rows, columns)
        self._n_cell += len(found.node) + len(metric)

    def result(self) -> LinearGraph:
        """Everything that was added."""
        node, change, effect, into_errors, average = map(
            np.concatenate, zip(*self._cells, strict=True)
        )
        row, column, part, weight = map(np.concatenate, zip(*self._entries, strict=True))
        # Cells come contrast by contrast; `pooled` wants those of one node side by side.
        order = np.argsort(node, kind="stable")
        place = np.empty(len(order), dtype=int)
        place[order] = np.arange(len(order))
        n_node, n_part = len(self._names), len(self._part_numbers)
        # One number for (source, target, component): equal numbers are entries of one link.
        key = (node[column] * n_node + node[row]) * n_part + part
        links, entry_link = np.unique(key, return_inverse=True)
        by_link = np.argsort(entry_link, kind="stable")
        ends = links // n_part
        part_names = list(self._part_numbers)
        pooled = PooledGraph(
            n_node=n_node,
            cell_node=node[order],
            link_source=ends // n_node,
            link_target=ends % n_node,
            entry_link=entry_link[by_link],
            entry_row=place[row[by_link]],
            entry_column=place[column[by_link]],
            entry_weight=weight[by_link],
        )
        return LinearGraph(
            nodes=self._names,
            pooled=pooled,
            parts=tuple(part_names[number] for number in links % n_part),
            change=change[order],
            effect=effect[order],
            into_errors=into_errors[order],
            average=average[order],
        )

    def _find_cells(self, contrast: Contrast) -> "_Cells":
        """Every node in every prompt at every token where it is active or changes."""
        units = contrast.units.clean
        parts = []
        for place in contrast.places:
            numbers = [n for n, spot in enumerate(self._spots) if spot.place == place]
            if not numbers:
                continue
            unit = torch.tensor([self._spots[n].unit for n in numbers], device=units.device)
            feature = torch.tensor([self._spots[n].feature for n in numbers], device=units.device)
            inside = units[..., None] == unit
            change = torch.ones(inside.shape, dtype=contrast.model.dtype, device=units.device)
            is_feature = feature != ERROR
            if bool(is_feature.any()):
                known = feature[is_feature]
                moved = contrast.feature_change(place).of(known)
                active = contrast.clean.sites[place].activations.of(known) != 0
                inside[..., is_feature] &= active | (moved != 0)
                change[..., is_feature] = moved
            prompt, pos, which = inside.nonzero().unbind(1)
            tokens = (units[prompt] == unit[which][:, None]).sum(1)
            is_whole = (feature == ERROR)[which]
            parts.append(
                (
                    np.array(numbers)[which.cpu().numpy()],
                    _numpy(prompt),
                    _numpy(pos),
                    _numpy(change[prompt, pos, which]),
                    # A whole is no mean over its tokens: each writes a change of its own.
                    np.where(_numpy(is_whole), 1.0, 1 / _numpy(tokens)) / self._n_prompt,
                )
            )
        node, prompt, pos, change, average = map(np.concatenate, zip(*parts, strict=True))
        keys: dict[Spot, int] = {}
        spot = np.array(
            [
                keys.setdefault(replace(self._spots[n], unit=int(at)), len(keys))
                for n, at in zip(node, pos, strict=True)
            ],
            dtype=int,
        )
        cell = np.full((len(keys), len(contrast.prompts)), -1)
        cell[spot, prompt] = np.arange(len(node))
        return _Cells(list(keys), cell, node, prompt, spot, change, average)

    def _add_errors(
        self,
        block: EdgeBlock,
        is_error: np.ndarray,
        rows: np.ndarray,
        columns: np.ndarray,
        change: np.ndarray,
        into_errors: np.ndarray,
    ) -> None:
        if not is_error.any():
            return
        # dm/de . de/da_u is the edge's effect per unit of what u changes by.
        effects = _numpy(block.effects) * (is_error[:, None] & (rows >= 0))[:, None]
        total = effects.sum(0)
        source, prompt = np.nonzero((columns >= 0) & (total != 0))
        cell = columns[source, prompt]
        into_errors[cell] += total[source, prompt] / change[cell]

    def _add_links(
        self, block: EdgeBlock, is_error: np.ndarray, rows: np.ndarray, columns: np.ndarray
    ) -> None:
        weights = _numpy(block.weights)
        exists = (rows[:, None] >= 0) & (columns[None] >= 0) & ~is_error[:, None, None]
        target, source, prompt = np.nonzero(exists & (weights != 0))
        row, column = rows[target, prompt], columns[source, prompt]
        weight = weights[target, source, prompt]
        if not self._is_split:
            self._add_entries(row, column, _WHOLE, weight)
            return
        # Components are told apart in effects, weight times change; in one prompt at one token the
        # change is one number, so weights divide as effects do. Where it is 0 they cannot.
        effect = _numpy(block.effects)[target, source, prompt]
        is_known = effect != 0
        self._add_entries(row, column, UNSPLIT, np.where(is_known, 0.0, weight))
        by_name: dict[str, NDArray[np.float64]] = {}
        for part, values in zip(block.parts, _numpy(block.part_effects), strict=True):
            by_name[part.name] = by_name.get(part.name, 0.0) + values[target, source]
        per_effect = np.divide(weight, effect, out=np.zeros_like(weight), where=is_known)
        for name, values in by_name.items():
            self._add_entries(row, column, name, values * per_effect)

    def _add_entries(
        self, row: np.ndarray, column: np.ndarray, part: str, weight: np.ndarray
    ) -> None:
        number = self._part_numbers.setdefault(part, len(self._part_numbers))
        (kept,) = np.nonzero(weight)
        first = self._n_cell
        self._entries.append(
            (row[kept] + first, column[kept] + first, np.full(len(kept), number), weight[kept])
        )


@dataclass(frozen=True, eq=False)
class _Cells:
    """The cells of some prompts.

    Attributes:
        spots: nodes token by token, as an engine takes them.
        cell: `[n_spot, batch]`: number of the cell; -1 where there is none.
        node, prompt, spot, change, average: of every cell.
    """

    spots: list[Spot]
    cell: np.ndarray
    node: np.ndarray
    prompt: np.ndarray
    spot: np.ndarray
    change: np.ndarray
    average: np.ndarray


def _tokens_as_units(units: Units) -> Units:
    """Every token a unit of its own, if it was in one."""
    pos = torch.arange(units.clean.shape[1], device=units.clean.device)
    names = tuple(str(number) for number in pos.tolist())
    clean = torch.where(units.clean == NO_UNIT, NO_UNIT, pos)
    return Units(names, names, clean, units.corrupted)


def _numpy(tensor: Tensor) -> np.ndarray:
    tensor = tensor.detach().cpu()  # before it is widened: not every device has float64
    return (tensor.double() if tensor.is_floating_point() else tensor).numpy()
