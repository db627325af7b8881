"""Do the dictionaries fit the model? Measured on a few prompts, before anything is built on them.

Of every dictionary, over the tokens of a few clean prompts that are in a unit (BOS is in none):

    variance explained = 1 - sum |error|^2 / sum |written - its mean|^2
    L0                 = features that are not 0, per token

A dictionary of another layer, of another model, or with a normalisation left out, reads numbers of
the right width and explains little, or less than nothing: the mean would do better.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
from torch import Tensor

from saecircuits.errors import DictionaryError
from saecircuits.nodes.experiment import Experiment
from saecircuits.splicing import observe
from saecircuits.splicing.observation import SiteValues
from saecircuits.torch_state import in_own_state

_PROMPTS: Final = 8


@dataclass(frozen=True)
class Fit:
    """How well one dictionary describes what it is spliced into.

    Attributes:
        site: the hook point that it writes.
        variance_explained: 1 for all of it, 0 for no more than the mean, below 0 for less.
        l0: mean number of active features of a token.
        tokens: how many tokens were looked at.
        stated_variance_explained: what its source says of it; None if it does not.
        stated_l0: likewise.
    """

    site: str
    variance_explained: float
    l0: float
    tokens: int
    stated_variance_explained: float | None = None
    stated_l0: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The figures by name."""
        return asdict(self)


@in_own_state
def measure_fit(experiment: Experiment, *, n_prompts: int = _PROMPTS) -> tuple[Fit, ...]:
    """The fit of every dictionary on the first clean prompts, in forward order."""
    model = experiment.model
    some = experiment.prompts.subset(range(min(n_prompts, len(experiment.prompts))))
    tokens = some.clean_tokens.to(model.device)
    inside = experiment.units.clean[: len(tokens), : tokens.shape[1]].to(model.device) >= 0
    seen = observe(model, tokens)
    stated = model.provenance.get("stated", {})
    return tuple(
        _fit(hook, values, seen.written(model, index)[inside], inside, stated.get(hook, {}))
        for index, (hook, values) in enumerate(zip(model.hooks, seen.sites, strict=True))
    )


def checked_fit(experiment: Experiment) -> list[dict[str, Any]]:
    """The fit of every dictionary, for a summary; those that explain less than nothing are refused.

    Unless they are insisted on, as those are that somebody spliced in by hand.

    Raises:
        DictionaryError: naming the worst, and what may be wrong.
    """
    fits, known = measure_fit(experiment), experiment.model.provenance
    worst = min(fits, key=lambda fit: fit.variance_explained)
    if worst.variance_explained >= 0 or "source" not in known or "insisted" in known:
        return [fit.to_json() for fit in fits]
    said = (
        ""
        if worst.stated_variance_explained is None
        else f" (its source says {worst.stated_variance_explained:.2f})"
    )
    raise DictionaryError(
        f"the dictionary at {worst.site!r} explains {worst.variance_explained:.2f} of the variance "
        f"there on {worst.tokens} tokens{said}, less than the mean would: it may be of another "
        "layer or model, or want another normalisation; use one of this model and place, or give "
        "insist=True (--insist) to have it all the same"
    )


def _fit(
    site: str, values: SiteValues, written: Tensor, inside: Tensor, stated: Mapping[str, float]
) -> Fit:
    error = values.error[inside]
    spread = (written - written.mean(0)).square().sum()
    count = torch.zeros(inside.numel(), device=inside.device)
    count.index_add_(0, values.activations.token, torch.ones_like(count)[values.activations.token])
    # Of a single token, or of equal ones, there is no variance; then an error of 0 explains it all.
    explained = 1 - float(error.square().sum() / spread.clamp(min=torch.finfo(spread.dtype).tiny))
    return Fit(
        site=site,
        variance_explained=max(explained, -1e6),
        l0=float(count[inside.flatten()].mean()),
        tokens=len(written),
        stated_variance_explained=stated.get("variance_explained"),
        stated_l0=stated.get("l0"),
    )
