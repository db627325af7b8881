"""Which features of two sets of dictionaries are the same: matched one to one, in two ways.

    direction    by the cosine between decoder rows
    activation   by Pearson's correlation of activations over tokens

At every site the features of one dictionary are assigned to those of the other so that the sum of
these is largest, each to one at most. A pair counts as the same feature if it has at least a bar,
0.7 (as in Paulo and Belrose 2025, arXiv 2501.16615, who match by encoder and decoder rows).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import optimize
from torch import Tensor

import saecircuits as sc
from saecircuits.tasks import Prompts

By: TypeAlias = Literal["direction", "activation"]
WAYS: tuple[By, ...] = ("direction", "activation")
BAR = 0.7


@dataclass(frozen=True, eq=False)
class SiteMatch:
    """The pairs of one site, in the order of the first dictionary's features.

    Attributes:
        first, second: numbers of the features of every pair.
        cosine: of their decoder rows.
        correlation: of their activations over tokens; 0 where one is never active.
        is_active: whether the first is active on any of these tokens.
        by: which of the two they were matched by.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    cosine: NDArray[np.float64]
    correlation: NDArray[np.float64]
    is_active: NDArray[np.bool_]
    by: By

    def is_same(self, bar: float) -> NDArray[np.bool_]:
        """Which pairs have at least this, by what they were matched by."""
        return (self.cosine if self.by == "direction" else self.correlation) >= bar

    def partners(self, bar: float) -> dict[int, int]:
        """Feature to partner, for the pairs that count as the same."""
        kept = self.is_same(bar)
        return dict(zip(self.first[kept].tolist(), self.second[kept].tolist(), strict=True))


Matches = Mapping[str, SiteMatch]


def match_models(
    first: sc.SplicedModel, second: sc.SplicedModel, prompts: Sequence[Prompts], *, by: By
) -> dict[str, SiteMatch]:
    """The pairs at every site; activations are of the clean prompts, position 0 left out."""
    found = {}
    here, there = (activations(model, prompts) for model in (first, second))
    for one, other in zip(first.splices, second.splices, strict=True):
        hook = one.site.hook
        assert hook == other.site.hook, "both models have dictionaries at the same sites"
        cosine = cosines(one.dictionary.W_dec, other.dictionary.W_dec)
        correlation = cosines(_centred(here[hook]), _centred(there[hook]))
        rows, columns = optimize.linear_sum_assignment(
            cosine if by == "direction" else correlation, maximize=True
        )
        found[hook] = SiteMatch(
            first=rows,
            second=columns,
            cosine=cosine[rows, columns],
            correlation=correlation[rows, columns],
            is_active=(here[hook] > 0).any(0).numpy()[rows],
            by=by,
        )
    return found


@torch.no_grad()
def cosines(first: Tensor, second: Tensor) -> NDArray[np.float64]:
    """Of every row with every row; 0 for a row of zeros."""
    units = [F.normalize(rows.double(), dim=1) for rows in (first, second)]
    return (units[0] @ units[1].T).numpy()


def _centred(values: Tensor) -> Tensor:
    """Columns less their means, as rows."""
    return (values.double() - values.double().mean(0)).T


@torch.no_grad()
def activations(model: sc.SplicedModel, prompts: Sequence[Prompts]) -> dict[str, Tensor]:
    """`[token, feature]` at every site."""
    found: dict[str, list[Tensor]] = {hook: [] for hook in model.hooks}
    for some in prompts:
        tokens, lengths = some.clean_tokens, some.clean_lengths
        place = torch.arange(tokens.shape[1])
        is_inside = (place >= 1) & (place < lengths[:, None])

        def keep(index: int, read: Tensor, write: Tensor, inside: Tensor = is_inside) -> None:
            encoded = model.splices[index].dictionary.encode(read[inside])
            found[model.hooks[index]].append(encoded)

        model.forward(tokens, at_site=keep)
    return {hook: torch.cat(parts) for hook, parts in found.items()}


def translated(node: str, matches: Matches, *, bar: float = BAR) -> str | None:
    """The id of a node's partner; None for a feature without one.

    Error nodes, tokens and the metric are partners of their like at the same place.
    """
    what, _, unit = node.partition("@")
    hook, _, member = what.rpartition(".")
    if hook not in matches or member == "error":
        return node
    partner = matches[hook].partners(bar).get(int(member.removeprefix("f")))
    return None if partner is None else f"{hook}.f{partner}@{unit}"


def translations(nodes: Iterable[str], matches: Matches, *, bar: float = BAR) -> dict[str, str]:
    """Node to partner, for all that have one."""
    found = {node: translated(node, matches, bar=bar) for node in nodes}
    return {node: partner for node, partner in found.items() if partner is not None}


def match_table(matches: Matches, *, bar: float = BAR) -> pd.DataFrame:
    """One row a site: how many features are matched, and how well.

    `same` is the share of the pairs with at least `bar`, `same active` that of those whose first
    feature is active on the prompts; the medians are over these.
    """
    rows = []
    for hook, match in matches.items():
        is_same, active = match.is_same(bar), match.is_active
        rows.append(
            {
                "by": match.by,
                "site": hook,
                "pairs": len(match.first),
                "same": is_same.mean(),
                "active": active.sum(),
                "same active": is_same[active].mean(),
                "median cosine": np.median(match.cosine[active]),
                "median correlation": np.median(match.correlation[active]),
            }
        )
    return pd.DataFrame(rows)
