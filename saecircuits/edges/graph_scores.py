"""How much of a graph's influence goes by features and not by errors: two ways of counting.

By size, as circuit-tracer counts (`theory.graph_scores`, `edges.influence`): of every node's
inputs, each has a share, by |effect|; followed back from the metric, shares end in tokens or in
error nodes. By sign (`nodes.features_alone`): what the tokens do to the metric to first order by
paths that meet no error node, beside what they do by all. The first never leaves 0 to 1 and counts
what cancels; the second is exact for the linear operator at the clean run over all nodes, is in
logits, and what cancels in it is gone.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from jaxtyping import Float
from pydantic import ValidationError

from saecircuits.errors import InputError
from saecircuits.nodes.effects import bootstrap_interval, resample_counts
from saecircuits.schema import Number, Record
from saecircuits.theory.graph_scores import UnsignedScores

# A tenth of what the whole model does; of less, no share is given.
LEAST_SHARED: Final = 0.1
SCORES: Final = "scores"


class GraphScores(Record):
    """`graph.summary["scores"]`, over the graph's prompts; see `graph_scores`.

    Attributes:
        replacement: circuit-tracer's replacement score of a prompt's graph, mean over prompts;
            None where no token has an effect, as under the baseline `zero`.
        replacement_low, replacement_high: 95% bootstrap interval over prompts; None for a single
            one.
        completeness: its completeness score; no figure of ablation, as a report's `completeness`
            is.
        completeness_low, completeness_high: as above.
        tokens: the tokens' linear effect on the metric, in logits, mean over prompts.
        by_features: what of it passes through no error node.
        features_share: `by_features / tokens`: under 0 where they are of opposite sign, above 1
            where error nodes work against them. None where `tokens` is under a tenth of the whole
            change of the metric.
        features_share_low, features_share_high: prompts drawn anew, the ratio formed again.
    """

    replacement: Number = None
    replacement_low: Number = None
    replacement_high: Number = None
    completeness: Number = None
    completeness_low: Number = None
    completeness_high: Number = None
    tokens: Number = None
    by_features: Number = None
    features_share: Number = None
    features_share_low: Number = None
    features_share_high: Number = None

    @classmethod
    def of(cls, summary: Mapping[str, Any]) -> "GraphScores | None":
        """Those of a graph's or circuit's summary; None in runs of versions that had none.

        Raises:
            InputError: what stands there is something else.
        """
        if SCORES not in summary:
            return None
        try:
            return cls.model_validate(summary[SCORES])
        except ValidationError as wrong:
            raise InputError(
                f"the summary's {SCORES!r} are no scores of a graph: {wrong}"
            ) from None

    @classmethod
    def of_one(cls, scores: UnsignedScores) -> "GraphScores":
        """Scores of a single graph, of which nothing else is known."""
        return cls(
            replacement=_number(scores.replacement), completeness=_number(scores.completeness)
        )


def graph_scores(
    by_size: Float[np.ndarray, "2 scored"],
    token_effects: Float[np.ndarray, "2 prompt"],
    ends: Float[np.ndarray, "2 prompt"],
    *,
    has_tokens: bool,
    seed: int,
) -> GraphScores:
    """The figures over all prompts.

    Args:
        by_size: replacement and completeness of each prompt's graph; of no prompt where there are
            no edges.
        token_effects: the tokens' linear effect, and what of it goes by features alone, in logits.
        ends: the metric with every node clean, and with every node at its baseline.
        has_tokens: whether any token has an effect.
        seed: of the bootstrap.
    """
    known = by_size[:, np.isfinite(by_size).all(axis=0)]
    figures: dict[str, float | None] = {}
    for name, values in zip(("replacement", "completeness"), known, strict=True):
        if not len(values) or (name == "replacement" and not has_tokens):
            continue
        low, high = bootstrap_interval(values[:, None], seed=seed)
        figures |= {name: float(values.mean()), f"{name}_low": low[0], f"{name}_high": high[0]}
    tokens, by_features = token_effects.mean(axis=1)
    figures |= {"tokens": tokens, "by_features": by_features}
    change = float((ends[0] - ends[1]).mean())
    if has_tokens and abs(tokens) >= LEAST_SHARED * abs(change):
        figures["features_share"] = by_features / tokens
        if (n_prompt := token_effects.shape[1]) > 1:
            drawn = token_effects @ resample_counts(n_prompt, resamples=1000, seed=seed).T
            low, high = np.quantile(drawn[1] / drawn[0], [0.025, 0.975])
            figures |= {"features_share_low": low, "features_share_high": high}
    return GraphScores(**{name: _number(value) for name, value in figures.items()})


def _number(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)
