"""What a node's place is counted in: a token position, a named span, or the whole prompt.

Nodes of several prompts can only be one node if their places correspond. `positions="each"` takes
the token position (all prompts equally long), `"span"` the task's named spans (any lengths), and
`"sum"` the prompt as a whole. What is prepended and padding are in no unit: nothing can change
them. Where nothing is prepended, position 0 is a token of the text like any other.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.errors import TaskError, UnknownNameError
from saecircuits.splicing.devices import widest
from saecircuits.tasks import Prompts

Positions: TypeAlias = Literal["each", "span", "sum"]
NO_UNIT = -1


@dataclass(frozen=True, eq=False)
class Units:
    """Which unit each token of each prompt belongs to.

    Attributes:
        names: one per unit, in the order of the prompt; of `each`, the token position.
        tokens: what stands there: the token, or the commonest text of the span.
        clean: index into `names` per token of the clean prompts; -1 for what is prepended and
            padding.
        corrupted: the same for the corrupted prompts.
    """

    names: tuple[str, ...]
    tokens: tuple[str, ...]
    clean: Int[Tensor, "batch pos"]
    corrupted: Int[Tensor, "batch pos_corrupted"]

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def membership(self) -> Float[Tensor, "batch pos unit"]:
        """1.0 where a clean token belongs to a unit."""
        return _membership(self.clean, len(self))

    @cached_property
    def alignment(self) -> Float[Tensor, "n_clean n_corrupted"]:
        """Which corrupted tokens supply the baseline of a clean token; rows add up to 1 or 0.

        Within a unit of equal length on both sides, token for token; otherwise each clean token
        takes the mean over the unit's corrupted tokens. Sparse, `[batch * pos, batch * pos]`.
        """
        clean, corrupted = (_grouped(side, len(self)) for side in (self.clean, self.corrupted))
        size, other_size = clean.sizes[clean.group], corrupted.sizes[clean.group]
        is_equal = size == other_size
        count = torch.where(is_equal, 1, other_size)  # partners of each clean token
        entry = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
        step = torch.arange(len(entry), device=count.device) - (count.cumsum(0) - count)[entry]
        first = corrupted.starts[clean.group] + torch.where(is_equal, clean.rank, 0)
        partner = corrupted.token[first[entry] + step]
        return torch.sparse_coo_tensor(
            torch.stack([clean.token[entry], partner]),
            1 / count[entry].to(widest(count.device)),
            (self.clean.numel(), self.corrupted.numel()),
            check_invariants=False,
        ).coalesce()

    @cached_property
    def sums(self) -> Float[Tensor, "unit n_token"]:
        """Adds up over the clean tokens of a unit, in all prompts together. Sparse."""
        unit = self.clean.flatten()
        token = (unit >= 0).nonzero()[:, 0]
        return torch.sparse_coo_tensor(
            torch.stack([unit[token], token]),
            torch.ones(len(token), dtype=widest(unit.device), device=unit.device),
            (len(self), len(unit)),
            check_invariants=False,
        ).coalesce()

    def rows(self, batch: slice) -> "Units":
        """The units of some of the prompts."""
        return Units(self.names, self.tokens, self.clean[batch], self.corrupted[batch])

    def to(self, device: torch.device) -> "Units":
        """The same units with index tensors on `device`."""
        return Units(self.names, self.tokens, self.clean.to(device), self.corrupted.to(device))


def make_units(prompts: Prompts, positions: Positions, *, tokenizer: Any) -> Units:
    """The units of `prompts` under `positions`.

    Raises:
        TaskError: `each` with prompts of different lengths, or `span` without spans.
        UnknownNameError: `positions` is none of each, span, sum.
    """
    match positions:
        case "each":
            clean, corrupted, names = _each(prompts)
        case "span":
            prompts.require_spans()
            clean, corrupted = prompts.clean_spans, prompts.corrupted_spans
            names = prompts.span_names
        case "sum":
            clean = _inside(prompts.clean_tokens, prompts.clean_lengths, prompts.first)
            corrupted = _inside(prompts.corrupted_tokens, prompts.corrupted_lengths, prompts.first)
            names = ("prompt",)
        case _:
            raise UnknownNameError("positions", positions, get_args(Positions))
    texts = _unit_texts(prompts, clean, len(names), tokenizer)
    return Units(names=names, tokens=texts, clean=clean, corrupted=corrupted)


def _each(prompts: Prompts) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    lengths = torch.cat([prompts.clean_lengths, prompts.corrupted_lengths])
    shortest, longest = int(lengths.min()), int(lengths.max())
    if shortest != longest:
        raise TaskError(
            f"positions='each' needs prompts of one length, found {shortest} to {longest} tokens; "
            "use positions='span' with named spans, or positions='sum'"
        )
    first = prompts.first
    # What is prepended becomes NO_UNIT.
    index = torch.arange(longest, device=prompts.clean_tokens.device) - first
    clean = index.expand(len(prompts), -1).clone()
    return clean, clean.clone(), tuple(str(position) for position in range(first, longest))


def _inside(tokens: Tensor, lengths: Tensor, first: int) -> Tensor:
    position = torch.arange(tokens.shape[1], device=tokens.device)[None]
    is_inside = (position >= first) & (position < lengths[:, None])
    return torch.where(is_inside, 0, NO_UNIT)


class _Grouped(NamedTuple):
    """The tokens that are in units, ordered by prompt and unit.

    Attributes:
        token: counted through all prompts, as are groups (prompt times units, plus unit).
        rank: a token's place within its group.
        sizes, starts: of every group.
    """

    token: Tensor
    group: Tensor
    rank: Tensor
    sizes: Tensor
    starts: Tensor


def _grouped(units: Int[Tensor, "batch pos"], n_unit: int) -> _Grouped:
    prompt = torch.arange(len(units), device=units.device)[:, None]
    group = (prompt * n_unit + units).flatten()
    token = (units.flatten() >= 0).nonzero()[:, 0]
    token = token[group[token].argsort(stable=True)]
    group = group[token]
    sizes = torch.bincount(group, minlength=len(units) * n_unit)
    starts = sizes.cumsum(0) - sizes
    rank = torch.arange(len(token), device=units.device) - starts[group]
    return _Grouped(token, group, rank, sizes, starts)


def _membership(units: Tensor, n_units: int) -> Tensor:
    one_hot = torch.nn.functional.one_hot(units.clamp(min=0), n_units)
    return (one_hot * (units >= 0)[..., None]).to(torch.get_default_dtype())


def _unit_texts(prompts: Prompts, clean: Tensor, n_units: int, tokenizer: Any) -> tuple[str, ...]:
    texts = []
    for unit in range(n_units):
        found: dict[str, int] = {}
        for row in range(len(prompts)):
            is_here = clean[row] == unit
            if is_here.any():
                text = tokenizer.decode(prompts.clean_tokens[row][is_here].tolist())
                found[text] = found.get(text, 0) + 1
        texts.append(max(found, key=lambda text: found[text], default=""))
    return tuple(texts)
