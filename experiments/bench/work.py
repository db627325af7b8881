"""The steps that are timed, on a loaded model: nodes, bare passes, and edges by an engine."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from experiments.bench.engines import Engine
from experiments.bench.measuring import Clock
from experiments.bench.sizes import Loaded
from saecircuits.circuits import Circuit, prune
from saecircuits.edges.ablation import Wiring
from saecircuits.edges.attribute import attribute
from saecircuits.edges.blocks import EdgeBlock, EdgeEngine, chunks, expandable
from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.effects import joined, node_effects
from saecircuits.nodes.estimators import PlaceGradient, clean_gradients
from saecircuits.nodes.experiment import Experiment
from saecircuits.nodes.interventions import Spot
from saecircuits.nodes.names import METRIC, parse_node_id
from saecircuits.validation.plan import pairs_of, wire_pairs


@dataclass(frozen=True, eq=False)
class Prepared:
    """Batches of prompts with their gradients, and the ends of the edges.

    Attributes:
        targets: in forward order; of layers that others reach.
    """

    batches: tuple[Contrast, ...]
    gradients: tuple[dict[int, PlaceGradient], ...]
    sources: tuple[Spot, ...]
    targets: tuple[Spot, ...]


@dataclass(frozen=True, eq=False)
class Ready:
    """An engine set up for every batch, and the time that this took."""

    engine: Engine
    made: tuple[EdgeEngine, ...]
    clock: Clock


@dataclass(frozen=True, eq=False)
class Timed:
    """One pass over some targets.

    Attributes:
        setup: what is done once, whatever the targets.
        clock: what is done for the targets.
        edges: pairs that are connected, whatever the metric says of them.
        totals: sum of |effect| by target.
    """

    setup: Clock
    clock: Clock
    edges: int
    totals: dict[Spot, float]

    def of_all(self, share: float) -> Clock:
        """The time for all targets, where a share of them was measured."""
        return Clock(
            self.setup.cpu + self.clock.cpu / share, self.setup.wall + self.clock.wall / share
        )


def nodes(
    loaded: Loaded, baseline: str
) -> tuple[list[Contrast], list[dict[int, PlaceGradient]], int]:
    """The effects of all nodes, batch by batch: contrasts, gradients, and how many are not zero."""
    on = Experiment(loaded.model, loaded.prompts, positions=loaded.positions, baseline=baseline)
    batches = on.over_batches(lambda batch: batch)
    gradients = [clean_gradients(batch) for batch in batches]
    effects = joined(node_effects(*pair) for pair in zip(batches, gradients, strict=True)).effects
    return batches, gradients, len(np.unique(effects.nonzero()[1]))


def bare_passes(loaded: Loaded, batches: Sequence[Contrast], clock: Clock) -> None:
    """Adds one forward and backward pass without dictionaries, and then one of every encoder.

    The backward pass is from the metric to the token embedding.
    """
    model = loaded.model
    for batch in batches:
        streams, _ = model.streams(batch.tokens)
        reads = [streams[splice.site.layer + 1] for splice in model.splices]
        with clock.running():
            leaves: list[Tensor] = []

            def leaf(tokens: Tensor, leaves: list[Tensor] = leaves) -> Tensor:
                leaves.append(tokens.detach().requires_grad_())
                return leaves[0]

            with torch.enable_grad():
                metric = batch.metric(model.forward(batch.tokens, at_tokens=leaf)).sum()
                torch.autograd.grad(metric, leaves)
            with torch.no_grad():
                for splice, read in zip(model.splices, reads, strict=True):
                    splice.dictionary.encode(read)


def wired(loaded: Loaded, nodes: int) -> tuple[Contrast, Wiring, Circuit]:
    """All prompts as one contrast, and the circuit of the strongest nodes, with its edges wired."""
    graph = attribute(
        loaded.model,
        loaded.prompts,
        positions=loaded.positions,
        baseline=loaded.baseline,
        max_nodes=loaded.max_nodes,
        parts=False,
    )
    there = int(graph.nodes["kind"].isin(["feature", "error"]).sum())
    circuit = prune(graph, nodes=min(nodes, there))
    whole = graph.checked(None).changed(batch_size=len(loaded.prompts))
    (contrast,) = whole.over_batches(lambda batch: batch.as_it_is)
    return contrast, wire_pairs(whole, pairs_of(circuit)), circuit


def prepare(loaded: Loaded) -> Prepared:
    """Node effects under the model's own baseline, and from them what the edges connect."""
    batches, gradients, _ = nodes(loaded, loaded.baseline)
    if loaded.max_nodes is None:
        sources = tuple(_active(batches[0]))
        targets = [spot for spot in sources if spot.place > 0]
    else:
        sources = tuple(_kept(loaded, batches[0]))
        targets = expandable(batches[0], sources)
    return Prepared(tuple(batches), tuple(gradients), sources, tuple(targets))


