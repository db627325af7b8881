"""The model's own components as functions of the stream that each of them reads.

Every call runs one block of the bridge on streams that are put in its place, and reads what the
component adds; nothing is approximated. The MLP of a sequential block is given a stream of its own
by an attention layer that adds nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.splicing.hooking import Hook, recording
from saecircuits.splicing.model import SplicedModel
from saecircuits.splicing.operators import Operator
from saecircuits.splicing.part_hooks import BlockHooks, block_hooks
from saecircuits.splicing.section import Section


@dataclass(frozen=True, eq=False)
class ComponentRuns:
    """What attention layers, heads and MLPs write, whatever they read.

    Attributes:
        tokens: the prompt, which some models look at again behind the embedding.
    """

    model: SplicedModel
    tokens: Int[Tensor, " pos"]

    def attention(
        self, layer: int, stream: Float[Tensor, "batch pos d_model"]
    ) -> Float[Tensor, "batch pos d_model"]:
        """What the attention layer adds to the stream if it reads these streams."""
        return self._added(layer, stream, self._hooks(layer).attention_out, {})

    def mlp(
        self, layer: int, stream: Float[Tensor, "batch pos d_model"]
    ) -> Float[Tensor, "batch pos d_model"]:
        """What the MLP adds to the stream if it reads these streams."""
        hooks = self._hooks(layer)
        silent = {hooks.attention_out: torch.zeros_like(stream)}
        return self._added(layer, stream, hooks.mlp_out, silent)

    def head(
        self,
        layer: int,
        head: int,
        stream: Float[Tensor, "batch pos d_model"],
        results: Float[Tensor, "pos head d_head"],
    ) -> Float[Tensor, "batch pos d_model"]:
        """What the attention layer adds if one head reads these streams.

        Args:
            results: what the other heads give, before the output weights.
        """
        name = self._hooks(layer).attention.heads

        def others_as_they_were(tensor: Tensor, hook: object) -> Tensor:
            mixed = results.expand_as(tensor).clone()
            mixed[:, :, head] = tensor[:, :, head]
            return mixed

        added = self._hooks(layer).attention_out
        return self._added(layer, stream, added, {}, edits=[(name, others_as_they_were)])

    def _hooks(self, layer: int) -> BlockHooks:
        return block_hooks(layer, self.model.hook_points)

    @torch.no_grad()
    def _added(
        self,
        layer: int,
        stream: Tensor,
        name: str,
        constants: dict[str, Tensor],
        *,
        edits: Sequence[Hook] = (),
    ) -> Tensor:
        operator = Operator(kind="full", constants=constants, gates={}, mixtures={})
        tokens = self.tokens.expand(len(stream), -1)
        section = Section(first=layer, stream=stream, stop=layer + 1)
        with recording(self.model.bridge, self.model.hook_points, [name]) as seen:
            self.model.forward(tokens, operator=operator, section=section, edits=edits)
        return seen[name].reshape(stream.shape).to(stream.dtype)
