"""The model with some of its non-linearities at work and the others at their tangent.

Three sources of non-linearity, at one prompt:

    softmax      attention patterns; held, they are constants
    norm         what norms divide by; held, constants
    activation   activation functions; held, their tangent at the prompt,
                 phi(z0) + phi'(z0)(z - z0), in both branches where the MLP is gated

With all held this is the tangent operator: the model to first order in the stream, patterns and
norm scales held. With none held it is the model. Each reproduces the run at the prompt.
"""

from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.splicing.anatomy import Anatomy
from saecircuits.splicing.anatomy.recording import Recording
from saecircuits.splicing.hooking import Hook, recording, remember
from saecircuits.splicing.model import AtTokens
from saecircuits.splicing.operators import Operator
from saecircuits.splicing.part_hooks import MlpHooks, final_norm_hooks, norm_scale_hooks
from saecircuits.splicing.sites import LOGITS_HOOK

Source: TypeAlias = Literal["softmax", "norm", "activation"]
SOURCES: Final[tuple[Source, ...]] = ("softmax", "norm", "activation")


@dataclass(frozen=True, eq=False)
class TangentModel:
    """The frozen operator at a prompt, whose parts can be set to work one by one.

    Attributes:
        recording: the run at the prompt, under the operator `frozen`.
        anatomy: the same run taken apart.
    """

    recording: Recording
    anatomy: Anatomy

    @torch.no_grad()
    def run(
        self,
        tokens: Int[Tensor, "batch pos"],
        moving: Set[Source],
        *,
        at_tokens: AtTokens | None = None,
    ) -> tuple[Float[Tensor, "batch pos d_model"], Float[Tensor, "batch pos d_vocab"]]:
        """The stream that enters the final norm, and the logits before any soft-cap.

        Args:
            moving: the sources that are at work; the others are held.
            at_tokens: what is put in the place of the token embeddings.
        """
        model = self.recording.model
        last = final_norm_hooks().reads
        hooks = [] if "activation" in moving else self._tangents()
        with recording(model.bridge, model.hook_points, [last, LOGITS_HOOK]) as seen:
            model.forward(tokens, at_tokens=at_tokens, operator=self._operator(moving), edits=hooks)
        return seen[last], seen[LOGITS_HOOK] * self.anatomy.unembedding.scale

    def _operator(self, moving: Set[Source]) -> Operator:
        whole = self.recording.operator
        scales = set(norm_scale_hooks(whole.constants))
        kept = {
            name: value
            for name, value in whole.constants.items()
            if ("norm" if name in scales else "softmax") not in moving
        }
        mixtures = {} if "softmax" in moving else whole.mixtures
        return Operator(kind="frozen", constants=kept, gates={}, mixtures=mixtures)

    def _tangents(self) -> list[Hook]:
        hooks: list[Hook] = []
        for layer, block in enumerate(self.anatomy.blocks):
            names = self.recording.block(layer).mlp
            slopes = [gate for gate, _ in block.mlp.branches]
            hooks.extend(_tangent(self.recording, names, slopes))
        return hooks


def _tangent(recording: Recording, names: MlpHooks, slopes: list[Tensor]) -> list[Hook]:
    reads = [names.pre, names.up] if names.up is not None else [names.pre]
    offset = recording[names.post] - sum(
        slope * recording[name] for slope, name in zip(slopes, reads, strict=True)
    )
    seen: list[list[Tensor]] = [[] for _ in reads]

    def straight(tensor: Tensor, hook: Any) -> Tensor:
        out = offset
        for slope, (value,) in zip(slopes, seen, strict=True):
            # Some models lay all tokens one after the other here.
            out = out + slope * value.reshape(slope.shape)
        return out.reshape(tensor.shape).to(tensor.dtype)

    before: list[tuple[str, Callable[..., None]]] = [
        (name, remember(kept)) for name, kept in zip(reads, seen, strict=True)
    ]
    return [*before, (names.post, straight)]
