"""Every choice that a run can have made has its words, wherever a run is told about."""

import dataclasses
from collections.abc import Mapping
from typing import Any, get_args

import pytest

from saecircuits.edges.estimators import ESTIMATORS
from saecircuits.edges.settings import AttributionSettings
from saecircuits.nodes.baselines import BASELINES, Baseline, told
from saecircuits.nodes.units import Positions
from saecircuits.publication import words
from saecircuits.publication.certainty import certainty
from saecircuits.publication.limits import limit_points
from saecircuits.splicing import ErrorPolicy, Linearization
from tests.made import made_circuit, made_report

TABLES = {
    "POSITION_LIMITS": Positions,
    "KEPT_ERRORS": ErrorPolicy,
    "LINEARIZATIONS": Linearization,
}
CHOICES = {
    "baseline": BASELINES,
    "positions": Positions,
    "error_policy": ErrorPolicy,
    "estimator": ESTIMATORS,
    "linearization": Linearization,
}


def test_the_tables_of_words_are_complete() -> None:
    tables = {name for name, value in vars(words).items() if isinstance(value, Mapping)}
    assert {name for name in tables if name.isupper()} == set(TABLES)
    for name, choices in TABLES.items():
        assert set(getattr(words, name)) == set(get_args(choices)), name


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, one) for name, kind in CHOICES.items() for one in get_args(kind) or kind],
)
def test_every_choice_is_told(name: str, value: str) -> None:
    choices: dict[str, Any] = {name: value}
    circuit = dataclasses.replace(made_circuit(), settings=AttributionSettings(**choices))
    report = made_report(**({"baseline": value} if name == "baseline" else {}))
    told = [certainty(circuit, report), *limit_points(circuit, report, has_labels=True)]
    default = made_circuit()
    if getattr(default.settings, name) != value:
        other = [certainty(default, report), *limit_points(default, made_report(), has_labels=True)]
        assert told != other


class _Halved(Baseline):
    """Half of the clean value."""

    name = "halved"
    description = "half of their clean values"
    limit = "Half is left in place."

    def values(self, batch: Any) -> Any:
        return [value / 2 for value in batch.clean]


def test_a_baseline_of_ones_own_is_told_as_an_object_and_by_its_name_alone() -> None:
    settings = AttributionSettings(baseline=_Halved())
    circuit = dataclasses.replace(made_circuit(), settings=settings)
    report = made_report(baseline="halved")
    assert "Half is left in place." in limit_points(circuit, None, has_labels=True)
    assert told("halved").limit in limit_points(circuit, report, has_labels=True)
    stored = AttributionSettings(**AttributionSettings.stored(settings.model_dump()))
    assert told(stored.baseline).name == "halved"
