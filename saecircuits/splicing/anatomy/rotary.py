"""Rotary positions: every query and key is turned by angles that grow with its position."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.splicing.anatomy.recording import Recording
from saecircuits.splicing.part_hooks import AttentionHooks


@dataclass(frozen=True, eq=False)
class Rotary:
    """Turns of the first `d_rotary` entries of a head, in planes of two entries each.

    Attributes:
        cos: cosine of the angle at every entry, and `sin` its sine: one angle for a plane.
        is_adjacent: True where a plane's two entries are neighbours; otherwise they stand in the
            first and in the second half.
    """

    cos: Float[Tensor, "pos d_rotary"]
    sin: Float[Tensor, "pos d_rotary"]
    is_adjacent: bool

    def turn(
        self, vectors: Float[Tensor, "batch pos head d_head"]
    ) -> Float[Tensor, "batch pos head d_head"]:
        """Vectors of all tokens, turned to their positions."""
        return self._turned(vectors, self.cos[:, None], self.sin[:, None])

    def turn_at(
        self, vectors: Float[Tensor, "n_row d_head"], pos: Int[Tensor, " n_row"]
    ) -> Float[Tensor, "n_row d_head"]:
        """Vectors of one head, each turned to a position of its own."""
        return self._turned(vectors, self.cos[pos], self.sin[pos])

    def turn_back(
        self, vectors: Float[Tensor, "n_row head d_head"], pos: Int[Tensor, " n_row"]
    ) -> Float[Tensor, "n_row head d_head"]:
        """The transposed turn of each row's position."""
        cos, sin = (angle[pos].unsqueeze(-2) for angle in (self.cos, self.sin))
        return self._turned(vectors, cos, -sin)

    def _turned(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        width = cos.shape[-1]
        front, rest = x[..., :width], x[..., width:]
        if self.is_adjacent:
            first, second = front.unflatten(-1, (-1, 2)).unbind(-1)
            across = torch.stack([-second, first], -1).flatten(-2)
        else:
            first, second = front.chunk(2, -1)
            across = torch.cat([-second, first], -1)
        return torch.cat([front * cos + across * sin, rest], -1)


def read_rotary(recording: Recording, hooks: AttentionHooks, n_pos: int) -> Rotary | None:
    """The rotary positions of an attention layer; None if it has none.

    Recorded angles are in halves, also where planes are of neighbouring entries, as GLM's are; or
    once for every plane, as those of gpt-oss are. Where none are recorded, Hugging Face's model may
    hold a table of sines and then cosines for neighbouring entries, as GPT-J does: in every
    attention layer up to transformers 5.23, once for all of them since.
    """
    if hooks.cos in recording:
        angles = recording[hooks.cos][0], recording[hooks.sin][0]
        is_adjacent = bool(recording.setting("rotary_adjacent_pairs", False))
        halves = [x.chunk(2, -1) for x in angles]
        if is_adjacent:
            angles = (first.repeat_interleave(2, -1) for first, _ in halves)
        elif not all(torch.equal(*both) for both in halves):  # one angle for every plane
            angles = (torch.cat([x, x], -1) for x in angles)
        return Rotary(*angles, is_adjacent=is_adjacent)
    layer = recording.module(hooks.module).original_component
    owners = (layer, *recording.model.bridge.original_model.modules())
    tables = (getattr(owner, "embed_positions", None) for owner in owners)
    table = next((one for one in tables if isinstance(one, Tensor)), None)
    if table is None:
        return None
    sin, cos = table[:n_pos].to(recording.logits).repeat_interleave(2, -1).chunk(2, -1)
    return Rotary(cos, sin, is_adjacent=True)