def _active(contrast: Contrast) -> Iterator[Spot]:
    """Every active feature of one prompt whose units are its tokens."""
    for place in contrast.places[1:]:
        found = contrast.clean.sites[place].activations
        for token, feature in zip(found.token.tolist(), found.feature.tolist(), strict=True):
            unit = int(contrast.units.clean[0, token])
            if unit >= 0:
                yield Spot(place, unit, feature)


def _kept(loaded: Loaded, contrast: Contrast) -> list[Spot]:
    """The ends of the edges that `attribute` computes with its default settings."""
    graph = attribute(loaded.model, loaded.prompts, parts=False, max_nodes=loaded.max_nodes)
    names = {*graph.edges["source"], *graph.edges["target"]} - {METRIC}
    return sorted(parse_node_id(loaded.model, contrast.units.names, name) for name in names)


def spread(targets: Sequence[Spot], per_place: int | None) -> list[Spot]:
    """At most so many targets of every place, at even distances; all of them for None."""
    chosen = []
    for place in sorted({spot.place for spot in targets}):
        here = [spot for spot in targets if spot.place == place]
        count = len(here) if per_place is None else min(per_place, len(here))
        chosen += [here[number * len(here) // count] for number in range(count)]
    return chosen


def set_up(engine: Engine, work: Prepared) -> Ready:
    """The engine made for every batch of prompts."""
    clock = Clock()
    with clock.running():
        made = tuple(
            engine.prepare(batch, gradient, work.sources)
            for batch, gradient in zip(work.batches, work.gradients, strict=True)
        )
    return Ready(engine, made, clock)


def counted_flop(ready: Ready, targets: Sequence[Spot]) -> int:
    """FLOP of the products that an engine carries out for some targets, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        edges(ready, targets)
    return int(counter.get_total_flops())


def edges(ready: Ready, targets: Sequence[Spot]) -> Timed:
    """Every edge into some targets by an engine; what is read off the blocks is not timed."""
    clock, found, totals = Clock(), 0, {}
    for some in chunks(targets, ready.engine.targets_at_once):
        reached: dict[tuple[Spot, ...], Tensor] = {}
        for one in ready.made:
            for block in _timed(one, some, clock):
                is_edge = ((block.weights != 0) | (block.effects != 0)).any(-1)
                reached[block.sources] = reached.get(block.sources, is_edge) | is_edge
                sums = block.effects.cpu().double().abs().sum((1, 2)).tolist()
                for spot, total in zip(block.targets or (), sums, strict=True):
                    totals[spot] = totals.get(spot, 0.0) + total
        found += sum(int(is_edge.sum()) for is_edge in reached.values())
    return Timed(ready.clock, clock, found, totals)


def _timed(engine: EdgeEngine, targets: tuple[Spot, ...], clock: Clock) -> Iterator[EdgeBlock]:
    blocks = engine.into(targets)
    while True:
        with clock.running():
            block = next(blocks, None)
        if block is None:
            return
        yield block
