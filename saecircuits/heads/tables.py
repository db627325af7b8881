"""The classical terms over tokens: direct path, skip-trigrams, virtual heads.

They are of an attention-only model's path expansion at degree 0, 1 and 2 (Elhage et al. 2021).
Norm weights are folded in and norm scales left out, so that logits are known up to a positive
factor of the position; positions other than rotary ones are left out too.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from saecircuits.errors import InputError
from saecircuits.heads.reading import Prompt, any_anatomy, check_head, read_prompt
from saecircuits.splicing import SplicedModel
from saecircuits.splicing.anatomy import Anatomy, take_apart
from saecircuits.splicing.operators import FULL
from saecircuits.splicing.parts import token_embeddings
from saecircuits.theory.composition import virtual_pattern
from saecircuits.torch_state import in_own_state

Table = Float[Tensor, "d_vocab d_vocab"]


@in_own_state
@torch.no_grad()
def direct_path(model: SplicedModel) -> Table:
    """`W_E W_U`: the logits of the next token from a token alone; `[token, next]`.

    Rows are centred, since a constant in all logits is nothing.
    """
    anatomy = any_anatomy(model)
    return _logits(anatomy, _embedded(model, anatomy))


@dataclass(frozen=True, eq=False)
class SkipTrigrams:
    """A head's table of "source ... destination -> next".

    Attributes:
        attends: `[destination, source]`, the part of the score that is of the two tokens.
        writes: `[source, next]`, the logits that the source brings where it is attended to.
    """

    attends: Table
    writes: Table


@in_own_state
@torch.no_grad()
def skip_trigrams(model: SplicedModel, layer: int, head: int) -> SkipTrigrams:
    """The QK and OV circuits of a head between tokens.

    Exact, up to norm scales, for heads of the first layer; for later ones, the part that does not
    pass through other heads.

    Raises:
        InputError: no such head.
    """
    check_head(model, layer, head)
    anatomy = any_anatomy(model)
    attention = anatomy.blocks[layer].attention
    read = attention.norm.push(_embedded(model, anatomy))
    queries, keys = read @ attention.W_Q[head], read @ attention.W_K[head]
    written = read @ attention.W_V[head] @ attention.W_O[head]
    return SkipTrigrams(attention.scale * queries @ keys.T, _logits(anatomy, written))


@dataclass(frozen=True, eq=False)
class VirtualHead:
    """Two heads one after the other, as one (V-composition).

    Attributes:
        pattern: `A2 A1` at the prompt.
        writes: `[source, next]`, the logits that a source token brings through both.
        size: norm of what the pair adds to the stream, over the norm of what the second adds, at
            the prompt's tokens but what is prepended; norm scales as they are there.
    """

    pattern: Float[Tensor, "pos pos_key"]
    writes: Table
    size: float


@in_own_state
@torch.no_grad()
def virtual_head(
    model: SplicedModel, prompt: Prompt, first: tuple[int, int], second: tuple[int, int]
) -> VirtualHead:
    """The virtual head of `first` and then `second`, each layer and head.

    Raises:
        InputError: a head that is not there, or not in a later layer.
    """
    for layer, head in (first, second):
        check_head(model, layer, head)
    if first[0] >= second[0]:
        raise InputError("the second head has to be of a later layer than the first")
    tokens = read_prompt(model, prompt)
    anatomy = take_apart(model, tokens, FULL)
    heads = [(anatomy.blocks[layer].attention, head) for layer, head in (first, second)]
    patterns = [attention.pattern[0, head] for attention, head in heads]
    (before, one), (after, two) = heads
    added = patterns[0] @ before.v[0, :, one] @ before.W_O[one]
    through = after.norm.push(added) / after.norm.scale[0] @ after.W_V[two] @ after.W_O[two]
    whole = patterns[1] @ after.v[0, :, two] @ after.W_O[two]
    written, front = _embedded(model, anatomy), model.prepended.width
    for attention, head in heads:
        written = attention.norm.push(written) @ attention.W_V[head] @ attention.W_O[head]
    return VirtualHead(
        virtual_pattern(patterns[1], patterns[0]),
        _logits(anatomy, written),
        float((patterns[1] @ through)[front:].norm() / whole[front:].norm()),
    )


def _embedded(model: SplicedModel, anatomy: Anatomy) -> Float[Tensor, "d_vocab d_model"]:
    return anatomy.token_scale * token_embeddings(model).to(model.working_dtype)


def _logits(anatomy: Anatomy, streams: Float[Tensor, "n d_model"]) -> Tensor:
    logits = anatomy.unembedding.norm.push(streams) @ anatomy.unembedding.W_U
    return logits - logits.mean(-1, keepdim=True)
