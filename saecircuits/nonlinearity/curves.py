"""The metric along a line: what is written somewhere, moved from its baseline to its clean value.

Every line has its own t: at 1 the run is clean, at 0 the member is at its baseline, and everything
after it follows. Derivatives flow back to t, so Taylor's orders of an effect come from the same
function that measures it (`theory.taylor`). An edge's line moves its source in what its target
reads alone, as `edges.interventions` does.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from saecircuits.edges.interventions import cut_without, target_change
from saecircuits.nodes.baselines import Baseline
from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.interventions import CleanRun, Spot, clean_run, metric_less, node_change
from saecircuits.nonlinearity.component_game import component_baselines
from saecircuits.splicing.components import Component, ComponentKind, moved
from saecircuits.splicing.section import Section
from saecircuits.theory.taylor import Orders, orders_along


def node_orders(
    contrast: Contrast, spots: Sequence[Spot], *, tokens_at_once: int | None = None
) -> Orders:
    """Orders of every node's effect, for every prompt: `[node, batch]`."""
    clean = clean_run(contrast)
    found: dict[Spot, Orders] = {}
    for place in sorted({spot.place for spot in spots}):
        here = [spot for spot in dict.fromkeys(spots) if spot.place == place]
        for some in _chunks(contrast, here, tokens_at_once):
            change = torch.stack([node_change(contrast, spot) for spot in some])

            def curve(share: Tensor, change: Tensor = change, place: int = place) -> Tensor:
                less = (1 - share)[..., None, None] * change
                return metric_less(contrast, clean, place, less.flatten(0, 1))

            found.update(zip(some, _rows(orders_along(curve, _lines(contrast, some))), strict=True))
    return _stacked([found[spot] for spot in spots])


def edge_orders(contrast: Contrast, edges: Sequence[tuple[Spot, Spot | None]]) -> Orders:
    """Orders of every edge's effect: `[edge, batch]`; target None is the metric."""
    clean = clean_run(contrast)
    return _stacked([_edge_orders(contrast, clean, source, target) for source, target in edges])


def component_orders(
    contrast: Contrast,
    components: Sequence[Component],
    baseline: str | Baseline,
    *,
    tokens_at_once: int | None = None,
) -> Orders:
    """Orders of every component's effect, for every prompt: `[component, batch]`."""
    clean = clean_run(contrast)
    found: dict[Component, Orders] = {}
    for one in {(c.layer, c.kind): c for c in components}.values():
        here = [c for c in dict.fromkeys(components) if (c.layer, c.kind) == (one.layer, one.kind)]
        (values,) = component_baselines(contrast, [(one.layer, one.kind)], baseline).values()
        change = values[0] - values[1]
        for some in _chunks(contrast, here, tokens_at_once):
            index = torch.tensor([c.index for c in some], device=change.device)
            only = torch.nn.functional.one_hot(index, change.shape[2]).to(change)

            def curve(
                share: Tensor, only: Tensor = only, change: Tensor = change, one: Component = one
            ) -> Tensor:
                weight = ((1 - share)[..., None] * only[:, None, :])[:, :, None, :, None]
                less = (weight * change).flatten(0, 1)
                return _metric_moved(contrast, clean, one, less)

            found.update(zip(some, _rows(orders_along(curve, _lines(contrast, some))), strict=True))
    return _stacked([found[c] for c in components])


def first_order_of_all(
    contrast: Contrast, layer: int, kind: ComponentKind, baseline: str | Baseline
) -> Float[Tensor, "n_component batch"]:
    """Order 1 of every component of one kind in one layer, from one backward pass."""
    clean = clean_run(contrast)
    component = Component(layer, kind)
    (values,) = component_baselines(contrast, [(layer, kind)], baseline).values()
    less = torch.zeros_like(values[0]).requires_grad_()
    with torch.enable_grad():
        metric = _metric_moved(contrast, clean, component, less).sum()
        (gradient,) = torch.autograd.grad(metric, less)
    return -(gradient * (values[0] - values[1])).sum((1, 3)).T


def _metric_moved(
    contrast: Contrast, clean: CleanRun, component: Component, less: Tensor
) -> Float[Tensor, "times batch"]:
    """The metric with something taken away from one layer's results, the batch laid many times."""
    model, times = contrast.model, len(less) // len(contrast.prompts)
    stream = clean.streams[component.layer].repeat(times, 1, 1)
    logits = model.forward(
        contrast.tokens.repeat(times, 1),
        operator=contrast.operator.repeated(times),
        section=Section(component.layer, stream),
        lengths=contrast.prompts.clean_lengths.repeat(times),
        edits=[moved(model, component.layer, component.kind, less)],
    )
    return contrast.metric(logits)


def _edge_orders(contrast: Contrast, clean: CleanRun, source: Spot, target: Spot | None) -> Orders:
    change = node_change(contrast, source)

    def curve(share: Tensor) -> Tensor:
        less = (1 - share[0])[:, None, None] * change
        arriving, direct = cut_without(
            contrast,
            clean,
            source.place,
            less,
            read_at=set() if target is None else {target.place},
            reads_metric=target is None,
        )
        if target is None:
            return clean.metric - direct
        moves = target_change(contrast, target, arriving, 0)
        return metric_less(contrast, clean, target.place, moves)

    return Orders(**{n: v[0] for n, v in vars(orders_along(curve, _lines(contrast, [0]))).items()})


def _chunks(contrast: Contrast, members: Sequence, tokens_at_once: int | None) -> list[list]:
    together = contrast.copies(tokens_at_once)
    return [list(members[at : at + together]) for at in range(0, len(members), together)]


def _lines(contrast: Contrast, members: Sequence) -> Float[Tensor, "member batch"]:
    return contrast.clean.tokens.new_empty(len(members), len(contrast.prompts))


def _rows(orders: Orders) -> list[Orders]:
    rows = zip(orders.measured, orders.first, orders.second, strict=True)
    return [Orders(*row) for row in rows]


def _stacked(rows: Sequence[Orders]) -> Orders:
    return Orders(
        *(
            torch.stack([getattr(row, name) for row in rows])
            for name in ("measured", "first", "second")
        )
    )
