"""Automatic labels of the circuit's features, without a network and without another model.

1. read the features' activations on text, and on the task's prompts (`readings`);
2. what they fire on: the tokens of the strongest activations, and their contexts;
3. what they promote: `W_dec @ W_U` with the final norm's weight folded in (`promotion`);
4. a short text of both, such as `girl | +She`.

The direct effect (3) leaves out the final norm's scale, which differs from token to token, and
everything that later blocks make of the feature. All labels are marked `auto`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from saecircuits.circuits import Circuit
from saecircuits.errors import InputError
from saecircuits.publication.promotion import Promotion, promotions
from saecircuits.publication.readings import (
    Corpus,
    corpus_of_prompts,
    corpus_of_text,
    read_features,
)
from saecircuits.publication.records import FeatureContext, FeatureLabel, TokenScore
from saecircuits.publication.tokens import shown_token
from saecircuits.splicing import SplicedModel
from saecircuits.tasks import Prompts

FEWEST_EXAMPLES: Final = 5
TOO_FEW: Final = "too few examples"
_STRONGEST: Final = 100  # activations that say what a feature fires on
_LISTED: Final = 5  # tokens of them that are named
_CONTEXTS: Final = {"text": 4, "task": 2}
_BEFORE, _AFTER = 10, 4  # tokens of a context around its peak
# A second token is named in the label if it is at least this share of the first.
_WORTH_NAMING: Final = 0.5


@dataclass(frozen=True, eq=False)
class _Firing:
    """One feature in one corpus: activations by flat position, and the active ones by strength."""

    corpus: Corpus
    values: NDArray[np.float64]
    order: NDArray[np.int64]

    def token(self, place: int) -> int:
        """The token id at a flat position."""
        return int(self.corpus.tokens.flatten()[place])


def label_features(
    model: SplicedModel,
    circuit: Circuit,
    text: Int[Tensor, "text pos"],
    *,
    prompts: Prompts | None = None,
) -> tuple[FeatureLabel, ...]:
    """Labels of the circuit's features, by site in forward order and by index.

    BOS (position 0, and between two texts) is left out: features fire there that mean nothing
    elsewhere.

    Args:
        text: token ids, BOS first, no padding; `generate_text` makes some.
        prompts: the task's, for contexts beside those in the text.

    Raises:
        InputError: text that leaves no token to look at.
        UnknownNameError: a site that is not spliced.
    """
    corpora = [corpus_of_text(text, bos=model.tokenizer.bos_token_id)]
    if corpora[0].size == 0:
        raise InputError(
            f"a text of shape {list(text.shape)} has no token behind BOS; give longer text"
        )
    if prompts is not None:
        corpora.append(corpus_of_prompts(prompts))
    wanted = _features_by_site(model, circuit)
    read = [read_features(model, corpus, wanted) for corpus in corpora]
    labels = []
    for site, features in wanted.items():
        for column, promotion in enumerate(promotions(model, site, features)):
            firings = [
                _firing(corpus, activations[site][:, [column]].toarray().ravel())
                for corpus, activations in zip(corpora, read, strict=True)
            ]
            labels.append(_label(model.tokenizer, site, features[column], firings, promotion))
    return tuple(labels)


def _features_by_site(model: SplicedModel, circuit: Circuit) -> dict[str, list[int]]:
    rows = circuit.nodes[circuit.nodes["kind"] == "feature"]
    found: dict[str, set[int]] = {}
    for site, feature in zip(rows["site"], rows["feature"], strict=True):
        found.setdefault(site, set()).add(int(feature))
    return {site: sorted(found[site]) for site in sorted(found, key=model.index)}


def _firing(corpus: Corpus, values: NDArray[np.float64]) -> _Firing:
    active = values.nonzero()[0]
    # Ties in the order of the text, so that equal runs give equal labels.
    return _Firing(corpus, values, active[np.argsort(-values[active], kind="stable")])


def _label(
    tokenizer: Any, site: str, feature: int, firings: Sequence[_Firing], promotion: Promotion
) -> FeatureLabel:
    text = firings[0]
    is_frequent = len(text.order) >= FEWEST_EXAMPLES
    top = _top_tokens(text if is_frequent else firings[-1], tokenizer)
    examples = sum(len(firing.order) for firing in firings)
    promoted = _named(promotion.promoted, tokenizer)
    return FeatureLabel(
        site=site,
        feature=feature,
        text=(
            _short_text(top, promoted[:1] if promotion.stands_out else ())
            if examples >= FEWEST_EXAMPLES
            else TOO_FEW
        ),
        top_tokens=top,
        contexts=tuple(context for firing in firings for context in _contexts(firing, tokenizer)),
        promoted=promoted,
        suppressed=_named(promotion.suppressed, tokenizer),
        density=len(text.order) / text.corpus.size,
        n_tokens=text.corpus.size,
        examples=examples,
    )


def _named(scores: Iterable[tuple[int, float]], tokenizer: Any) -> tuple[TokenScore, ...]:
    return tuple(TokenScore(token=tokenizer.decode([token]), score=s) for token, s in scores)


def _top_tokens(firing: _Firing, tokenizer: Any) -> tuple[TokenScore, ...]:
    sums: dict[int, float] = {}
    for place in firing.order[:_STRONGEST].tolist():
        token = firing.token(place)
        sums[token] = sums.get(token, 0.0) + float(firing.values[place])
    total = sum(sums.values())
    ranked = sorted(sums, key=lambda token: (-sums[token], token))[:_LISTED]
    return _named(((token, sums[token] / total) for token in ranked), tokenizer)


def _short_text(top: Sequence[TokenScore], promoted: Sequence[TokenScore]) -> str:
    named = [top[0].token]
    if len(top) > 1 and top[1].score >= _WORTH_NAMING * top[0].score:
        named.append(top[1].token)
    # " Girl" and "girl" are one word to a reader.
    words = {shown_token(token).casefold(): shown_token(token) for token in reversed(named)}
    # Where embeddings are tied, an early feature promotes the token that it fires on.
    news = [shown_token(score.token) for score in promoted]
    news = [f"+{token}" for token in news if token.casefold() not in words]
    return " | ".join([", ".join(reversed(words.values())), *news])


def _contexts(firing: _Firing, tokenizer: Any) -> list[FeatureContext]:
    found: list[FeatureContext] = []
    used: set[int] = set()
    width = firing.corpus.tokens.shape[1]
    for place in firing.order.tolist():
        row, peak = divmod(place, width)
        if row in used:
            continue
        used.add(row)
        # Neither BOS nor padding.
        last = int(firing.corpus.looked_at[row].nonzero().max())
        start, stop = max(1, peak - _BEFORE), min(last, peak + _AFTER) + 1
        context = FeatureContext(
            tokens=tuple(
                tokenizer.decode([token])
                for token in firing.corpus.tokens[row, start:stop].tolist()
            ),
            # Four digits are more than a reader of contexts needs, and a third of the file.
            activations=tuple(
                float(f"{value:.4g}")
                for value in firing.values[row * width + start : row * width + stop]
            ),
            peak=peak - start,
            origin=firing.corpus.origin,
        )
        if all(context.tokens != other.tokens for other in found):
            found.append(context)
        if len(found) == _CONTEXTS[firing.corpus.origin]:
            break
    return found
