"""What a run's views are made from: finished values, which `publish` has or a folder holds."""

from collections.abc import Sequence
from dataclasses import dataclass

from saecircuits.circuits import Circuit, Routes
from saecircuits.edges.graph import AttributionGraph
from saecircuits.features.dashboards import CorpusRecord, Dashboard
from saecircuits.features.labels import FeatureLabel
from saecircuits.features.looks import HeadLook
from saecircuits.runs.degrees import DegreesRecord
from saecircuits.runs.records import CircuitRecord
from saecircuits.validation import ValidationReport


@dataclass(frozen=True, eq=False)
class Contents:
    """Everything that card, picture, page and exports show.

    Attributes:
        record: what the run's `circuit.json` holds.
        report: None says that nothing was validated.
        labels: of some or all of the circuit's features; the others go by their number.
        graph: what the circuit was chosen from, for what pruning left behind.
        routes: the strongest paths, if they were looked for.
        dashboards: of the features that are labelled, or of some.
        looks: why heads look where they look; `degrees` the metric by degree: where the model was
            at hand.
        licence: of the run's files.
    """

    circuit: Circuit
    record: CircuitRecord
    report: ValidationReport | None = None
    labels: Sequence[FeatureLabel] = ()
    graph: AttributionGraph | None = None
    routes: Routes | None = None
    dashboards: Sequence[Dashboard] = ()
    looks: Sequence[HeadLook] = ()
    degrees: DegreesRecord | None = None
    licence: str | None = None

    @property
    def corpus(self) -> CorpusRecord | None:
        """The text that features were looked at on, if they were."""
        return self.dashboards[0].saecircuits.corpus if self.dashboards else None
