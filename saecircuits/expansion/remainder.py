"""What the tangent operator leaves out, split into softmax, norms and activation functions.

Between the clean run and a baseline the model changes by `T(x) - T(x_base)`, the tangent operator
by `J (x - x_base)`. The difference is the remainder. Each of the three sources can be set to work
by itself; eight runs on the baseline's tokens give the change with every set of sources at work,
from none (the tangent operator) to all (the model). The remainder is split by letting the sources
set in one after the other, and by averaging over all orders (Shapley); the parts add up to it.
"""

from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.expansion.prompt import Baseline, Metric
from saecircuits.splicing import SplicedModel, record_operator
from saecircuits.splicing.anatomy import take_apart
from saecircuits.splicing.anatomy.recording import record
from saecircuits.splicing.partial import SOURCES, Source, TangentModel
from saecircuits.theory import in_order, shapley


@dataclass(frozen=True, eq=False)
class Remainder:
    """Changes from the baseline to the clean run, and what the tangent operator leaves out of them.

    Sources are in the order `softmax`, `norm`, `activation`, in which they also set in.

    Attributes:
        baseline: what the clean run is compared with, in words.
        stream_change: of the stream that enters the final norm; the model's own.
        stream_tangent: the tangent operator's.
        stream_in_order: per source what it adds on setting in; adds up to the difference.
        stream_shapley: the same averaged over all orders.
        metric_change: of the metric, in logits, the final norm included; and so on.
    """

    baseline: str
    metric: str
    stream_change: Float[Tensor, "pos d_model"]
    stream_tangent: Float[Tensor, "pos d_model"]
    stream_in_order: Float[Tensor, "source pos d_model"]
    stream_shapley: Float[Tensor, "source pos d_model"]
    metric_change: float
    metric_tangent: float
    metric_in_order: tuple[float, ...]
    metric_shapley: tuple[float, ...]

    @property
    def stream(self) -> Float[Tensor, "pos d_model"]:
        """What the tangent operator leaves out of the stream's change."""
        return self.stream_change - self.stream_tangent

    @property
    def share(self) -> float:
        """Its norm relative to that of the model's change, over all positions."""
        return float(self.stream.norm() / self.stream_change.norm())

    @property
    def table(self) -> pd.DataFrame:
        """A row per source, and the remainder that they add up to.

        Columns: `source`; `metric_in_order` and `metric_shapley` in logits; `stream_in_order` and
        `stream_shapley`, norms relative to the model's change, which need not add up as the parts
        point in different directions.
        """
        size = float(self.stream_change.norm())

        def sizes(parts: Tensor) -> list[float]:
            return [*(parts.flatten(1).norm(dim=1) / size).tolist(), self.share]

        left = self.metric_change - self.metric_tangent
        return pd.DataFrame(
            {
                "source": [*SOURCES, "remainder"],
                "metric_in_order": [*self.metric_in_order, left],
                "metric_shapley": [*self.metric_shapley, left],
                "stream_in_order": sizes(self.stream_in_order),
                "stream_shapley": sizes(self.stream_shapley),
            }
        )


def tangent_remainder(
    model: SplicedModel, tokens: Int[Tensor, " pos"], baseline: Baseline, metric: Metric
) -> Remainder:
    """The remainder at a prompt, from eight runs on the baseline and one on the prompt."""
    held = record_operator(model.bridge, tokens[None], kind="frozen")
    tangent = TangentModel(record(model, tokens[None], held), take_apart(model, tokens[None], held))
    clean, logits = tangent.run(tokens[None], frozenset(SOURCES))
    changes, metrics = [], []
    for members in range(2 ** len(SOURCES)):
        moving: set[Source] = {source for bit, source in enumerate(SOURCES) if members >> bit & 1}
        stream, moved = tangent.run(baseline.tokens[None], moving, at_tokens=baseline.at_tokens)
        changes.append(clean[0] - stream[0])
        metrics.append(metric.of(logits[0, metric.position] - moved[0, metric.position]))
    streams, values = torch.stack(changes), torch.stack(metrics)
    order = range(len(SOURCES))
    return Remainder(
        baseline=baseline.name,
        metric=metric.name,
        stream_change=streams[-1],
        stream_tangent=streams[0],
        stream_in_order=in_order(streams, order),
        stream_shapley=shapley(streams),
        metric_change=float(values[-1]),
        metric_tangent=float(values[0]),
        metric_in_order=tuple(in_order(values, order).tolist()),
        metric_shapley=tuple(shapley(values).tolist()),
    )
