"""Stages of a walk that run blocks: from a state of the stream to a later one, or to the metric."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from jaxtyping import Bool
from torch import Tensor

from saecircuits.nodes.contrast import Contrast
from saecircuits.nonlinearity.walk import Stage
from saecircuits.splicing.hooking import Hook
from saecircuits.splicing.model import AtSite, AtTokens
from saecircuits.splicing.section import Section

Keep: TypeAlias = Bool[Tensor, "n_set n_member"]


def run_stage(
    contrast: Contrast,
    columns: Sequence[int],
    *,
    first: int,
    stop: int | None,
    up_to: int | None = None,
    at_site: Callable[[Keep], AtSite] | None = None,
    at_tokens: Callable[[Keep], AtTokens] | None = None,
    edits: Callable[[Keep], Sequence[Hook]] | None = None,
) -> Stage:
    """Blocks `first` up to `stop`, or up to the metric where that is None.

    Args:
        columns: the members that act in these blocks.
        up_to: the site, of the last block that runs, whose stream is the state at the end.
        at_site, at_tokens, edits: what the members do, for the sets of one pass.
    """
    model, size = contrast.model, len(contrast.prompts)

    def advance(states: Tensor | None, parent: Tensor, keep: Tensor) -> Tensor:
        times = len(keep)
        stream = None if states is None else states[parent].flatten(0, 1)
        inner, reached = None if at_site is None else at_site(keep), list[Tensor]()

        def each_site(index: int, read: Tensor, write: Tensor) -> Tensor | None:
            if index == up_to:
                reached.append(write)
                return None
            return None if inner is None else inner(index, read, write)

        out = model.forward(
            contrast.tokens.repeat(times, 1),
            at_site=None if inner is None and up_to is None else each_site,
            at_tokens=None if at_tokens is None else at_tokens(keep),
            operator=contrast.operator.repeated(times),
            section=Section(first, stream, stop),
            lengths=contrast.prompts.clean_lengths.repeat(times),
            edits=() if edits is None else edits(keep),
        )
        if stop is None:
            return contrast.metric(out)
        # A run up to the last block goes on to its logits.
        return (out if up_to is None else reached[0]).unflatten(0, (times, size))

    tokens = contrast.prompts.clean_tokens.numel()
    return Stage(tuple(columns), tokens, lambda states: states, advance)


def read_out(contrast: Contrast) -> Stage:
    """The final norm and the unembedding, of a stream that holds each prompt's last token alone.

    Under the operator `full` only: another holds norm scales, token by token.
    """
    assert contrast.operator.kind == "full"
    model, size = contrast.model, len(contrast.prompts)

    def advance(states: Tensor, parent: Tensor, keep: Tensor) -> Tensor:
        stream = states[parent].flatten(0, 1)
        logits = model.forward(
            contrast.tokens[:, :1].repeat(len(keep), 1),
            section=Section(model.n_layers, stream),
            lengths=torch.ones(len(stream), dtype=torch.long, device=stream.device),
        )
        return contrast.metric(logits)

    return Stage((), size, lambda states: states, advance)
