"""Dashboards of the circuit's features: one JSON file each, in the run's folder `features/`.

A file follows the feature-details format that viewers of attribution graphs read, so that these can
show it; everything that format has no name for stands under `saecircuits`. Format
`saecircuits-dashboard/1`; fields are only added within a version.
"""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from saecircuits.features.labels import TokenScore
from saecircuits.schema import Count, Record

DASHBOARD_FORMAT: Final = "saecircuits-dashboard/1"
# Quarters of the active tokens by strength, strongest first.
QUARTERS: Final = ((0.75, 1.0), (0.5, 0.75), (0.25, 0.5), (0.0, 0.25))


def quarter_name(low: float, high: float) -> str:
    """What `Quantile.quantile_name` says of a quarter, such as `50% to 75%`."""
    return f"{low:.0%} to {high:.0%}"


class Shared(BaseModel):
    """Models of the feature-details format, which lets every program add fields of its own."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class ShownContext(Shared):
    """Tokens around one activation, with the activation at each.

    Attributes:
        tokens: as they are, spaces included.
        tokens_acts_list: activations, as many.
        train_token_ind: index of the token that was looked for.
        is_repeated_datapoint: always False; no text is shown twice in a group.
    """

    tokens: tuple[str, ...]
    tokens_acts_list: tuple[float, ...]
    train_token_ind: Count
    is_repeated_datapoint: bool = False


class Quantile(Shared):
    """Contexts of activations of about one size.

    Attributes:
        quantile_name: such as `Top`, `50% to 75%` (of the active tokens, by strength) or
            `Prompts of the task`.
    """

    quantile_name: str
    examples: tuple[ShownContext, ...]


class Neighbour(Record):
    """A feature of the same dictionary and the cosine between the two decoder rows."""

    feature: Count
    cosine: float


class Histogram(Record):
    """How many tokens of the text are active how strongly.

    Attributes:
        edges: ascending, one more than counts; the first is 0, or below it where features have
            signs, and 0 itself is not counted.
    """

    edges: tuple[float, ...]
    counts: tuple[Count, ...]


class CorpusRecord(Record):
    """What the feature was looked at on.

    Attributes:
        source, licence: see `Contexts`.
        tokens: how many tokens were looked at; the denominator of `active`.
        is_shown: False where none of its words are published.
    """

    source: str
    licence: str
    tokens: Count
    is_shown: bool


class OwnDashboard(Record):
    """What is known of a feature beyond the shared format.

    Attributes:
        site: hook name of the dictionary; `feature` the index in it.
        label: the automatic label, of nobody's making; `too_few` if it says "too few examples".
        label_author, label_date: of a label that a person wrote, which then stands in `label`, the
            automatic one in `auto_label`.
        active: tokens of the text on which it is active; over `corpus.tokens` its density.
        in_task: the same for the task's prompts.
        max_activation: over the text; 0 where it is never active.
        promoted, suppressed: as in `FeatureLabel`.
        neighbours: the largest cosines in the dictionary, largest first.
        neuronpedia: address of its page there, where the dictionary carries an id.
    """

    format: Literal["saecircuits-dashboard/1"] = DASHBOARD_FORMAT
    site: str
    feature: Count
    label: str
    too_few: bool
    auto: bool = True
    label_author: str | None = None
    label_date: str | None = None
    auto_label: str | None = None
    active: Count
    in_task: Count
    max_activation: float
    top_tokens: tuple[TokenScore, ...]
    promoted: tuple[TokenScore, ...]
    suppressed: tuple[TokenScore, ...]
    histogram: Histogram
    neighbours: tuple[Neighbour, ...]
    neuronpedia: str | None
    corpus: CorpusRecord


class Dashboard(Shared):
    """One feature.

    Attributes:
        index: the feature's number in its dictionary.
        transcoder_id: the site.
        top_logits, bottom_logits: tokens that it promotes and suppresses directly.
        act_min, act_max: 0 and the largest activation, for colours; of features with signs the
            smallest may be below 0.
        quantile_values: activations, without their signs, at 0, 25, 50, 75 and 100% of the active
            tokens, by strength.
        histogram: counts of `saecircuits.histogram`.
        activation_frequency: share of the text's tokens on which it is active.
    """

    index: Count
    transcoder_id: str
    examples_quantiles: tuple[Quantile, ...]
    top_logits: tuple[str, ...]
    bottom_logits: tuple[str, ...]
    act_min: float
    act_max: float
    quantile_values: tuple[float, ...]
    histogram: tuple[Count, ...]
    activation_frequency: float
    saecircuits: OwnDashboard

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.saecircuits.site}.f{self.saecircuits.feature}.json"
