"""MLPs at a recorded run, as linear maps."""

from dataclasses import dataclass
from functools import reduce

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.splicing.anatomy.activations import find_activation
from saecircuits.splicing.anatomy.norms import Norm
from saecircuits.splicing.anatomy.recording import Recording, times
from saecircuits.splicing.part_hooks import MlpHooks

_ROWS = 512


@dataclass(frozen=True, eq=False)
class Mlp:
    """Derivative of an MLP at every token, as a sum over its branches.

    Attributes:
        W_out: times what the model multiplies the MLP's output by before it is added, if it does.
        branches: per branch the gate at every token, and the weights that read the MLP's input.
        norm: what the MLP's input passes first.
        post_norm: what its output passes before it joins the stream; None in most models.
    """

    W_out: Float[Tensor, "d_mlp d_model"]
    branches: tuple[tuple[Float[Tensor, "batch pos d_mlp"], Float[Tensor, "d_model d_mlp"]], ...]
    norm: Norm
    post_norm: Norm | None

    def pull_back(
        self,
        cotangent: Float[Tensor, "n_row d_model"],
        prompt: Int[Tensor, " n_row"],
        pos: Int[Tensor, " n_row"],
    ) -> Float[Tensor, "n_row d_model"]:
        """Vector-Jacobian product from what the MLP adds to the stream to the stream it reads."""
        if self.post_norm is not None:
            cotangent = self.post_norm.pull_back(cotangent, prompt, pos)
        token = prompt * self.branches[0][0].shape[1] + pos
        read = torch.zeros_like(cotangent)
        # Hidden units are many and gone again: few rows at a time stay in the processor's cache.
        for start in range(0, len(cotangent), _ROWS):
            some = slice(start, start + _ROWS)
            hidden = cotangent[some] @ self.W_out.T
            for gate, W_read in self.branches:
                read[some] += gate.flatten(0, 1)[token[some]].mul_(hidden) @ W_read.T
        return self.norm.pull_back(read, prompt, pos)

    def push(
        self, change: Float[Tensor, "*lead batch pos d_model"]
    ) -> Float[Tensor, "*lead batch pos d_model"]:
        """Jacobian-vector product from the stream that the MLP reads to what it adds to it."""
        read = self.norm.push_each(change)
        hidden = reduce(torch.add, (gate * (read @ W_read) for gate, W_read in self.branches))
        written = hidden @ self.W_out
        return written if self.post_norm is None else self.post_norm.push_each(written)


def read_mlp(
    recording: Recording,
    hooks: MlpHooks,
    *,
    ends: tuple[Tensor, Tensor],
    norms: tuple[Norm, Norm | None],
) -> Mlp:
    """An MLP of the run, its weights checked.

    Args:
        ends: what its first weights read, after the norm, and what its last weights give.
        norms: before the MLP, and after it.
    """
    name = hooks.module
    pre, post = recording[hooks.pre], recording[hooks.post]
    W_in, W_out = (recording.weight(name, weight) for weight in ("W_in", "W_out"))
    reads, gives = ends
    up = None if hooks.up is None else recording[hooks.up]
    own = recording.module(name).original_component
    act, slope = find_activation(name, pre, post, up, own=own, dtype=recording.model.dtype)
    W_out = times(W_out, recording.scale_of(f"{name} (W_out)", post @ W_out, gives))
    gates = recording.operator.gates.get(hooks.post)
    if up is None:
        recording.linear_agrees(f"{name} (W_in)", reads @ W_in, pre)
        branches = ((slope(pre) if gates is None else gates[1], W_in),)
    else:
        W_gate = recording.weight(name, "W_gate")
        recording.linear_agrees(f"{name} (W_gate)", reads @ W_gate, pre)
        recording.linear_agrees(f"{name} (W_in)", reads @ W_in, up)
        both = ((up * slope(pre), W_gate), (act(pre), W_in))
        branches = both if gates is None else ((gates[1], W_in),)
    return Mlp(W_out, branches, *norms)
