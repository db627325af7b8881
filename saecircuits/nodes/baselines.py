"""The baseline of every node: what it is set to when it is taken out.

    corrupted   its value in the run on the corrupted prompt, place by place
    mean        its mean over the clean runs of a reference set, unit by unit
    zero        zero, for features and errors alike
    resample    its value in the clean run of another prompt of a reference set, drawn at random,
                place by place: one draw for all nodes of a prompt

Features, errors and (except for `zero`) token embeddings have baselines of their own.
`b_dec` and skip weights belong to no node and have none. Outside every unit (BOS, padding) the
baseline is the clean value itself.
"""

from dataclasses import dataclass
from functools import reduce
from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saecircuits.errors import UnknownNameError
from saecircuits.nodes.units import Positions, Units, make_units
from saecircuits.splicing import Activations, Observation, SiteValues, SplicedModel, observe
from saecircuits.splicing.activations import sparse_matrix, sparse_product
from saecircuits.splicing.devices import widest
from saecircuits.tasks import Prompts

BaselineKind: TypeAlias = Literal["corrupted", "mean", "zero", "resample"]


@dataclass(frozen=True, eq=False)
class UnitMeans:
    """Mean values by unit over a reference set: the source of the `mean` baseline.

    Attributes:
        values: `[unit, width]` for the tokens, every site's features (sparse), and every site's
            errors.
    """

    values: tuple[Float[Tensor, "unit _"], ...]


@dataclass(frozen=True, eq=False)
class Donors:
    """For every prompt another prompt: the source of the `resample` baseline.

    Attributes:
        prompts: of which the clean side is used, in the order of the prompts that they supply.
        units: which unit each of their tokens belongs to, as `Units.clean`.
    """

    prompts: Prompts
    units: Int[Tensor, "batch pos"]

    def rows(self, rows: slice) -> "Donors":
        """Those of some of the prompts."""
        some = self.prompts.subset(range(len(self.prompts))[rows])
        return Donors(some, self.units[rows, : some.clean_tokens.shape[1]])


# What a baseline is taken from beside the prompts themselves.
Source: TypeAlias = UnitMeans | Donors | None


@dataclass(frozen=True, eq=False)
class Baseline:
    """Values of one batch of prompts at their baseline, aligned with the clean prompts' tokens."""

    tokens: Float[Tensor, "batch pos d_model"]
    sites: tuple[SiteValues, ...]


def check_baseline(kind: str) -> None:
    """Raises UnknownNameError unless `kind` is corrupted, mean, zero or resample."""
    if kind not in get_args(BaselineKind):
        raise UnknownNameError("baseline", kind, get_args(BaselineKind))


def baseline_source(
    model: SplicedModel,
    prompts: Prompts,
    positions: Positions,
    *,
    kind: BaselineKind,
    reference: Prompts | None = None,
    seed: int = 0,
) -> Source:
    """What the baselines of some prompts are taken from: means, other prompts, or nothing else.

    Args:
        reference: the prompts whose means, or values, are taken; `prompts` themselves if None.
        seed: of the draw of the other prompts. No prompt supplies itself, if there are two.
    """
    check_baseline(kind)
    reference = prompts if reference is None else reference
    if kind == "mean":
        units = make_units(reference, positions, tokenizer=model.tokenizer)
        return unit_means(model, reference, units)
    if kind == "resample":
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(reference), generator=generator, device="cpu")
        # Each prompt of the order is supplied by the one behind it, the last by the first.
        donor = torch.empty_like(order)
        donor[order] = order.roll(-1)
        rows = [int(donor[row % len(donor)]) for row in range(len(prompts))]
        units = make_units(reference, positions, tokenizer=model.tokenizer).clean[rows]
        drawn = reference.subset(rows)
        return Donors(drawn, units[:, : drawn.clean_tokens.shape[1]])
    return None


