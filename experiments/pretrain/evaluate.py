"""Measurements of dictionaries, one at a time and all together."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from activations import Replacement, collect, splice
from architecture import Tap
from measure import Logits, Prompts, loss_on
from public_model import Model
from sae_lens import SAE
from torch import Tensor

BATCH = 64


def reading_site(dictionary: SAE) -> str:
    """The site whose activations the dictionary encodes."""
    return str(dictionary.cfg.metadata.hook_name)


def writing_site(dictionary: SAE) -> str:
    """The site whose activations it gives back."""
    return str(dictionary.cfg.metadata.hook_name_out or dictionary.cfg.metadata.hook_name)


def _replacing(dictionary: SAE) -> Tap:
    """A tap that puts the output of one dictionary in place of what it stands for."""
    features: list[Tensor] = []
    reads, writes = reading_site(dictionary), writing_site(dictionary)

    def tap(site: str, activation: Tensor) -> Tensor:
        if site == reads:
            features.append(dictionary.encode(activation[:, 1:]))
        if site == writes:
            written = dictionary.decode(features.pop())
            return torch.cat([activation[:, :1], written.to(activation)], dim=1)
        return activation

    return tap


def _zeroed(site: str) -> Tap:
    return splice({site: torch.zeros_like})


@torch.no_grad()
def dictionary_figures(
    model: Model, dictionary: SAE, mixture: Tensor, stories: Tensor, batch: int = BATCH
) -> dict[str, float]:
    """Sparsity and reconstruction on the mixture, and loss recovered on the stories.

    Args:
        batch: rows at once.
    """
    reads, writes = reading_site(dictionary), writing_site(dictionary)
    fired = torch.zeros(dictionary.cfg.d_sae)
    positions, missed = 0, 0.0
    wanted_parts = []
    for part in mixture.split(batch):
        found = {site: part.float() for site, part in collect(model, part, [reads, writes]).items()}
        features = dictionary.encode(found[reads])
        missed += (dictionary.decode(features) - found[writes]).pow(2).sum().item()
        fired += (features > 0).sum(dim=0)
        positions += len(features)
        wanted_parts.append(found[writes])
    wanted = torch.cat(wanted_parts)
    spread = (wanted - wanted.mean(dim=0)).pow(2).sum().item()
    clean = loss_on(model, stories, batch)
    spliced = loss_on(lambda ids: model(ids, tap=_replacing(dictionary)), stories, batch)
    ablated = loss_on(lambda ids: model(ids, tap=_zeroed(writes)), stories, batch)
    return {
        "mean_l0": fired.sum().item() / positions,
        "fraction_variance_explained": 1 - missed / spread,
        "loss_recovered": (ablated - spliced) / (ablated - clean),
        "loss_spliced": spliced,
        "dead_share": (fired == 0).float().mean().item(),
        "measured_positions": positions,
    }


def _mean_divergence(reference: Logits, other: Logits, rows: Tensor, batch: int = BATCH) -> float:
    total, positions = 0.0, 0
    with torch.no_grad():
        for part in rows.split(batch):
            before = F.log_softmax(reference(part)[:, 1:], -1)
            after = F.log_softmax(other(part)[:, 1:], -1)
            total += F.kl_div(after, before, reduction="sum", log_target=True).item()
            positions += before[..., 0].numel()
    return total / positions


def spliced_model(model: Model, saes: Mapping[str, SAE]) -> Logits:
    """The model that runs on the reconstructions at all the sites, errors dropped."""

    def replacement(sae: SAE) -> Replacement:
        return lambda stream: sae.decode(sae.encode(stream))

    tap = splice({site: replacement(sae) for site, sae in saes.items()})
    return lambda ids: model(ids, tap=tap)


@torch.no_grad()
def all_spliced(
    model: Model, saes: Mapping[str, SAE], rows: Tensor, batch: int = BATCH
) -> dict[str, object]:
    """Loss and divergence when all dictionaries stand in for the stream at once."""
    spliced = spliced_model(model, saes)
    return {
        "sites": list(saes),
        "loss_unspliced": loss_on(model, rows, batch),
        "loss_all_spliced": loss_on(spliced, rows, batch),
        "kl": _mean_divergence(model, spliced, rows, batch),
    }


@torch.no_grad()
def joint_figures(
    model: Model, saes: Mapping[str, SAE], stories: Tensor, prompts: dict[str, Prompts]
) -> dict[str, object]:
    """What is left of the model when all dictionaries stand in for it at once."""
    spliced = spliced_model(model, saes)
    constructions = {}
    for name, prompt in prompts.items():
        clean, kept = prompt.differences(model), prompt.differences(spliced)
        constructions[name] = {
            "logit_difference": clean.mean().item(),
            "logit_difference_spliced": kept.mean().item(),
            "kept": (kept.mean() / clean.mean()).item(),
            "accuracy_spliced": (kept > 0).float().mean().item(),
        }
    return {**all_spliced(model, saes, stories), "constructions": constructions}
