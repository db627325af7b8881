"""The stream between attention layer and MLP, and how a dictionary is spliced in there.

In a block whose MLP comes after its attention layer

    mid  = before + attention_out                  what the MLP (its norm) reads
    after = mid + mlp_out

The bridge has a hook point at what the MLP reads alone: a change there does not reach `after` by
itself. So `mid` is replaced for the MLP, and `after` is replaced by the new `mid` plus what the MLP
then adds: nothing of the old one is left on any way. Where attention layer and MLP read the same
stream there is no such place.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from saecircuits.errors import SiteError
from saecircuits.splicing.devices import widest
from saecircuits.splicing.hooking import Hook, recording, remember
from saecircuits.splicing.part_hooks import block_hooks
from saecircuits.splicing.sites import Site, block_of_middle


def middle_hooks(
    site: Site, points: Any, write: Callable[..., Tensor | None]
) -> tuple[list[Hook], list[Hook]]:
    """The hooks of a site there: at what the MLP reads, and behind what it adds.

    Args:
        write: the hook at the site: what it gives takes the stream's place, and None leaves it.
    """
    names = block_hooks(site.layer, points)
    new: list[Tensor] = []
    added: list[Tensor] = []

    def at_middle(tensor: Tensor, hook: Any) -> Tensor | None:
        out = write(tensor, hook=hook)
        new[:] = [] if out is None else [out]
        return out

    def at_end(tensor: Tensor, hook: Any) -> Tensor | None:
        return new[0] + added[0].reshape(tensor.shape) if new else None

    return [(site.point, at_middle)], [(names.mlp_out, remember(added)), (names.after, at_end)]


@torch.no_grad()
def check_middle(bridge: Any, hook: str) -> None:
    """Refuses a hook point of this name that is not the stream between attention layer and MLP.

    Any other hook point passes, and so does one of a block that there is not.

    Raises:
        SiteError: saying what the model does instead.
    """
    points, layer = bridge.hook_dict, block_of_middle(hook)
    if layer is None or layer >= len(bridge.blocks):
        return
    names = block_hooks(layer, points)
    wanted = (names.before, names.attention_out, hook, names.mlp_out, names.after)
    why = "its attention layer and its MLP read the same stream"
    if not getattr(bridge.cfg, "parallel_attn_mlp", False) and all(n in points for n in wanted):
        device = next(bridge.parameters()).device
        with recording(bridge, points, wanted) as seen:
            bridge(torch.arange(1, 3, device=device)[None])
        why = "what it names so is no such sum"
        if all(name in seen for name in wanted):
            before, attention, middle, mlp, after = (
                seen[name].to(widest(device)) for name in wanted
            )
            sums = (before + attention, middle), (middle + mlp.reshape(middle.shape), after)
            tolerance = 30 * torch.finfo(next(bridge.parameters()).dtype).eps
            if all(_agree(*pair, tolerance=max(1e-4, tolerance)) for pair in sums):
                return
    raise SiteError(
        f"block {layer} has no stream between attention layer and MLP at {hook!r}: {why}; use a "
        "dictionary at hook_resid_pre, hook_attn_out or hook_resid_post"
    )


def _agree(one: Tensor, other: Tensor, *, tolerance: float) -> bool:
    size = other.abs().max()
    return one.shape == other.shape and bool((one - other).abs().max() <= tolerance * size)
