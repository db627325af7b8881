"""Where a dictionary really belongs: what a transcoder reads, and the units of an embedding's.

Names are not always enough. `hook_mlp_in` is transformer_lens's name of the stream before the norm,
and sae_lens gives it to transcoders that were trained on what the norm gives out. A model may
multiply its token embeddings before they enter the stream, and a dictionary of them may have been
trained on either. Where Hugging Face's name of the tensor does not decide, what the dictionary
reconstructs does: the explained variance `1 - |x - x'|^2 / |x - mean x|^2` on a few tokens.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor

from saecircuits.errors import SiteError
from saecircuits.splicing.dictionary import Dictionary
from saecircuits.splicing.hooking import recording
from saecircuits.splicing.part_hooks import block_hooks
from saecircuits.splicing.sites import TOKEN_HOOK, is_ambiguous_read, make_site, possible_reads

# A norm's result or the MLP's input in a Hugging Face model, and the stream before the norm.
_BEHIND_NORM: Final = re.compile(r"(norm|ln_2)\.output$|mlp\.input$")
_BEFORE_NORM: Final = re.compile(r"(norm|ln_2)\.input$")
# Two readings that explain as much as each other are not told apart.
_MARGIN: Final = 0.05
_TOKENS: Final = (2, 12)


@torch.no_grad()
def read_hook(
    bridge: Any, reads: str, hook: str, dictionary: Dictionary, *, hf_name: str | None = None
) -> str:
    """The hook point that a transcoder reads, where its own name for it leaves a choice.

    Args:
        reads: what it says.
        hook: what it writes.
        hf_name: the tensor read, in the words of Hugging Face's model, if it says.

    Raises:
        SiteError: two tensors have that name, and neither is clearly the one; or it is the result
            of a norm that stands behind the MLP.
    """
    points = bridge.hook_dict
    names = block_hooks(make_site(hook, points).layer, points)
    is_after = points.get(names.ln2.out) is points[names.mlp_out]
    if is_after and reads in (names.ln2.normalized, names.ln2.out):
        raise SiteError(
            f"the transcoder for {hook!r} reads {reads!r}, but in this model {names.ln2.module} "
            "norms what the MLP gives; set its hook_name to the MLP's input"
        )
    found = possible_reads(reads, bridge.hook_dict)
    if len(found) == 1:
        return found[0]
    if is_ambiguous_read(reads):
        if hf_name is not None and _BEHIND_NORM.search(hf_name):
            return read_hook(bridge, found[0], hook, dictionary)
        if hf_name is not None and _BEFORE_NORM.search(hf_name):
            return found[1]
        return _better_read(bridge, reads, found, hook, dictionary)
    seen = _seen(bridge, found)
    return next((name for name in found if name in seen), found[0])


def _better_read(
    bridge: Any, reads: str, names: Sequence[str], hook: str, dictionary: Dictionary
) -> str:
    seen = _seen(bridge, [*names, hook])
    there = [name for name in names if name in seen]
    write = _flat(seen[hook])
    scores = [_explained(dictionary, lambda x: x, _flat(seen[name]), write) for name in there]
    ranked = sorted(zip(scores, there, strict=True), reverse=True)
    if len(ranked) == 1 or ranked[0][0] - ranked[1][0] > _MARGIN:
        return ranked[0][1]
    said = " and ".join(f"{name!r} {score:.2f}" for score, name in ranked)
    raise SiteError(
        f"the transcoder for {hook!r} reads {reads!r}, which is a name of two tensors; the "
        f" explained variance does not tell which ({said}); set its hook_name to one of them"
    )


@torch.no_grad()
def of_embeddings(bridge: Any, dictionary: Dictionary) -> Dictionary:
    """A dictionary of token embeddings in the units that the model's tensor of them has.

    Dictionaries come in the units in which embeddings enter the stream. If the model multiplies
    its tensor by c on the way there, the dictionary reads c times the tensor and writes 1 / c of
    what it reconstructs, unless it explains more of the tensor as it is.
    """
    first = block_hooks(0, bridge.hook_dict).before
    seen = _seen(bridge, (TOKEN_HOOK, first))
    tokens, entered = _flat(seen[TOKEN_HOOK]), _flat(seen[first])
    if tokens.shape[-1] != dictionary.d_in or tokens.shape != entered.shape:
        return dictionary  # refused by its width, or left as it is
    # Positions may be added as well, and are as good as noise here.
    scale = float((tokens * entered).sum() / (tokens * tokens).sum())
    root = tokens.shape[-1] ** 0.5
    if abs(scale / root - 1) > 0.05:
        return dictionary
    as_it_is = _explained(dictionary, lambda x: x, tokens, tokens)
    scaled = _explained(dictionary, lambda x: root * x, tokens, root * tokens)
    return dictionary if as_it_is > scaled else in_units_of(dictionary, root)


def in_units_of(dictionary: Dictionary, factor: float) -> Dictionary:
    """The dictionary that reads and writes x where this one reads and writes `factor * x`."""
    return replace(
        dictionary,
        W_enc=dictionary.W_enc * factor,
        shift=dictionary.shift / factor,
        W_dec=dictionary.W_dec / factor,
        b_dec=dictionary.b_dec / factor,
    )


def _explained(
    dictionary: Dictionary,
    scaled: Callable[[Tensor], Tensor],
    read: Float[Tensor, "token d_in"],
    write: Float[Tensor, "token d_out"],
) -> float:
    if read.shape[-1] != dictionary.d_in or write.shape[-1] != dictionary.d_out:
        return float("-inf")
    own = dictionary.to(read)
    rest = write - own.reconstruct(scaled(read))
    if own.normalisation is not None and own.normalisation.is_undone:
        rest = rest - rest.mean(-1, keepdim=True)
    return 1 - float((rest**2).sum() / ((write - write.mean(0)) ** 2).sum())


def _seen(bridge: Any, names: Sequence[str]) -> dict[str, Tensor]:
    """What the model computes at these hook points on a few tokens."""
    n_prompt, n_pos = _TOKENS
    n_pos = min(n_pos, int(bridge.cfg.n_ctx))
    numbers = 1 + 7919 * torch.arange(n_prompt * n_pos, device=next(bridge.parameters()).device)
    tokens = (numbers % int(bridge.cfg.d_vocab)).unflatten(0, (n_prompt, n_pos))
    # A hook point that is switched off takes no hook.
    wanted = [name for name in names if not is_ambiguous_read(name)]
    with recording(bridge, bridge.hook_dict, wanted) as seen:
        bridge(tokens)
    return dict(seen)


def _flat(tensor: Tensor) -> Tensor:
    """Tokens one after the other, behind the first of all: attention sinks are like no other."""
    tokens = tensor.flatten(0, -2) if tensor.ndim < 4 else tensor.flatten(2).flatten(0, 1)
    return tokens.to(torch.promote_types(tokens.dtype, torch.float32))
