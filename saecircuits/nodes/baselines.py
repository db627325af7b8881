"""The baseline of every node: what it is set to when it is taken out.

    corrupted   its value in the run on the corrupted prompt, place by place
    mean        its mean over the clean runs of a reference set, unit by unit
    zero        zero, for features and errors alike

Features, errors and (for `corrupted` and `mean`) token embeddings have baselines of their own.
`b_dec` and skip weights belong to no node and have none. Outside every unit (BOS, padding) the
baseline is the clean value itself.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from saecircuits.errors import UnknownNameError
from saecircuits.nodes.units import Units
from saecircuits.splicing import Observation, SiteValues, SplicedModel, observe
from saecircuits.tasks import Prompts

BaselineKind: TypeAlias = Literal["corrupted", "mean", "zero"]


@dataclass(frozen=True, eq=False)
class UnitMeans:
    """Mean values by unit over a reference set: the source of the `mean` baseline.

    Attributes:
        values: `[unit, width]` for the tokens, every site's features, and every site's errors.
    """

    values: tuple[Float[Tensor, "unit _"], ...]


@dataclass(frozen=True, eq=False)
class Baseline:
    """Values of one batch of prompts at their baseline, aligned with the clean prompts' tokens."""

    tokens: Float[Tensor, "batch pos d_model"]
    sites: tuple[SiteValues, ...]


def check_baseline(kind: str) -> None:
    """Raises UnknownNameError unless `kind` is corrupted, mean or zero."""
    if kind not in get_args(BaselineKind):
        raise UnknownNameError("baseline", kind, get_args(BaselineKind))


def make_baseline(
    model: SplicedModel,
    prompts: Prompts,
    *,
    kind: BaselineKind,
    units: Units,
    clean: Observation,
    means: UnitMeans | None = None,
) -> Baseline:
    """The baseline of every node of these prompts.

    Args:
        units: the units of exactly these prompts.
        clean: the clean run of exactly these prompts.
        means: for `kind="mean"`, the reference set's means over the same units.
    """
    check_baseline(kind)
    there = _values(clean)
    match kind:
        case "corrupted":
            run = observe(model, prompts.corrupted_tokens.to(model.device))
            align = units.alignment.to(clean.tokens)
            values = [align @ value for value in _values(run)]
        case "mean":
            assert means is not None, "the mean baseline needs the means of a reference set"
            member = units.membership.to(clean.tokens)
            values = [member @ mean for mean in means.values]
        case "zero":
            # A token that is not there has no embedding to be set to: zero leaves tokens alone.
            values = [there[0], *(torch.zeros_like(value) for value in there[1:])]
    inside = (units.clean >= 0).to(model.device)[..., None]
    values = [torch.where(inside, at, now) for at, now in zip(values, there, strict=True)]
    n_sites = len(model.splices)
    sites = zip(values[1 : 1 + n_sites], values[1 + n_sites :], clean.sites, strict=True)
    return Baseline(
        tokens=values[0],
        sites=tuple(SiteValues(features, error, site.rest) for features, error, site in sites),
    )


def unit_means(
    model: SplicedModel, prompts: Prompts, units: Units, *, batch_size: int = 32
) -> UnitMeans:
    """Mean value of every node by unit over the clean runs of `prompts` (all tokens alike)."""
    totals: list[list[Tensor]] = []
    count = torch.zeros(len(units))
    for start in range(0, len(prompts), batch_size):
        rows = slice(start, start + batch_size)
        run = observe(model, prompts.clean_tokens[rows].to(model.device))
        member = units.rows(rows).membership.to(run.tokens)
        count += member.sum((0, 1)).cpu()
        totals.append([torch.einsum("bpu,bpd->ud", member, value) for value in _values(run)])
    sums = [torch.stack(parts).sum(0) for parts in zip(*totals, strict=True)]
    return UnitMeans(tuple(total / count.clamp(min=1).to(total)[:, None] for total in sums))


def _values(run: Observation) -> list[Tensor]:
    """Tokens, every site's features, every site's errors: all that has a baseline, in order."""
    return [
        run.tokens,
        *(site.features for site in run.sites),
        *(site.error for site in run.sites),
    ]
