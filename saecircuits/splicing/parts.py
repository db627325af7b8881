"""The stream before a block as the sum of what was written into it, and the token embeddings."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.splicing.anatomy import Anatomy
from saecircuits.splicing.hooking import recording
from saecircuits.splicing.model import SplicedModel
from saecircuits.splicing.part_hooks import block_hooks
from saecircuits.splicing.sites import POSITION_HOOK


@dataclass(frozen=True, eq=False)
class Written:
    """What one component adds to the stream.

    Attributes:
        component: `tokens`, `positions`, `L0.H3`, `L0.bias` (of the attention layer) or `L0.MLP`.
    """

    component: str
    stream: Float[Tensor, "batch pos d_model"]


@torch.no_grad()
def stream_parts(
    model: SplicedModel, tokens: Int[Tensor, "batch pos"], anatomy: Anatomy, layer: int
) -> list[Written]:
    """All parts of the stream that enters block `layer`, in order; they add up to it exactly.

    Args:
        anatomy: of the same run. Where a norm stands after an attention layer, its scale is held.
    """
    known = model.hook_points
    blocks = [block_hooks(index, known) for index in range(max(layer, 1))]
    names = {POSITION_HOOK, blocks[0].before}
    names |= {name for block in blocks for name in (block.attention_out, block.mlp_out)}
    with recording(model.bridge, known, names & set(known)) as seen:
        model.forward(tokens)
    entered = seen[blocks[0].before]
    positions = seen.get(POSITION_HOOK)
    if positions is None:
        parts = [Written("tokens", entered)]
    else:
        parts = [Written("tokens", entered - positions)]
        parts.append(Written("positions", positions.expand_as(entered)))
    for index in range(layer):
        out, attention = seen[blocks[index].attention_out], anatomy.blocks[index].attention
        heads = torch.einsum("bhts,bshd->bthd", attention.pattern, attention.v)
        results = torch.einsum("bthd,hdm->bthm", heads, attention.W_O)
        if attention.post_norm is not None:
            pushed = attention.post_norm.push(results)
            results = pushed / attention.post_norm.scale.unsqueeze(2)
        parts += [
            Written(f"L{index}.H{head}", results[:, :, head]) for head in range(results.shape[2])
        ]
        parts.append(Written(f"L{index}.bias", out - results.sum(2)))
        parts.append(Written(f"L{index}.MLP", seen[blocks[index].mlp_out].reshape(out.shape)))
    return [part for part in parts if part.stream.any()]


def token_embeddings(model: SplicedModel) -> Float[Tensor, "d_vocab d_model"]:
    """The embedding of every token as the weight has it, before scales and norms of embeddings."""
    return model.bridge.W_E.detach()


def dictionary_before(model: SplicedModel, layer: int) -> int | None:
    """The place of the splice whose dictionary writes the stream that block `layer` reads."""
    found = [
        index
        for index, splice in enumerate(model.splices)
        if model.block_behind(index) == layer
        or (splice.site.layer == layer and splice.site.hook == _stream_hook(model, layer))
    ]
    return found[-1] if found else None


def _stream_hook(model: SplicedModel, layer: int) -> str:
    return block_hooks(layer, model.hook_points).before
