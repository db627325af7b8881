"""Settings refuse what they do not know, in the package's own words."""

from typing import Any

import pytest

from saecircuits.edges.settings import AttributionSettings
from saecircuits.errors import InputError, UnknownNameError


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"estimator": "gradients"}, "unknown estimator 'gradients'; did you mean 'gradient'"),
        ({"linearization": "froze"}, "unknown linearization 'froze'; did you mean 'frozen'"),
        ({"positions": "spans"}, "unknown positions 'spans'; did you mean 'span'"),
        ({"error_policy": "held"}, "unknown error_policy 'held'; did you mean 'hold'"),
        ({"baseline": "none"}, "unknown baseline 'none'.*known: corrupted, mean, resample, zero"),
        ({"estimatr": "gradient"}, "unknown setting 'estimatr'; did you mean 'estimator'"),
    ],
)
def test_unknown_names(choice: dict[str, Any], message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        AttributionSettings(**choice)


def _choice(name: str, value: int) -> dict[str, Any]:
    return {name: value}


@pytest.mark.parametrize("name", ["max_nodes", "max_edges", "batch_size"])
@pytest.mark.parametrize("value", [0, -3])
def test_counts_are_at_least_one(name: str, value: int) -> None:
    with pytest.raises(InputError, match=f"{name} is {value}; it must be at least 1"):
        AttributionSettings(**_choice(name, value))


@pytest.mark.parametrize("value", [-0.5, float("nan")])
def test_a_threshold_is_a_size(value: float) -> None:
    with pytest.raises(InputError, match=f"target_threshold is {value}; it must be 0 or more"):
        AttributionSettings(target_threshold=value)


def test_all_nodes_are_none() -> None:
    assert AttributionSettings(max_nodes=None).max_nodes is None


def test_settings_do_not_change(toy) -> None:
    settings = AttributionSettings(estimator="gradient", max_nodes=7)
    with pytest.raises(ValueError, match="frozen"):
        settings.max_nodes = 8
    assert settings == AttributionSettings(max_nodes=7, estimator="gradient")
    assert AttributionSettings.model_validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize(
    ("choices", "done"),
    [
        ({}, "crossed"),
        ({"thresholds": "held"}, "held"),
        ({"estimator": "integrated_gradients"}, "held"),
        ({"linearization": "frozen"}, "held"),
        ({"linearization": "secant", "thresholds": "crossed"}, "held"),
        ({"error_policy": "hold"}, "held"),
        ({"estimator": "intervention", "thresholds": "held"}, "crossed"),
    ],
)
def test_thresholds_are_written_as_they_are_done(choices: dict[str, Any], done: str) -> None:
    settings = AttributionSettings(**choices)
    assert settings.thresholds == done
    assert settings.model_dump()["thresholds"] == done
    # Only derivatives are taken across; interventions cross by themselves.
    assert settings.crosses_thresholds == (done == "crossed" and "estimator" not in choices)
    assert AttributionSettings(**settings.model_dump()) == settings


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_tolerance_is_above_zero(value: float) -> None:
    with pytest.raises(InputError, match="tolerance is"):
        AttributionSettings(tolerance=value)
