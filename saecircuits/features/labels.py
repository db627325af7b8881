"""Automatic labels of the circuit's features, without a network and without another model.

1. read the features' activations on text, and on the task's prompts (`firing`);
2. what they fire on: the tokens of the strongest activations, and their contexts;
3. what they promote: `W_dec @ W_U` with the final norm's weight folded in (`promotion`);
4. a short text of both, such as `girl | +She`.

The direct effect (3) leaves out the final norm's scale, which differs from token to token, and
everything that later blocks make of the feature. All labels are marked `auto`.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from jaxtyping import Int
from torch import Tensor

from saecircuits.circuits import Circuit
from saecircuits.features.firing import (
    FeatureContext,
    Firing,
    Looked,
    contexts_at,
    decoded,
    look_at_features,
)
from saecircuits.schema import Count, Record
from saecircuits.shown_text import shown_token
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


class TokenScore(Record):
    """A token and a number about it."""

    token: str
    score: float


class FeatureLabel(Record):
    """What a feature fires on and what it promotes, as far as some text shows.

    Attributes:
        site: hook name of the dictionary.
        feature: index in the dictionary.
        text: the short label; "too few examples" below 5 activations.
        top_tokens: where it fires: share of the summed activation over its 100 strongest, in the
            text (in the task's prompts where the text has fewer than 5 activations).
        contexts: the strongest ones, one from each text, no two alike.
        promoted, suppressed: direct effect on the logits of one unit of activation, less the mean
            over the vocabulary and up to the final norm's scale; empty where the dictionary does
            not write to the residual stream.
        density: share of the text's tokens on which it is active; the task's prompts do not count.
        n_tokens: how many tokens of text that is a share of.
        examples: activations found, in text and prompts together.
        auto: nobody has looked at it.
        author, date: of a label that a person wrote; it then takes the place of the automatic
            `text`, which is kept in `auto_text`.
    """

    site: str
    feature: Count
    text: str
    top_tokens: tuple[TokenScore, ...]
    contexts: tuple[FeatureContext, ...]
    promoted: tuple[TokenScore, ...]
    suppressed: tuple[TokenScore, ...]
    density: float
    n_tokens: Count
    examples: Count
    auto: bool = True
    author: str | None = None
    date: str | None = None
    auto_text: str | None = None


def label_features(
    model: SplicedModel,
    circuit: Circuit,
    text: Int[Tensor, "text pos"],
    *,
    prompts: Prompts | None = None,
) -> tuple[FeatureLabel, ...]:
    """Labels of the circuit's features, by site in forward order and by index.

    Args:
        text: token ids behind what the model prepends; `generate_text` makes some.
        prompts: the task's, for contexts beside those in the text.

    Raises:
        InputError: text that leaves no token to look at.
        UnknownNameError: a site that is not spliced.
    """
    looked = look_at_features(model, circuit, text, prompts=prompts)
    return tuple(label_of(one, model.tokenizer) for one in looked)


def label_of(looked: Looked, tokenizer: Any, *, with_words: bool = True) -> FeatureLabel:
    """The label of a feature that was looked at.

    Args:
        with_words: False to use no words of the text, and no contexts: tokens are then those of
            the task's prompts alone.
    """
    firings, promotion = looked.firings, looked.promotion
    text = firings[0]
    is_frequent = len(text.order) >= FEWEST_EXAMPLES
    shown = text if is_frequent else firings[-1]
    if not with_words:
        shown = firings[1] if len(firings) > 1 else None
    top = () if shown is None else _top_tokens(shown, tokenizer)
    examples = sum(len(firing.order) for firing in firings)
    promoted = named_tokens(promotion.promoted, tokenizer)
    return FeatureLabel(
        site=looked.site,
        feature=looked.feature,
        text=(
            _short_text(top, promoted[:1] if promotion.stands_out else ())
            if examples >= FEWEST_EXAMPLES and (top or promotion.stands_out)
            else TOO_FEW
        ),
        top_tokens=top,
        contexts=tuple(
            context
            for firing in (firings if with_words else ())
            for context in contexts_at(
                firing,
                firing.order.tolist(),
                tokenizer,
                count=_CONTEXTS[firing.corpus.origin],
                before=_BEFORE,
                after=_AFTER,
            )
        ),
        promoted=promoted,
        suppressed=named_tokens(promotion.suppressed, tokenizer),
        density=len(text.order) / max(1, text.corpus.size),
        n_tokens=text.corpus.size,
        examples=examples,
    )


def named_tokens(scores: Iterable[tuple[int, float]], tokenizer: Any) -> tuple[TokenScore, ...]:
    """Token ids with numbers, spelt out."""
    return tuple(TokenScore(token=decoded(tokenizer, token), score=s) for token, s in scores)


def _top_tokens(firing: Firing, tokenizer: Any) -> tuple[TokenScore, ...]:
    sums: dict[int, float] = {}
    for place in firing.order[:_STRONGEST].tolist():
        token = firing.token(place)
        sums[token] = sums.get(token, 0.0) + abs(float(firing.values[place]))
    total = sum(sums.values())
    ranked = sorted(sums, key=lambda token: (-sums[token], token))[:_LISTED]
    return named_tokens(((token, sums[token] / total) for token in ranked), tokenizer)


def _short_text(top: Sequence[TokenScore], promoted: Sequence[TokenScore]) -> str:
    named = [score.token for score in top[:1]]
    if len(top) > 1 and top[1].score >= _WORTH_NAMING * top[0].score:
        named.append(top[1].token)
    # " Girl" and "girl" are one word to a reader.
    words = {shown_token(token).casefold(): shown_token(token) for token in reversed(named)}
    # Where embeddings are tied, an early feature promotes the token that it fires on.
    news = [shown_token(score.token) for score in promoted]
    news = [f"+{token}" for token in news if token.casefold() not in words]
    return " | ".join([*([", ".join(reversed(words.values()))] if words else []), *news])
