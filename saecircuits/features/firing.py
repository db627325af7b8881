"""What a circuit's features fire on, and what they promote: the ground of labels and dashboards.

All features are read together, in one pass over the text and one over the task's prompts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from saecircuits.circuits import Circuit
from saecircuits.errors import InputError
from saecircuits.features.corpus import Corpus, corpus_of_prompts, corpus_of_text, read_features
from saecircuits.features.promotion import Promotion, promotions
from saecircuits.schema import Count, Record
from saecircuits.splicing import SplicedModel
from saecircuits.tasks import Prompts


@dataclass(frozen=True, eq=False)
class Firing:
    """One feature in one corpus: activations by flat position, and the active ones by size."""

    corpus: Corpus
    values: NDArray[np.float64]
    order: NDArray[np.int64]

    def token(self, place: int) -> int:
        """The token id at a flat position."""
        return int(self.corpus.tokens.flatten()[place])


@dataclass(frozen=True, eq=False)
class Looked:
    """A feature, looked at.

    Attributes:
        firings: in the text, and behind it in the task's prompts if there are any.
    """

    site: str
    feature: int
    firings: tuple[Firing, ...]
    promotion: Promotion


class FeatureContext(Record):
    """Tokens around a strong activation.

    Attributes:
        tokens: as they are, spaces included.
        activations: of the feature at each token.
        peak: index of the token that was looked for.
        origin: `text`, or `task` for a prompt of the task.
    """

    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    peak: Count
    origin: Literal["text", "task"]


def look_at_features(
    model: SplicedModel,
    circuit: Circuit,
    text: Int[Tensor, "text pos"],
    *,
    prompts: Prompts | None = None,
) -> Iterator[Looked]:
    """The circuit's features, by site in forward order and by index.

    What is prepended (position 0, and between two texts) is left out: features fire there that mean
    nothing elsewhere. Where nothing is, position 0 is a token of the text, and looked at.

    Args:
        text: token ids behind what the model prepends; negative ones are padding; no rows for no
            text.
        prompts: the task's.

    Raises:
        InputError: text that leaves no token to look at.
        UnknownNameError: a site that is not spliced.
    """
    corpora = [corpus_of_text(text, bos=model.prepended.id)]
    if len(text) and corpora[0].size == 0:
        raise InputError(
            f"a text of shape {list(text.shape)} has no token behind {model.prepended.name}; give "
            "longer text"
        )
    if prompts is not None:
        corpora.append(corpus_of_prompts(prompts))
    wanted = features_by_site(model, circuit)
    limit = int(circuit.settings.memory_limit)
    read = [read_features(model, corpus, wanted, memory_limit=limit) for corpus in corpora]
    for site, features in wanted.items():
        for column, promotion in enumerate(promotions(model, site, features)):
            firings = tuple(
                _firing(corpus, activations[site][:, [column]].toarray().ravel())
                for corpus, activations in zip(corpora, read, strict=True)
            )
            yield Looked(site, features[column], firings, promotion)


def contexts_at(
    firing: Firing,
    places: Sequence[int],
    tokenizer: Any,
    *,
    count: int,
    before: int,
    after: int,
    used: set[int] | None = None,
) -> list[FeatureContext]:
    """Tokens around some activations, one from each text, no two alike.

    Args:
        places: flat positions, in the order of preference.
        count: at most this many.
        before, after: tokens beside the activation, as far as the text goes.
        used: numbers of texts that are passed by; those taken are added.
    """
    found: list[FeatureContext] = []
    used = set() if used is None else used
    width = firing.corpus.tokens.shape[1]
    for place in places:
        if len(found) == count:
            break
        row, peak = divmod(int(place), width)
        if row in used:
            continue
        used.add(row)
        start, stop = _within_text(firing.corpus.looked_at[row].tolist(), peak, before, after)
        context = FeatureContext(
            tokens=tuple(
                decoded(tokenizer, token)
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
    return found


def decoded(tokenizer: Any, token: int) -> str:
    """The text of one token."""
    return tokenizer.decode([token])


def _within_text(looked_at: Sequence[bool], peak: int, before: int, after: int) -> tuple[int, int]:
    """First and behind the last token around one, up to padding or another text."""
    start, stop = peak, peak + 1
    while start > peak - before and start > 0 and looked_at[start - 1]:
        start -= 1
    while stop <= peak + after and stop < len(looked_at) and looked_at[stop]:
        stop += 1
    return start, stop


def features_by_site(model: SplicedModel, circuit: Circuit) -> dict[str, list[int]]:
    """Indices of the circuit's features, ascending, by site in forward order."""
    rows = circuit.nodes[circuit.nodes["kind"] == "feature"]
    found: dict[str, set[int]] = {}
    for site, feature in zip(rows["site"], rows["feature"], strict=True):
        found.setdefault(site, set()).add(int(feature))
    return {site: sorted(found[site]) for site in sorted(found, key=model.index)}


def _firing(corpus: Corpus, values: NDArray[np.float64]) -> Firing:
    active = values.nonzero()[0]
    # Ties in the order of the text, so that equal runs give equal labels.
    return Firing(corpus, values, active[np.argsort(-np.abs(values[active]), kind="stable")])
