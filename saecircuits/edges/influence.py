"""Replacement and completeness score of every prompt's graph, while its edges are computed.

`theory.graph_scores` defines them by going back from the metric. Here the same is gathered going
forward, so that no edge has to be kept: targets come in forward order, and all inputs of one
together. With B the shares of a node v's inputs by size,

    t_v = sum B[v, u] t_u        1 for tokens         of what flows into v, what began in tokens
    e_v = sum B[v, u] e_u        1 for error nodes    and in error nodes
    c_v = 1 - sum over errors u of B[v, u] + sum B[v, u] c_u
    n_v = 1 + sum B[v, u] n_u                         (1 and 1 for tokens and error nodes)

replacement is `t / (t + e)` and completeness `c / n`, both of the metric.

The graph of a prompt has the nodes that edges were computed among. Its edges are linear: the gates
of targets are held, whatever thresholds the graph's own edges cross. Edges into error nodes are no
part of it, whatever the error policy: circuit-tracer has none, and of a feature at one token an
input's share is the same under both. A feature into which nothing comes on a prompt is no node of
its graph: it is off there, and only its baseline is not (circuit-tracer's nodes are the active
ones), or it was not expanded. So t + e is 1.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.edges.blocks import EdgeBlock
from saecircuits.nodes.contrast import TOKENS
from saecircuits.nodes.interventions import ERROR, Spot


class InfluenceFlow:
    """Takes every edge of a graph, chunk by chunk of targets, and remembers six sums per node.

    Args:
        nodes: every node that edges may begin in, in forward order; the metric comes after the
            last.
    """

    def __init__(self, nodes: Sequence[Spot]) -> None:
        kinds = [(spot.place == TOKENS, spot.feature == ERROR) for spot in nodes]
        is_token, is_error = torch.tensor(kinds, device="cpu").reshape(-1, 2).bool().T
        begins, is_error = is_token | is_error, is_error & ~is_token
        # Rows of a state: t, e, c, n, then 1 for error nodes, and 1 for all that are there.
        self._initial = torch.stack([is_token, is_error, begins, begins, is_error, begins])
        self._is_feature = ~begins.numpy()
        # By batch of prompts.
        self._states: dict[int, Float[Tensor, "6 n_node batch"]] = {}
        self._to_metric: dict[int, Float[Tensor, "n_node batch"]] = {}
        self._sums: dict[int, Float[Tensor, "6 n_target batch"]] = {}
        self._targets = np.zeros(0, dtype=np.int64)

    def add(
        self,
        batch: int,
        block: EdgeBlock,
        sources: Int[np.ndarray, " n_source"],
        targets: Int[np.ndarray, " n_target"],
    ) -> None:
        """Edges of one batch of prompts.

        Args:
            batch: its number.
            sources, targets: numbers of the block's nodes.
        """
        size = block.linear.detach().abs()
        at = torch.as_tensor(sources.astype(np.int64), device=size.device)
        if batch not in self._states:
            n_prompt = size.shape[-1]
            state = self._initial.to(size)[..., None]
            self._states[batch] = state.expand(-1, -1, n_prompt).clone()
            self._to_metric[batch] = size.new_zeros(state.shape[1], n_prompt)
        if block.targets is None:
            self._to_metric[batch][at] += size[0]
            return
        # Of a chunk all blocks have the same targets.
        self._targets = targets.astype(np.int64)
        read = _weighted(size, self._states[batch][:, at])
        known = self._sums.get(batch)
        self._sums[batch] = read if known is None else known + read

    def close(self) -> None:
        """All edges into the targets that came since the last time have been added."""
        chosen = self._is_feature[self._targets]
        for batch, sums in self._sums.items():
            state = self._states[batch]
            rows = torch.as_tensor(self._targets[chosen], device=state.device)
            state[:, rows] = _flow(sums[:, torch.as_tensor(chosen, device=state.device)])
        self._sums.clear()

    def scores(self) -> Float[np.ndarray, "2 prompt"]:
        """Replacement and completeness of every prompt; NaN where nothing reaches its metric."""
        found = [np.zeros((2, 0))]
        for batch, state in sorted(self._states.items()):
            sums = _weighted(self._to_metric[batch][None], state)
            tokens, errors, complete, count, *_ = _flow(sums)[:, 0]
            both = torch.stack([tokens / (tokens + errors), complete / count])
            found.append(both.cpu().double().numpy())
        return np.concatenate(found, axis=1)


def _weighted(
    size: Float[Tensor, "n_target n_source batch"], state: Float[Tensor, "6 n_source batch"]
) -> Float[Tensor, "6 n_target batch"]:
    return torch.einsum("tsb,ksb->ktb", size, state)


def _flow(sums: Float[Tensor, "6 n_target batch"]) -> Float[Tensor, "6 n_target batch"]:
    """The state of nodes from the sums over their inputs, each times its size."""
    tokens, begun, complete, count, errors, total = sums
    there = (total > 0).to(total)
    means = torch.stack([tokens, begun, total - errors + complete, total + count])
    means = torch.where(total > 0, means / total, 0.0)
    return torch.cat([means, torch.stack([torch.zeros_like(there), there])])
