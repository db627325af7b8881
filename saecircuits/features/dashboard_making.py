"""Makes dashboards from features that were looked at: no further pass of the model.

1. contexts: the strongest activations, then some of each quarter of the active tokens by strength,
   then of the task's prompts; one context from a text;
2. figures over the text: histogram, quantiles, density with its denominator;
3. direct effects on the logits (`promotion`), and the nearest decoder rows of the dictionary.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from saecircuits.circuits import Circuit
from saecircuits.features.dashboards import (
    QUARTERS,
    CorpusRecord,
    Dashboard,
    Histogram,
    Neighbour,
    OwnDashboard,
    Quantile,
    ShownContext,
    quarter_name,
)
from saecircuits.features.firing import (
    FeatureContext,
    Firing,
    Looked,
    contexts_at,
    features_by_site,
    look_at_features,
)
from saecircuits.features.labels import TOO_FEW, FeatureLabel, label_of
from saecircuits.features.texts import Contexts
from saecircuits.splicing import SplicedModel, require_same_model
from saecircuits.splicing.later import Later
from saecircuits.tasks import Prompts

_SIDES: Final = 10  # tokens of a context on either side
_TOP, _IN_QUARTER, _IN_TASK = 5, 2, 2
_BINS: Final = 20
_NEIGHBOURS: Final = 5
_ROWS_AT_ONCE: Final = 64


def describe_features(
    model: SplicedModel,
    circuit: Circuit,
    contexts: Contexts,
    *,
    prompts: Prompts | None = None,
) -> tuple[tuple[FeatureLabel, ...], tuple[Dashboard, ...]]:
    """Automatic labels and dashboards of the circuit's features, in one order.

    Args:
        contexts: the text that features are looked at on.
        prompts: the task's, which are looked at too.

    Raises:
        InputError: text that leaves no token to look at, or another model than the circuit's.
    """
    require_same_model(model, circuit.provenance, what="circuit")
    labels: list[FeatureLabel] = []
    dashboards: list[Dashboard] = []
    near = _neighbours(model, circuit)
    for looked in look_at_features(model, circuit, contexts.text, prompts=prompts):
        label = label_of(looked, model.tokenizer, with_words=contexts.is_shown)
        labels.append(label)
        neighbours = near[looked.site, looked.feature]
        dashboards.append(_dashboard(model, looked, label, contexts, neighbours))
    return tuple(labels), tuple(dashboards)


@torch.no_grad()
def nearest_rows(
    W_dec: Float[Tensor, "d_sae d_out"],
    features: Sequence[int],
    *,
    later: Later | None = None,
    count: int = _NEIGHBOURS,
) -> Iterator[tuple[tuple[int, float], ...]]:
    """Of each feature the others with the largest cosine between decoder rows, largest first.

    Args:
        later: decoders into later places: a row is then all that a feature writes, side by side.
    """
    parts = [W_dec, *(() if later is None else later.weights.unbind(1))]
    squares = torch.stack([part.to(W_dec).square().sum(1) for part in parts]).sum(0)
    lengths = squares.sqrt().clamp_min(torch.finfo(W_dec.dtype).tiny)
    count = min(count, len(W_dec) - 1)
    for start in range(0, len(features), _ROWS_AT_ONCE):
        chosen = torch.tensor(list(features[start : start + _ROWS_AT_ONCE]), device=W_dec.device)
        products = W_dec[chosen] @ W_dec.T
        for part in parts[1:]:
            there = part.to(W_dec)
            products += there[chosen] @ there.T
        cosines = products / lengths / lengths[chosen, None]
        cosines[torch.arange(len(chosen), device=W_dec.device), chosen] = -torch.inf
        values, which = cosines.topk(count, dim=1)
        for row, columns in zip(values.tolist(), which.tolist(), strict=True):
            yield tuple(zip(columns, row, strict=True))


def _dashboard(
    model: SplicedModel,
    looked: Looked,
    label: FeatureLabel,
    contexts: Contexts,
    near: Sequence[tuple[int, float]],
) -> Dashboard:
    text = looked.firings[0]
    active = text.values[text.order]
    # Features with signs may be negative.
    least, largest = (_digits(end(active, initial=0.0)) for end in (np.min, np.max))
    edges = np.linspace(least, largest or (0.0 if least else 1.0), _BINS + 1)
    counts = np.histogram(np.clip(active, edges[0], edges[-1]), bins=edges)[0].tolist()
    tokenizer = model.tokenizer
    dictionary = model.splices[model.index(looked.site)].dictionary
    page = dictionary.neuronpedia_id
    promoted = [score.token for score in label.promoted]
    suppressed = [score.token for score in label.suppressed]
    return Dashboard(
        index=looked.feature,
        transcoder_id=looked.site,
        examples_quantiles=_quantiles(looked, tokenizer) if contexts.is_shown else (),
        top_logits=tuple(promoted),
        bottom_logits=tuple(suppressed),
        act_min=least,
        act_max=largest,
        quantile_values=tuple(
            _digits(value)
            for value in (np.quantile(abs(active), [0, 0.25, 0.5, 0.75, 1]) if len(active) else ())
        ),
        histogram=tuple(counts),
        activation_frequency=label.density,
        saecircuits=OwnDashboard(
            site=looked.site,
            feature=looked.feature,
            label=label.text,
            too_few=label.text == TOO_FEW,
            active=len(text.order),
            in_task=sum(len(firing.order) for firing in looked.firings[1:]),
            max_activation=largest,
            top_tokens=label.top_tokens,
            promoted=label.promoted,
            suppressed=label.suppressed,
            histogram=Histogram(edges=tuple(map(_digits, edges)), counts=tuple(counts)),
            neighbours=tuple(
                Neighbour(feature=feature, cosine=_digits(cosine)) for feature, cosine in near
            ),
            neuronpedia=None
            if page is None
            else f"https://neuronpedia.org/{page}/{looked.feature}",
            corpus=CorpusRecord(
                source=contexts.source,
                licence=contexts.licence,
                tokens=text.corpus.size,
                is_shown=contexts.is_shown,
            ),
        ),
    )


def _quantiles(looked: Looked, tokenizer: Any) -> tuple[Quantile, ...]:
    text, used = looked.firings[0], set[int]()
    groups = [("Top", _some(text, text.order.tolist(), tokenizer, _TOP, used))]
    n = len(text.order)
    for low, high in QUARTERS:
        # Ordered from the strongest: the upper quarter comes first.
        places = text.order[round((1 - high) * n) : round((1 - low) * n)]
        spread = _spread(places.tolist(), _IN_QUARTER)
        groups.append((quarter_name(low, high), _some(text, spread, tokenizer, _IN_QUARTER, used)))
    for task in looked.firings[1:]:
        found = _some(task, task.order.tolist(), tokenizer, _IN_TASK, set())
        groups.append(("Prompts of the task", found))
    return tuple(
        Quantile(quantile_name=name, examples=tuple(map(_shown, found)))
        for name, found in groups
        if found
    )


def _some(
    firing: Firing, places: Sequence[int], tokenizer: Any, count: int, used: set[int]
) -> list[FeatureContext]:
    return contexts_at(
        firing, places, tokenizer, count=count, before=_SIDES, after=_SIDES, used=used
    )


def _spread(places: Sequence[int], count: int) -> list[int]:
    """The places in an order that begins with evenly spaced ones."""
    if len(places) <= count:
        return list(places)
    step = len(places) / count
    first = [places[int((number + 0.5) * step)] for number in range(count)]
    return [*first, *(place for place in places if place not in first)]


def _shown(context: FeatureContext) -> ShownContext:
    return ShownContext(
        tokens=context.tokens,
        tokens_acts_list=context.activations,
        train_token_ind=context.peak,
    )


def _neighbours(
    model: SplicedModel, circuit: Circuit
) -> dict[tuple[str, int], tuple[tuple[int, float], ...]]:
    found = {}
    for site, features in features_by_site(model, circuit).items():
        dictionary = model.splices[model.index(site)].dictionary
        rows = nearest_rows(dictionary.W_dec, features, later=dictionary.later)
        found |= {(site, feature): near for feature, near in zip(features, rows, strict=True)}
    return found


def _digits(value: float) -> float:
    """Four digits, as in contexts; readers need no more."""
    return float(f"{float(value):.4g}")
