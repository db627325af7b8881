"""What features are held against: the dictionaries nobody trained, and neurons and heads."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

import saecircuits as sc
from saecircuits.nodes.contrast import Contrast
from saecircuits.splicing import SplicedModel, observe
from saecircuits.splicing.components import ComponentKind
from saecircuits.splicing.untrained import untrained
from saecircuits.tasks import Prompts, Task
from saecircuits.validation.bases import Basis, respliced, site_values
from saecircuits.validation.component_circuits import ComponentCircuits, Grain
from tests.models import Toy, make_contrast

SIZES = (1, 3, 10, 40)


@pytest.fixture
def task(toy: Toy) -> Task:
    prompts = toy.prompts
    return Task("toy", "", prompts.subset([0, 1, 2]), prompts.subset([3, 4]))


def _curve(found: sc.Baselines, kind: str) -> pd.DataFrame:
    return found.curve[found.curve["kind"] == kind].reset_index(drop=True)


def test_features_have_the_curve_of_validation(toy: Toy, task: Task) -> None:
    found = sc.baselines(toy.model, task, kinds=["features and errors"], sizes=(1, 2, 5, 10, 20))
    circuit = sc.prune(sc.attribute(toy.model, task.train, max_nodes=1), nodes=1)
    report = sc.validate(toy.model, circuit, task.test, n_random=0)
    expected = report.curve.set_index("nodes")["faithfulness"]
    for row in found.curve.to_dict("records"):
        assert row["faithfulness"] == pytest.approx(expected[row["nodes"]], rel=1e-9)
        assert row["low"] <= row["faithfulness"] <= row["high"]


@pytest.mark.parametrize("basis", ["coordinates", "pca"])
def test_complete_bases_leave_no_error(toy: Toy, basis: Basis) -> None:
    model = respliced(toy.model, toy.prompts, basis, seed=0)
    values = site_values(toy.model, toy.prompts)
    for own, x in zip(model.splices, values, strict=True):
        torch.testing.assert_close(own.dictionary.reconstruct(x), x, rtol=0, atol=1e-10)
        directions = own.dictionary.W_dec
        torch.testing.assert_close(directions @ directions.T, torch.eye(len(directions)).to(x))
        assert (own.dictionary.encode(x) > 0).all()


def test_principal_components_are_uncorrelated_and_in_order(toy: Toy) -> None:
    model = respliced(toy.model, toy.prompts, "pca", seed=0)
    for own, x in zip(model.splices, site_values(toy.model, toy.prompts), strict=True):
        covariance = torch.cov(own.dictionary.encode(x).T)
        off = covariance - covariance.diag().diag()
        assert off.abs().max() < 1e-9 * covariance.diag().max()
        assert (covariance.diag().diff() <= 1e-9).all()


def test_random_directions_are_as_many_and_as_often_active(toy: Toy) -> None:
    model = respliced(toy.model, toy.prompts, "random", seed=1)
    again = respliced(toy.model, toy.prompts, "random", seed=1)
    for own, new, same in zip(toy.model.splices, model.splices, again.splices, strict=True):
        (x,) = [
            value
            for value, one in zip(
                site_values(toy.model, toy.prompts), toy.model.splices, strict=True
            )
            if one.site == own.site
        ]
        share = (own.dictionary.encode(x) > 0).double().mean()
        found = (new.dictionary.encode(x) > 0).double().mean()
        # No more than the half of the directions that a value lies on the right side of.
        assert float(found) == pytest.approx(min(float(share), 0.493), abs=0.01)
        assert torch.equal(new.dictionary.W_dec, same.dictionary.W_dec)
        error = (x - new.dictionary.reconstruct(x)).norm() / (x - x.mean(0)).norm()
        assert 0.2 < error < 1.0


def _contrast(toy: Toy) -> Contrast:
    return make_contrast(toy.model, toy.prompts, positions="sum")


def test_kept_components_are_a_game_of_components(toy: Toy) -> None:
    # The same set as members of a game whose rest is at its baseline: other code, the same runs.
    circuits = ComponentCircuits(_contrast(toy), "heads")
    names = [f"L{layer}.{part}" for layer in range(3) for part in ("H0", "H1", "MLP")]
    for members in (["L0.H1", "L2.MLP"], ["L1.MLP"], ["L0.H0", "L1.H1", "L2.H0"]):
        kept = torch.tensor([[name in members for name in names]])
        game = sc.interactions(
            toy.model, toy.prompts, members, rest="baseline", positions="sum", resamples=2
        )
        found = circuits.ablated(kept).mean()
        assert float(found) == pytest.approx(game.value_all, rel=1e-9)


@pytest.mark.parametrize("grain", ["heads", "neurons"])
def test_effects_are_the_slope_of_the_metric(toy: Toy, grain: Grain) -> None:
    # All effects together are the derivative along the line on which every component moves.
    contrast = make_contrast(toy.model, toy.prompts)
    circuits = ComponentCircuits(contrast, grain)
    effects = circuits.effects()
    assert effects.shape == (5, circuits.size)
    moves = {which: change * 1e-5 for which, change in circuits._change.items()}
    ends = []
    for sign in (1, -1):
        edits = [
            (
                _hook_name(toy.model, *which),
                lambda tensor, hook, move=move, sign=sign: (
                    tensor + sign * move.reshape(tensor.shape)
                ),
            )
            for which, move in moves.items()
        ]
        logits = toy.model.forward(
            contrast.tokens, edits=edits, lengths=contrast.prompts.clean_lengths
        )
        ends.append(contrast.metric(logits)[0])
    slope = (ends[0] - ends[1]) / 2e-5
    torch.testing.assert_close(effects.sum(1), slope, rtol=1e-6, atol=1e-8)


def _hook_name(model: SplicedModel, layer: int, kind: ComponentKind) -> str:
    from saecircuits.splicing.components import result_hook

    return result_hook(model, layer, kind)


def test_every_kind_ends_at_the_whole_model(toy: Toy, task: Task) -> None:
    found = sc.baselines(toy.model, task, sizes=(10, 10**6), resamples=10)
    last = found.curve.groupby("kind").last()["faithfulness"]
    # Features that the training prompts do not have are never kept; the others have all nodes.
    for kind in ("coordinates", "pca", "neurons", "heads"):
        assert last[kind] == pytest.approx(1.0, abs=1e-6), kind
    assert set(found.kinds["kind"]) == set(found.curve["kind"])
    assert (found.kinds["candidates"] > 0).all()
    json.dumps(found.to_json(), default=str)


def test_the_untrained_model_is_another_one(toy: Toy, task: Task) -> None:
    other = untrained(toy.model, seed=2)
    assert not torch.allclose(
        next(other.bridge.parameters()).double(), next(toy.model.bridge.parameters())
    )
    state = torch.random.get_rng_state()
    same = untrained(toy.model, seed=2)
    assert torch.equal(torch.random.get_rng_state(), state)
    tokens = task.test.clean_tokens
    assert torch.equal(other.forward(tokens), same.forward(tokens))
    assert observe(other, tokens).sites[0].activations.dense().shape[-1] == 31


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"sizes": ()}, "give at least one, each 1 or more"),
        ({"sizes": (0, 5)}, "give at least one, each 1 or more"),
        ({"bar": 0.0}, "bar is 0.0; it must be above 0"),
    ],
)
def test_bad_choices_are_refused(toy: Toy, task: Task, choices: dict, message: str) -> None:
    with pytest.raises(sc.InputError, match=message):
        sc.baselines(toy.model, task, kinds=["heads"], **choices)


def test_the_smallest_size_at_the_bar(toy: Toy, task: Task) -> None:
    found = sc.baselines(toy.model, task, kinds=["pca"], sizes=SIZES, bar=0.5, resamples=10)
    curve = _curve(found, "pca")
    reached = curve.loc[curve["faithfulness"] >= 0.5, "nodes"]
    assert found.kinds.loc[0, "nodes_for_bar"] == reached.min()
    assert isinstance(task.test, Prompts) and np.isfinite(curve["faithfulness"]).all()
