"""Activations of the language model at named sites, and putting others in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from architecture import LanguageModel, Tap
from public_model import Model
from rows import Rows
from torch import Tensor

Replacement = Callable[[Tensor], Tensor]


class _Enough(Exception):
    """Every wanted site has been seen; the rest of the forward pass would be waste."""


def collect(model: Model, rows: Tensor, sites: list[str]) -> dict[str, Tensor]:
    """Activations at the sites, all positions but BOS, one row per position."""
    found: dict[str, Tensor] = {}

    def tap(site: str, activation: Tensor) -> Tensor:
        if site in sites:
            found[site] = activation[:, 1:].flatten(0, 1)
            if len(found) == len(set(sites)):
                raise _Enough
        return activation

    with torch.no_grad():
        try:
            model.final(rows, tap=tap)
        except _Enough:
            return found
    raise ValueError(f"unknown sites among {sites}")


def activation_batches(
    model: LanguageModel,
    rows: Rows,
    sites: list[str],
    batch: int,
    pool_rows: int = 512,
) -> Iterator[list[Tensor]]:
    """Endless shuffled batches of activations at the sites, aligned between sites."""
    step = 0
    while True:
        found = [collect(model, part, sites) for part in rows.batch(step, pool_rows).split(64)]
        step += 1
        pools = [torch.cat([part[site] for part in found]) for site in sites]
        order = torch.randperm(len(pools[0]))
        for chosen in order.split(batch):
            if len(chosen) == batch:
                yield [pool[chosen] for pool in pools]


def splice(replacements: Mapping[str, Replacement]) -> Callable[[str, Tensor], Tensor]:
    """A tap that replaces the activations at the sites, position 0 left alone."""

    def tap(site: str, activation: Tensor) -> Tensor:
        if site not in replacements:
            return activation
        replaced = replacements[site](activation[:, 1:])
        return torch.cat([activation[:, :1], replaced.to(activation)], dim=1)

    return tap


def collect_with(found: dict[str, Tensor], sites: Sequence[str]) -> Tap:
    """A tap that keeps the stream at the sites, from the first of them on with a gradient."""

    def tap(site: str, activation: Tensor) -> Tensor:
        if site in sites:
            if not activation.requires_grad:
                activation = activation.detach().requires_grad_()
            found[site] = activation
        return activation

    return tap
