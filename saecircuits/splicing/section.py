"""A part of the network: the blocks behind a stream that is already known.

Many runs differ from the clean one behind some block alone. Such a run begins at that block, with
the stream that enters it; the blocks before it are left out. This is exact wherever blocks hand on
nothing but the stream, which is tried once for every model; where they do, all blocks run, and the
known stream takes the place of what they hand on.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.splicing.hooking import Hook, attached, recording


@dataclass(frozen=True, eq=False)
class Section:
    """Which blocks run, and on what.

    Attributes:
        first: the first block that runs; the number of blocks if none does.
        stream: what enters it; None, with `first` 0, for what the tokens give.
        stop: the block before which the run ends; None to run on to the logits.
    """

    first: int = 0
    stream: Float[Tensor, "batch pos d_model"] | None = None
    stop: int | None = None

    def contains(self, layer: int) -> bool:
        """Whether a block runs."""
        return self.first <= layer and (self.stop is None or layer < self.stop)


WHOLE = Section()


def stream_hooks(bridge: Any) -> tuple[str, ...]:
    """Names of the tensors that enter each block and, last, the final norm where there is one."""
    parts = [*bridge.blocks, *([bridge.ln_final] if hasattr(bridge, "ln_final") else [])]
    return tuple(part.hook_in.name for part in parts)


def enter(hook_name: str, stream: Tensor) -> Hook:
    """The hook that puts a known stream in the place of what comes."""
    return hook_name, lambda tensor, hook: stream


def narrow_to_last(bridge: Any, lengths: Int[Tensor, " batch"]) -> Hook:
    """The hook that leaves of every prompt its last token alone to be unembedded."""

    def last(tensor: Tensor, hook: Any) -> Tensor:
        rows = torch.arange(len(lengths), device=tensor.device)
        return tensor[rows, lengths.to(tensor.device) - 1, None]

    return bridge.unembed.hook_in.name, last


@contextmanager
def without_blocks(bridge: Any, count: int) -> Iterator[None]:
    """Inside: the first `count` blocks compute nothing and hand on what they are given."""
    left_out = list(bridge.blocks)[:count]
    try:
        for block in left_out:
            # Set as an attribute, it would go on to the Hugging Face block inside as well.
            vars(block)["forward"] = _hand_on
        yield
    finally:
        for block in left_out:
            vars(block).pop("forward", None)


@torch.no_grad()
def blocks_can_be_left_out(bridge: Any, points: Mapping[str, Any]) -> bool:
    """Whether the last block by itself, given its stream, leads to the logits of the whole run.

    It has to for one prompt and for two: a block that is left out hands on a tensor where some
    models take the first two of several results, and two prompts are as good as those.
    """
    return all(_last_block_suffices(bridge, points, n_prompts) for n_prompts in (1, 2))


def _last_block_suffices(bridge: Any, points: Mapping[str, Any], n_prompts: int) -> bool:
    tokens = torch.zeros(n_prompts, 3, dtype=torch.long, device=next(bridge.parameters()).device)
    tokens[:, 1:] = tokens.new_tensor([[1, 2], [2, 1]])[:n_prompts]
    last = len(bridge.blocks) - 1
    name = stream_hooks(bridge)[last]
    with recording(bridge, points, [name]) as seen:
        whole = bridge(tokens)
    try:
        with without_blocks(bridge, last), attached(bridge, points, [enter(name, seen[name])]):
            part = bridge(tokens)
    except Exception:
        # What a block lacks that is not handed on, models report in many ways.
        return False
    return torch.allclose(part, whole, rtol=1e-4, atol=1e-4)


def _hand_on(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return hidden_states
