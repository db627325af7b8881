"""`linearity`: how linear is the model?

1. effects of single members, measured, against Taylor's first two orders: nodes and edges of the
   graph, and components with neurons among them, strongest and weaker ones alike;
2. agreement of either order with the measured effect, by kind and layer;
3. the profile of the metric on the line from the corrupted to the clean stream, layer by layer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from saecircuits.edges.attribute import attribute
from saecircuits.errors import InputError
from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.experiment import Experiment, experiment_of
from saecircuits.nodes.names import METRIC
from saecircuits.nodes.units import Positions
from saecircuits.nonlinearity.curves import (
    component_orders,
    edge_orders,
    first_order_of_all,
    node_orders,
)
from saecircuits.nonlinearity.profile import profile
from saecircuits.splicing import SplicedModel
from saecircuits.splicing.components import Component, ComponentKind, width
from saecircuits.tasks import Prompts
from saecircuits.theory.taylor import Orders
from saecircuits.torch_state import in_own_state
from saecircuits.validation.agreement import plain_agreement
from saecircuits.validation.calibration import spread_ranks

# What `agreement` calls the figures of `plain_agreement`.
_FIGURES = {"pearson": "pearson", "sign": "sign_agreement", "error": "error"}
_WHOLE: tuple[ComponentKind, ...] = ("attention", "mlp", "head")


@dataclass(frozen=True, eq=False)
class Linearity:
    """How linear the model is between the two prompts of every pair; effects in the metric's units.

    Attributes:
        members: one row per member: `member`, `kind` (`feature`, `error`, `token`, `edge`,
            `attention`, `mlp`, `head`, `neuron`), `layer` (of an edge its source's; -1 for
            tokens), and the means over prompts `measured`, `first`, `second`.
        agreement: by `kind` and `layer` (`all`, or the layer): `members`; for order 1 and 2, over
            all members and prompts: `pearson`, `sign` (share of effects over a thousandth of the
            largest whose sign is right) and `error` (sum of |measured - estimated| over sum of
            |measured|), each with `_1` or `_2`.
        profile: by layer, `nonlinearity.profile`.
        curves: the metric over `share` by `layer`, the same.
    """

    members: pd.DataFrame
    agreement: pd.DataFrame
    profile: pd.DataFrame
    curves: pd.DataFrame

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {name: table.to_dict("records") for name, table in vars(self).items()}


@in_own_state
def linearity(
    model: SplicedModel | Experiment,
    prompts: Prompts | None = None,
    *,
    positions: Positions | None = None,
    n_nodes: int = 60,
    n_edges: int = 30,
    n_neurons: int = 15,
    points: int = 11,
    batch_size: int | None = None,
    seed: int = 0,
) -> Linearity:
    """Taylor's orders against measured effects, and the linearity profile.

    The baseline is the corrupted prompt, the model is as it is, and dictionaries pass on what they
    are given (`error_policy="recompute"`), so that the effect of a feature is that of a direction
    in the model. An edge ends in a feature, whose threshold it may cross.

    Args:
        n_nodes: features, error nodes and tokens measured, spread evenly over the ranking of those
            200 of largest |effect|; `n_edges` likewise, over all edges among them.
        n_neurons: neurons measured in every layer, spread evenly over the 200 strongest by order 1.
        points: of every curve, an odd number.

    Raises:
        InputError: numbers below 1, or an even number of points.
        UnknownNameError: positions that do not exist.
    """
    for name, value in {"n_nodes": n_nodes, "n_edges": n_edges, "n_neurons": n_neurons}.items():
        if value < 1:
            raise InputError(f"{name} is {value}; it must be at least 1")
    if points < 3 or points % 2 == 0:
        raise InputError(f"points is {points}; it must be odd and at least 3")
    experiment = experiment_of(
        model,
        prompts,
        function="linearity",
        positions=positions,
        batch_size=batch_size,
        baseline="corrupted",
        error_policy="recompute",
        linearization="full",
    ).changed(keeps_runs=True, seed=seed)
    graph = attribute(experiment, max_nodes=200, parts=False)
    nodes = graph.nodes[graph.nodes["kind"] != METRIC].head(200)
    chosen = nodes.iloc[spread_ranks(len(nodes), n_nodes)]
    spots = [experiment.spot(node) for node in chosen["node"]]
    edges = graph.edges.iloc[spread_ranks(len(graph.edges), n_edges)]
    layer_of = dict(zip(graph.nodes["node"], graph.nodes["layer"], strict=True))
    pairs = [experiment.edge(*pair) for pair in zip(edges["source"], edges["target"], strict=True)]
    components = _components(experiment, n_neurons)
    labels = pd.DataFrame(
        [
            *zip(chosen["node"], chosen["kind"], chosen["layer"], strict=True),
            *(
                (f"{source} -> {target}", "edge", layer_of[source])
                for source, target in zip(edges["source"], edges["target"], strict=True)
            ),
            *((one.name, one.kind, one.layer) for one in components),
        ],
        columns=["member", "kind", "layer"],
    )
    table = _Effects.over(
        experiment,
        lambda batch: [
            node_orders(batch, spots),
            edge_orders(batch, pairs),
            component_orders(batch, components, "corrupted"),
        ],
    )
    figures, curves = profile(experiment, points=points, seed=seed)
    members = labels.assign(
        measured=table.measured.mean(1), first=table.first.mean(1), second=table.second.mean(1)
    )
    return Linearity(members, table.agreement(labels), figures, curves)


def _components(experiment: Experiment, n_neurons: int) -> list[Component]:
    """Every attention layer, MLP and head, and some neurons of every layer."""
    model = experiment.model
    found = [
        Component(layer, kind, index)
        for kind in _WHOLE
        for layer in range(model.n_layers)
        for index in range(width(model, kind))
    ]
    for layer in range(model.n_layers):
        first = experiment.over_batches(
            lambda batch, layer=layer: first_order_of_all(batch, layer, "neuron", "corrupted")
        )
        size = torch.cat(first, dim=1).mean(1).abs()
        strongest = size.argsort(descending=True, stable=True)[:200]
        chosen = strongest[spread_ranks(len(strongest), n_neurons).tolist()]
        found += [Component(layer, "neuron", index) for index in chosen.tolist()]
    return found


@dataclass(frozen=True, eq=False)
class _Effects:
    """Measured and estimated effects, `[member, prompt]`."""

    measured: np.ndarray
    first: np.ndarray
    second: np.ndarray

    @classmethod
    def over(cls, experiment: Experiment, of: Callable[[Contrast], Sequence[Orders]]) -> "_Effects":
        def stacked(batch: Contrast) -> torch.Tensor:
            orders = of(batch)
            return torch.cat(
                [
                    getattr(order, name).cpu().double()
                    for name in ("measured", "first", "second")
                    for order in orders
                ]
            )

        return cls(*np.split(experiment.per_prompt(stacked), 3))

    def agreement(self, labels: pd.DataFrame) -> pd.DataFrame:
        """The figures by kind, and by kind and layer."""
        rows = []
        for kind in labels["kind"].unique():
            of_kind = (labels["kind"] == kind).to_numpy()
            layers = sorted(labels.loc[of_kind, "layer"].unique())
            groups = [("all", of_kind)]
            if len(layers) > 1:
                groups += [(str(one), of_kind & (labels["layer"] == one)) for one in layers]
            for layer, inside in groups:
                row: dict[str, Any] = {"kind": kind, "layer": layer, "members": int(inside.sum())}
                for order, estimate in ((1, self.first), (2, self.second)):
                    found = plain_agreement(estimate[inside].ravel(), self.measured[inside].ravel())
                    row |= {
                        f"{name}_{order}": float("nan") if found[of] is None else found[of]
                        for name, of in _FIGURES.items()
                    }
                rows.append(row)
        return pd.DataFrame(rows)
