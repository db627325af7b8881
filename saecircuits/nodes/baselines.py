"""The baseline of every node: what it is set to when it is taken out.

Features, errors and (except for `zero`) token embeddings have baselines of their own; the classes
below say which. `b_dec` and skip weights belong to no node and have none. Outside every unit (what
is prepended, padding) the baseline is the clean value itself.

A baseline of your own is a class with a name and `values`, an object of which is given in the place
of a name: `attribute(model, prompts, baseline=Halved())`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar, Final, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saecircuits.choices import looked_up
from saecircuits.errors import InputError
from saecircuits.nodes.shipped import BASELINE_NAMES
from saecircuits.nodes.units import Positions, Units, make_units
from saecircuits.splicing import Activations, Observation, SiteValues, SplicedModel, observe
from saecircuits.splicing.activations import sparse_matrix, sparse_product
from saecircuits.splicing.devices import widest
from saecircuits.tasks import Prompts

# Values of every node of a run: of the token embeddings, of every site's features (sparse), and of
# every site's errors, each with a row for every token of the batch, prompt after prompt.
Values: TypeAlias = list[Tensor]


@dataclass(frozen=True, eq=False)
class UnitMeans:
    """Mean values by unit over a reference set.

    Attributes:
        values: as `Values`, with a row for every unit.
    """

    values: tuple[Float[Tensor, "unit _"], ...]


@dataclass(frozen=True, eq=False)
class Donors:
    """For every prompt another prompt.

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


@dataclass(frozen=True, eq=False)
class Reference:
    """What baselines of some prompts may be taken from beside these.

    Attributes:
        prompts: whose baselines are wanted.
        others: the prompts that supply values; `prompts` themselves, unless others were given.
        seed: of draws.
        batch_size: most prompts in one pass.
    """

    model: SplicedModel
    prompts: Prompts
    others: Prompts
    positions: Positions
    seed: int
    batch_size: int = 32

    @property
    def units(self) -> Units:
        """The units of the prompts that supply values."""
        return make_units(self.others, self.positions, tokenizer=self.model.tokenizer)


@dataclass(frozen=True, eq=False)
class Batch:
    """What the baseline of a batch of prompts is made from.

    Attributes:
        units: of exactly these prompts.
        clean: the values of every node in the clean run.
        supplied: what `Baseline.supply` gave.
        rows: which of all prompts these are.
    """

    model: SplicedModel
    prompts: Prompts
    units: Units
    clean: Values
    supplied: Any
    rows: slice