def make_baseline(
    model: SplicedModel,
    prompts: Prompts,
    *,
    kind: BaselineKind,
    units: Units,
    clean: Observation,
    source: Source = None,
) -> Baseline:
    """The baseline of every node of these prompts.

    Args:
        units: the units of exactly these prompts.
        clean: the clean run of exactly these prompts.
        source: for `kind="mean"`, the reference set's means over the same units; for `resample`,
            the donors of exactly these prompts.
    """
    check_baseline(kind)
    there = _values(clean)
    match kind:
        case "corrupted":
            values = _aligned(model, prompts.corrupted_tokens, units)
        case "mean":
            assert isinstance(source, UnitMeans), "the mean baseline needs means"
            values = [sparse_product(units.sums.T.coalesce(), mean) for mean in source.values]
        case "resample":
            assert isinstance(source, Donors), "the resample baseline needs donors"
            side = source.units.to(units.clean.device)
            pairs = Units(units.names, units.tokens, units.clean, side)
            values = _aligned(model, source.prompts.clean_tokens, pairs)
        case "zero":
            # A token that is not there has no embedding to be set to: zero leaves tokens alone.
            inside = _diagonal(units.clean.flatten() >= 0)
            values = [
                sparse_product(inside, there[0]),
                *(torch.zeros_like(value) for value in there[1:]),
            ]
    outside = _diagonal(units.clean.flatten() < 0)
    values = [
        value + sparse_product(outside, now) for value, now in zip(values, there, strict=True)
    ]
    n_sites, n_batch = len(model.splices), len(prompts)
    tokens, *errors = (
        value.unflatten(0, (n_batch, -1)) for value in (values[0], *values[1 + n_sites :])
    )
    acts = [Activations(value.coalesce(), n_batch) for value in values[1 : 1 + n_sites]]
    sites = zip(acts, errors, clean.sites, strict=True)
    return Baseline(tokens, tuple(SiteValues(a, error, site.rest) for a, error, site in sites))


def _aligned(model: SplicedModel, tokens: Int[Tensor, "batch pos"], units: Units) -> list[Tensor]:
    """The values of another run, at the tokens of this one (`Units.alignment`)."""
    run = observe(model, tokens.to(model.device))
    return [sparse_product(units.alignment, value) for value in _values(run)]


def unit_means(
    model: SplicedModel, prompts: Prompts, units: Units, *, batch_size: int = 32
) -> UnitMeans:
    """Mean value of every node by unit over the clean runs of `prompts` (all tokens alike)."""
    totals: list[list[Tensor]] = []
    count = torch.zeros(len(units), dtype=widest(model.device), device=model.device)
    for start in range(0, len(prompts), batch_size):
        rows = slice(start, start + batch_size)
        run = observe(model, prompts.clean_tokens[rows].to(model.device))
        sums = units.rows(rows).to(model.device).sums
        count += sums.sum(1).to_dense()
        totals.append([sparse_product(sums, value) for value in _values(run)])
    each = torch.arange(len(units), device=model.device).expand(2, -1)
    share = sparse_matrix(each, 1 / count.clamp(min=1), (len(units), len(units)))
    sums = [reduce(torch.add, parts) for parts in zip(*totals, strict=True)]
    return UnitMeans(tuple(sparse_product(share, total) for total in sums))


def _diagonal(chosen: Bool[Tensor, " n"]) -> Float[Tensor, "n n"]:
    """Sparse: 1.0 on the diagonal where a token is chosen."""
    index = chosen.nonzero()[:, 0]
    ones = torch.ones(len(index), dtype=widest(chosen.device), device=chosen.device)
    return sparse_matrix(index.expand(2, -1), ones, (len(chosen), len(chosen)))


def _values(run: Observation) -> list[Tensor]:
    """Tokens, every site's features, every site's errors: all that has a baseline, by token."""
    return [
        run.tokens.flatten(0, 1),
        *(site.activations.matrix for site in run.sites),
        *(site.error.flatten(0, 1) for site in run.sites),
    ]
