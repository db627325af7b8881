"""Every choice that a run can have made has its words, wherever a run is told about."""

import dataclasses
from collections.abc import Mapping
from typing import Any, get_args

import pytest

from saecircuits.edges.settings import AttributionSettings
from saecircuits.nodes.baselines import BaselineKind
from saecircuits.nodes.estimators import Estimator
from saecircuits.nodes.units import Positions
from saecircuits.publication import words
from saecircuits.publication.certainty import certainty
from saecircuits.publication.limits import limit_points
from saecircuits.splicing import ErrorPolicy, Linearization
from tests.made import made_circuit, made_report

TABLES = {
    "BASELINES": BaselineKind,
    "BASELINE_LIMITS": BaselineKind,
    "POSITION_LIMITS": Positions,
    "KEPT_ERRORS": ErrorPolicy,
    "ESTIMATORS": Estimator,
    "LINEARIZATIONS": Linearization,
}
CHOICES = {
    "baseline": BaselineKind,
    "positions": Positions,
    "error_policy": ErrorPolicy,
    "estimator": Estimator,
    "linearization": Linearization,
}


def test_the_tables_of_words_are_complete() -> None:
    tables = {name for name, value in vars(words).items() if isinstance(value, Mapping)}
    assert {name for name in tables if name.isupper()} == set(TABLES)
    for name, choices in TABLES.items():
        assert set(getattr(words, name)) == set(get_args(choices)), name


@pytest.mark.parametrize(
    ("name", "value"), [(name, one) for name, kind in CHOICES.items() for one in get_args(kind)]
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