class Baseline(ABC):
    """A way to set nodes to their baseline.

    Attributes:
        name: in settings and files.
        description: of the values, for cards and help.
        limit: what it cannot show, a sentence or two for the card.
        has_reference: whether values come from a set of other prompts.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    limit: ClassVar[str] = "What this baseline leaves in place under ablation is not explained."
    has_reference: ClassVar[bool] = False

    def supply(self, reference: Reference) -> Any:
        """What is needed of other prompts, computed once for all batches."""
        return None

    @abstractmethod
    def values(self, batch: Batch) -> Values:
        """The values of every node at the baseline, row by row as `batch.clean`.

        Rows outside every unit are not used.
        """

    def of_components(self, corrupted: Tensor) -> Tensor | None:
        """The baseline of heads, MLPs and neurons; None where there is none of this kind.

        Args:
            corrupted: their results in the corrupted run.
        """
        return None


class Corrupted(Baseline):
    """The value in the run on the corrupted prompt, place by place."""

    name = "corrupted"
    description = "their values on the corrupted prompt"
    limit = (
        "Only what differs between the clean and the corrupted prompt is explained. Whatever both "
        "share (that a word of this kind is due at all, say) stays in place under ablation and is "
        "no part of the circuit."
    )

    def values(self, batch: Batch) -> Values:
        return _aligned(batch.model, batch.prompts.corrupted_tokens, batch.units)

    def of_components(self, corrupted: Tensor) -> Tensor:
        return corrupted


class Mean(Baseline):
    """The mean over the clean runs of a reference set, unit by unit, all tokens alike."""

    name = "mean"
    description = "their means over a reference set"
    limit = (
        "Only what differs from the mean over the reference prompts is explained. Whatever these "
        "have in common stays in place under ablation and is no part of the circuit."
    )
    has_reference = True

    def supply(self, reference: Reference) -> UnitMeans:
        return unit_means(
            reference.model, reference.others, reference.units, batch_size=reference.batch_size
        )

    def values(self, batch: Batch) -> Values:
        to_tokens = batch.units.sums.T.coalesce()
        return [sparse_product(to_tokens, mean) for mean in batch.supplied.values]


class Zero(Baseline):
    """Zero for features and errors; token embeddings have no zero and stay."""

    name = "zero"
    description = "zero"
    limit = (
        "Setting nodes to zero takes the model to states that no prompt leads to. Part of an "
        "effect may be damage rather than information."
    )

    def values(self, batch: Batch) -> Values:
        # A token that is not there has no embedding to be set to: zero leaves tokens alone.
        tokens, *others = batch.clean
        return [tokens, *(torch.zeros_like(value) for value in others)]

    def of_components(self, corrupted: Tensor) -> Tensor:
        return torch.zeros_like(corrupted)


class Resample(Baseline):
    """The value in the clean run of another prompt of a reference set, drawn at random.

    One draw for all nodes of a prompt, place by place. No prompt supplies itself, if there are two.
    """

    name = "resample"
    description = "their values on another prompt, drawn at random"
    limit = (
        "Only what differs from prompt to prompt of the reference set is explained. Whatever these "
        "have in common stays in place under ablation and is no part of the circuit."
    )
    has_reference = True

    def supply(self, reference: Reference) -> Donors:
        others, generator = reference.others, torch.Generator().manual_seed(reference.seed)
        order = torch.randperm(len(others), generator=generator, device="cpu")
        # Each prompt of the order is supplied by the one behind it, the last by the first.
        donor = torch.empty_like(order)
        donor[order] = order.roll(-1)
        rows = [int(donor[row % len(donor)]) for row in range(len(reference.prompts))]
        drawn = others.subset(rows)
        return Donors(drawn, reference.units.clean[rows][:, : drawn.clean_tokens.shape[1]])

    def values(self, batch: Batch) -> Values:
        donors, units = batch.supplied.rows(batch.rows), batch.units
        side = donors.units.to(units.clean.device)
        pairs = Units(units.names, units.tokens, units.clean, side)
        return _aligned(batch.model, donors.prompts.clean_tokens, pairs)


class Unnamed(Baseline):
    """A baseline that somebody else made: its name is known from a file, its values are not."""

    description = "values of a kind that was made for this run"

    def __init__(self, name: str) -> None:
        self.name = name  # pyright: ignore[reportAttributeAccessIssue]

    def values(self, batch: Batch) -> Values:
        raise InputError(
            f"the baseline {self.name!r} is not one of this package's; give it as an object"
        )


BASELINES: Final[Mapping[str, Baseline]] = dict(
    zip(BASELINE_NAMES, (Corrupted(), Mean(), Zero(), Resample()), strict=True)
)


def baseline_of(given: str | Baseline) -> Baseline:
    """The baseline of this name, or the one that was given.

    Raises:
        UnknownNameError, InputError: neither.
    """
    return looked_up("baseline", given, BASELINES, Baseline)


def told(given: str | Baseline) -> Baseline:
    """The same for what is told of a run: a name that a file has may be of somebody's own."""
    return BASELINES.get(given, Unnamed(given)) if isinstance(given, str) else given


@dataclass(frozen=True, eq=False)
class BaselineValues:
    """Values of one batch of prompts at their baseline, aligned with the clean prompts' tokens."""

    tokens: Float[Tensor, "batch pos d_model"]
    sites: tuple[SiteValues, ...]


def make_baseline(
    model: SplicedModel,
    prompts: Prompts,
    *,
    baseline: Baseline,
    units: Units,
    clean: Observation,
    supplied: Any = None,
    rows: slice = slice(None),
) -> BaselineValues:
    """The baseline of every node of these prompts.

    Args:
        units: the units of exactly these prompts.
        clean: the clean run of exactly these prompts.
        supplied: what the baseline's `supply` gave.
        rows: which of the prompts that it was given for these are.
    """
    there = _values(clean)
    found = baseline.values(Batch(model, prompts, units, there, supplied, rows))
    inside = units.clean.flatten() >= 0
    values = [_inside(inside, *pair) for pair in zip(found, there, strict=True)]
    n_sites, n_batch = len(model.splices), len(prompts)
    tokens, *errors = (
        value.unflatten(0, (n_batch, -1)) for value in (values[0], *values[1 + n_sites :])
    )
    acts = [Activations(value.coalesce(), n_batch) for value in values[1 : 1 + n_sites]]
    rests = (site.rest for site in clean.sites)
    return BaselineValues(tokens, tuple(map(SiteValues, acts, errors, rests)))


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


def _inside(
    inside: Bool[Tensor, " n_token"], value: Float[Tensor, "n_token _"], now: Tensor
) -> Float[Tensor, "n_token _"]:
    """The baseline's value inside every unit, and the clean one outside."""
    if not value.is_sparse:
        return torch.where(inside[:, None], value, now)
    return sparse_product(_diagonal(inside), value) + sparse_product(_diagonal(~inside), now)


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
