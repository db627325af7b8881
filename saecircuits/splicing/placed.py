"""Do dictionaries fit where they are spliced in? One forward pass of one token shows it."""

from typing import Any

import torch
from torch import Tensor

from saecircuits.errors import SiteError
from saecircuits.splicing.convert import check_widths
from saecircuits.splicing.model import SplicedModel
from saecircuits.splicing.sites import make_site, mlp_begins_at, spliceable_hooks


@torch.no_grad()
def check_placed(model: SplicedModel) -> None:
    """Every site fires, its widths are its dictionary's, and a transcoder reads what the MLP reads.

    Raises:
        SiteError: a site that is silent, or a transcoder that reads what comes after the MLP.
        DictionaryError: other widths.
    """
    order: list[str] = []

    def check(index: int, read: Tensor, write: Tensor) -> None:
        splice = model.splices[index]
        check_widths(
            splice.dictionary,
            splice.site.hook,
            d_read=read.shape[-1],
            d_write=write.shape[-1],
        )

    def note(name: str) -> Any:
        return name, lambda tensor, hook: order.append(name)

    known = model.hook_points
    watched = {*spliceable_hooks(known), *(splice.site.read_hook for splice in model.splices)}
    watched |= {
        name for splice in model.splices for name in mlp_begins_at(splice.site.layer, known)
    }
    tokens = torch.zeros(1, 1, dtype=torch.long, device=model.device)
    model.forward(tokens, at_site=check, edits=[note(name) for name in sorted(watched)])
    for splice in model.splices:
        site = splice.site
        if site.hook not in order:
            near = [name for name in spliceable_hooks(order) if _is_near(name, site.layer, known)]
            raise SiteError(
                f"hook point {site.hook!r} exists but did not fire in a forward pass; of this "
                f"block and the next, this model shows {', '.join(near) or 'nothing'}"
            )
        begins = [order.index(name) for name in mlp_begins_at(site.layer, known) if name in order]
        if site.is_transcoder and begins and order.index(site.read_hook) > min(begins):
            raise SiteError(
                f"the transcoder for {site.hook!r} reads {site.read_hook!r}, which in this model "
                f"comes after the MLP, not before it; its MLP reads {order[min(begins)]!r}"
            )


def _is_near(name: str, layer: int, known: Any) -> bool:
    return make_site(name, known).layer - layer in (0, 1)
