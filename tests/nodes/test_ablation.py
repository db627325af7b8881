"""Node ablation: its boundaries, and a circuit in between worked out by hand."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from saecircuits.nodes.ablation import (
    Kept,
    ablate_nodes,
    faithfulness,
    keep_all,
    keep_none,
    keep_spots,
)
from saecircuits.nodes.contrast import TOKENS, Contrast
from saecircuits.nodes.experiment import Experiment
from saecircuits.nodes.interventions import ERROR, Spot
from tests.by_hand import Raw, hand_metric
from tests.models import D_SAE, Toy, make_contrast
from tests.tolerance import Tolerance

CLOSE: Tolerance = {"rtol": 1e-9, "atol": 1e-11}
POLICIES = ["recompute", "hold"]


def _random_kept(contrast: Contrast, share: float) -> Kept:
    return Kept.of(
        tuple(
            torch.rand(len(contrast.units), splice.dictionary.d_sae + 1) < share
            for splice in contrast.model.splices
        )
    )


def _ablate_by_hand(contrast: Contrast, kept: Kept) -> Tensor:
    """Token by token: what is kept is read from the stream as it is, the rest is its baseline."""
    raw = Raw(contrast)

    def edit_at(index: int) -> Callable[[Tensor, Tensor], Tensor]:
        dictionary = raw.dictionary(index)
        base = contrast.baseline.sites[index]

        def edit(read: Tensor, written: Tensor) -> Tensor:
            out = written.clone()
            for row in range(written.shape[0]):
                for position, unit in enumerate(contrast.units.clean[row].tolist()):
                    if unit < 0:
                        continue
                    x = read[row, position]
                    acts = dictionary.encode(x)
                    error = written[row, position] - dictionary.reconstruct(x)
                    if contrast.error_policy == "hold":
                        error = raw.error(index)[row, position]
                    keep = kept.masks[index][unit]
                    acts = torch.where(keep[:-1], acts, base.features[row, position])
                    if not keep[-1]:
                        error = base.error[row, position]
                    out[row, position] = dictionary.decode(acts) + dictionary.skip(x) + error
            return out

        return edit

    with torch.no_grad():
        return raw.metric({index: edit_at(index) for index in range(len(raw.splices))})


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("baseline", ["corrupted", "mean", "zero", "resample"])
def test_a_circuit_by_hand(each_toy: Toy, policy: str, baseline: str) -> None:
    contrast = make_contrast(
        each_toy.model,
        each_toy.prompts,
        positions="span",
        baseline=baseline,
        error_policy=policy,
    )
    kept = [_random_kept(contrast, share) for share in (0.3, 0.7)]
    found = ablate_nodes(contrast, kept)
    for row, each in enumerate(kept):
        torch.testing.assert_close(found[row], _ablate_by_hand(contrast, each), **CLOSE)


@pytest.mark.parametrize("fixture", ["toy_uneven", "llama", "gemma2"])
@pytest.mark.parametrize("policy", POLICIES)
def test_other_lengths_and_architectures_by_hand(
    request: pytest.FixtureRequest, fixture: str, policy: str
) -> None:
    toy: Toy = request.getfixturevalue(fixture)
    contrast = make_contrast(toy.model, toy.prompts, positions="span", error_policy=policy)
    kept = [_random_kept(contrast, share) for share in (0.3, 0.7)]
    found = ablate_nodes(contrast, kept)
    for row, each in enumerate(kept):
        expected = _ablate_by_hand(contrast, each)
        torch.testing.assert_close(found[row], expected, rtol=0, atol=10 * toy.rounding)


def test_how_many_are_ablated_at_once_does_not_matter(toy_uneven: Toy) -> None:
    contrast = make_contrast(toy_uneven.model, toy_uneven.prompts, positions="span")
    kept = [_random_kept(contrast, share) for share in (0.1, 0.3, 0.5, 0.7, 0.9)]
    together = ablate_nodes(contrast, kept)
    for tokens_at_once in (1, 80):
        found = ablate_nodes(contrast, kept, tokens_at_once=tokens_at_once)
        torch.testing.assert_close(found, together, **CLOSE)
    by_batch = Experiment(toy_uneven.model, toy_uneven.prompts, batch_size=2).ablated(kept)
    np.testing.assert_allclose(by_batch, together, rtol=1e-9, atol=1e-11)


def test_masks_by_name(toy: Toy) -> None:
    spots = [Spot(1, 0, 4), Spot(2, 2, ERROR), Spot(TOKENS, 1, ERROR)]
    kept = keep_spots(toy.model, 3, spots)
    assert [tuple(mask.shape) for mask in kept.masks] == [(3, D_SAE + 1)] * 3
    assert [tuple(at.tolist()) for mask in kept.masks for at in mask.nonzero()] == [
        (0, 4),
        (2, D_SAE),
    ]
    assert kept.masks[1][0, 4]
    assert kept.masks[2][2, D_SAE]
    assert [int(mask.sum()) for mask in keep_all(toy.model, 3).masks] == [3 * (D_SAE + 1)] * 3
    assert [int(mask.sum()) for mask in keep_none(toy.model, 3).masks] == [0] * 3
    assert [int(mask.sum()) for mask in kept.complement().masks] == [
        3 * (D_SAE + 1) - count for count in (0, 1, 1)
    ]


def test_without_errors_leaves_the_original_alone(toy: Toy) -> None:
    kept = keep_all(toy.model, 3)
    less = kept.without_errors()
    assert all(bool(mask[:, -1].all()) for mask in kept.masks)
    assert not any(bool(mask[:, -1].any()) for mask in less.masks)
    assert all(bool(mask[:, :-1].all()) for mask in less.masks)


def test_everything_without_errors_is_a_spliced_model_with_baseline_errors(toy: Toy) -> None:
    # With the zero baseline: reconstructions alone, run through the dictionaries by hand.
    contrast = make_contrast(toy.model, toy.prompts, baseline="zero")
    (found,) = ablate_nodes(contrast, [keep_all(toy.model, 5).without_errors()])
    hooks = []
    for splice in toy.model.splices:

        def reconstruct(tensor: Tensor, hook: object, d=splice.dictionary) -> Tensor:
            return torch.cat([tensor[:, :1], d.reconstruct(tensor[:, 1:])], dim=1)  # BOS stays

        hooks.append((splice.site.hook, reconstruct))
    with torch.no_grad():
        logits = toy.model.bridge.run_with_hooks(toy.prompts.clean_tokens, fwd_hooks=hooks)
    torch.testing.assert_close(found, hand_metric(logits, toy.prompts), **CLOSE)


def test_faithfulness_by_hand() -> None:
    # Means: circuit 3, whole 5, empty 1: (3 - 1) / (5 - 1) = 1/2. Of means, not a mean of ratios.
    whole, empty = np.array([4.0, 6.0]), np.array([0.0, 2.0])
    assert faithfulness(np.array([1.0, 5.0]), whole=whole, empty=empty) == 0.5
    assert faithfulness(whole, whole=whole, empty=empty) == 1
    assert faithfulness(empty, whole=whole, empty=empty) == 0
    assert faithfulness(np.array([7.0, 7.0]), whole=whole, empty=empty) == 1.5
