"""Calibration: known agreements come out as such."""

import numpy as np
import pytest
import torch

from saecircuits.edges.attribute import attribute
from saecircuits.errors import InputError
from saecircuits.nodes.effects import node_effects, node_index
from saecircuits.nodes.estimators import clean_gradients
from saecircuits.nodes.experiment import experiment_of
from saecircuits.validation.calibration import (
    STRATA,
    _afforded,
    _joint_effects,
    calibrate,
    spread_ranks,
    stratified,
)
from tests.models import Toy, make_contrast


def test_measured_effects_agree_with_themselves(toy: Toy) -> None:
    prompts = toy.prompts.subset([0, 1])
    graph = attribute(toy.model, prompts, estimator="intervention", max_nodes=12)
    found = calibrate(toy.model, graph, prompts, n_nodes=15, n_edges=15)
    for what in ("nodes", "edges"):
        np.testing.assert_allclose(found[what]["measured"], found[what]["estimated"], atol=1e-11)
        assert found[what]["pearson"] == pytest.approx(1.0)
        assert found[what]["sign_agreement"] == 1.0


def test_in_an_affine_operator_the_joint_share_is_the_single_effect(toy: Toy) -> None:
    contrast = make_contrast(toy.model, toy.prompts, linearization="secant")
    effects = node_effects(contrast, clean_gradients(contrast))
    index = node_index(contrast)
    columns = np.unique(effects.effects.nonzero()[1])[::17]
    spots = [index.spot(int(column)) for column in columns]
    spots, columns = zip(
        *((s, c) for s, c in zip(spots, columns, strict=True) if s.place >= 0), strict=True
    )
    joint = _joint_effects(contrast, spots).T
    expected = torch.tensor(effects.effects[:, list(columns)].toarray())
    torch.testing.assert_close(joint, expected, rtol=1e-9, atol=1e-10)


def test_ranks_are_spread_over_the_whole_range() -> None:
    assert spread_ranks(3, 10).tolist() == [0, 1, 2]
    assert spread_ranks(101, 5).tolist() == [0, 25, 50, 75, 100]
    assert spread_ranks(5, 0).tolist() == []


def test_every_stratum_gives_as_many() -> None:
    effects = np.concatenate(
        [np.full(5, -1.0), np.full(50, 0.05), np.linspace(2e-3, 5e-3, 70), np.zeros(300)]
    )
    chosen = stratified(effects, 100)
    by_stratum = [int(((chosen >= low) & (chosen < high)).sum()) for low, high in BOUNDS]
    assert by_stratum == [5, 31, 32, 32]
    assert len(np.unique(chosen)) == len(chosen)
    assert {55, 124} <= set(chosen)  # the first and the last of the third
    assert stratified(effects, 10**6).tolist() == list(range(len(effects)))
    assert len(stratified(np.zeros(7), 3)) == 3
    assert len(stratified(np.zeros(0), 3)) == 0


BOUNDS = [(0, 5), (5, 55), (55, 125), (125, 425)]


def test_figures_by_stratum_and_layer_add_up(toy: Toy) -> None:
    prompts = toy.prompts.subset([0, 1])
    graph = attribute(toy.model, prompts, max_nodes=12)
    found = calibrate(toy.model, graph, prompts, n_nodes=15, n_edges=15)
    for what in ("nodes", "edges"):
        figures = found[what]
        for groups in ("strata", "layers"):
            assert sum(group["sample"] for group in figures[groups]) == figures["sample"]
        missed = np.abs(np.subtract(figures["measured"], figures["estimated"])).sum()
        assert figures["error"] == pytest.approx(missed / np.abs(figures["measured"]).sum())
    assert [stratum["least"] for stratum in found["nodes"]["strata"]] == list(STRATA)
    assert {layer["layer"] for layer in found["nodes"]["layers"]} <= {0, 1, 2}


def test_a_layer_that_is_low_is_named_with_its_cause(toy: Toy) -> None:
    graph = attribute(toy.model, toy.prompts, max_nodes=40, baseline="zero")
    found = calibrate(toy.model, graph, toy.prompts, n_nodes=60, n_edges=15)
    (warning,) = [one for one in found["warnings"] if one["of"] == "nodes"]
    (layer,) = [one for one in found["nodes"]["layers"] if one["layer"] == warning["layer"]]
    assert {key: warning[key] for key in layer} == layer
    assert min(layer["spearman"], layer["sign_agreement"]) < 0.9
    assert warning["cause"] in warning["text"]
    assert 0 < warning["share"] <= 1
    small = attribute(toy.model, toy.prompts, max_nodes=40, baseline="zero", batch_size=2)
    again = calibrate(toy.model, small, toy.prompts, n_nodes=60, n_edges=15)["warnings"]
    assert "nodes" in [one["of"] for one in again]
    measured = attribute(toy.model, toy.prompts, estimator="intervention", max_nodes=4)
    assert calibrate(toy.model, measured, toy.prompts, n_nodes=30)["warnings"] == []


def test_other_prompts_are_refused(toy: Toy) -> None:
    graph = attribute(toy.model, toy.prompts.subset([0, 1]), max_nodes=5)
    with pytest.raises(InputError, match="other prompts"):
        calibrate(toy.model, graph, toy.prompts.subset([2, 3]))


def test_a_cause_is_looked_for_on_fewer_prompts_of_a_large_model(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = experiment_of(toy.model, toy.prompts, function="test")
    assert _afforded(experiment) == 16
    each = 2 * toy.model.n_weights * toy.prompts.clean_tokens.shape[1]
    monkeypatch.setattr("saecircuits.validation.calibration._OPERATIONS", 5.5 * each)
    assert _afforded(experiment) == 5
    monkeypatch.setattr("saecircuits.validation.calibration._OPERATIONS", 0.5 * each)
    assert _afforded(experiment) == 2
