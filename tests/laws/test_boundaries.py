"""The ends of ablation: everything kept is the model, nothing kept is the counterfactual."""

import pytest
import torch

from saecircuits.nodes.ablation import ablate_nodes, faithfulness, keep_all, keep_none
from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.units import Positions
from tests.by_hand import hand_metric
from tests.models import Toy, make_contrast
from tests.tolerance import Tolerance

CLOSE: Tolerance = {"rtol": 0, "atol": 1e-10}
POLICIES = ["recompute", "hold"]


def _clean_metric(toy: Toy) -> torch.Tensor:
    with torch.no_grad():
        return hand_metric(toy.model.bridge(toy.prompts.clean_tokens), toy.prompts)


def _corrupted_metric(toy: Toy) -> torch.Tensor:
    with torch.no_grad():
        logits = toy.model.bridge(toy.prompts.corrupted_tokens)
    return hand_metric(logits, toy.prompts, toy.prompts.corrupted_lengths)


def _ends(contrast: Contrast) -> tuple[torch.Tensor, torch.Tensor]:
    n_unit = len(contrast.units)
    whole, empty = ablate_nodes(
        contrast, [keep_all(contrast.model, n_unit), keep_none(contrast.model, n_unit)]
    )
    return whole, empty


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("baseline", ["corrupted", "mean", "zero", "resample"])
@pytest.mark.parametrize("linearization", ["full", "secant"])
@pytest.mark.filterwarnings("ignore:A forward hook edited hook_scale")
def test_everything_kept_is_the_clean_run(
    each_family: Toy, policy: str, baseline: str, linearization: str
) -> None:
    contrast = make_contrast(
        each_family.model,
        each_family.prompts,
        baseline=baseline,
        error_policy=policy,
        linearization=linearization,
    )
    whole, empty = _ends(contrast)
    torch.testing.assert_close(
        whole, _clean_metric(each_family), rtol=0, atol=10 * each_family.rounding
    )
    assert (whole - empty).abs().max() > 0.1


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("positions", ["each", "span", "sum"])
@pytest.mark.parametrize("fixture", ["toy", "toy_unusual"])
def test_nothing_kept_is_the_corrupted_run_where_the_last_site_is_the_stream(
    request: pytest.FixtureRequest, fixture: str, policy: str, positions: Positions
) -> None:
    # The last site holds the whole stream, so what the last token reads is the corrupted one's.
    toy: Toy = request.getfixturevalue(fixture)
    contrast = make_contrast(toy.model, toy.prompts, positions=positions, error_policy=policy)
    whole, empty = _ends(contrast)
    torch.testing.assert_close(empty, _corrupted_metric(toy), **CLOSE)
    ratio = faithfulness(empty.numpy(), whole=whole.numpy(), empty=_corrupted_metric(toy).numpy())
    assert ratio == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("policy", POLICIES)
def test_also_for_prompts_of_unequal_length(toy_uneven: Toy, policy: str) -> None:
    # The last span is as long in both prompts of each pair, so the last tokens correspond.
    contrast = make_contrast(
        toy_uneven.model, toy_uneven.prompts, positions="span", error_policy=policy
    )
    whole, empty = _ends(contrast)
    torch.testing.assert_close(whole, _clean_metric(toy_uneven), **CLOSE)
    torch.testing.assert_close(empty, _corrupted_metric(toy_uneven), **CLOSE)
    assert (whole - empty).abs().max() > 0.1


def test_sites_off_the_stream_leave_the_tokens_path_open(toy_mixed: Toy) -> None:
    # There the clean embeddings reach the end past every site, and nothing kept is less than the
    # corrupted run: the law above is one of residual sites.
    branches = toy_mixed.model.at(("blocks.0.hook_attn_out", "blocks.2.hook_mlp_out"))
    contrast = make_contrast(branches, toy_mixed.prompts)
    _, empty = _ends(contrast)
    assert (empty - _corrupted_metric(toy_mixed)).abs().max() > 0.1
